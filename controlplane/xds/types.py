"""The xDS resource types that Picket serves, and the order in which they are sent. Never builds a resource.

Order: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
"""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "type.googleapis.com/"

CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"

#: What a thing needs comes before the thing, so that nothing warms for longer than it must.
PUSH_ORDER: Final = (CLUSTER, ENDPOINT, SECRET, EXTENSION, LISTENER, ROUTE)

#: Types for which an empty first subscription means "everything".
WILDCARD: Final = frozenset({CLUSTER, LISTENER})

SHORT_NAMES: Final = {
    CLUSTER: "CDS",
    ENDPOINT: "EDS",
    LISTENER: "LDS",
    ROUTE: "RDS",
    SECRET: "SDS",
    EXTENSION: "ECDS",
}
