"""Envoy's bootstrap: who it is, and that everything else comes from the agent over a Unix socket. Pure; never starts anything.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto
"""

from __future__ import annotations

import msgspec

#: The cluster that resources of the control plane name where a secret comes from the agent.
AGENT_CLUSTER = "agent"
#: More open connections than this are refused, so that a flood cannot take all of a machine's memory.
MAX_CONNECTIONS = 50_000
#: The size of a compiled regular expression that Envoy accepts: path templates, and names that are kept out.
MAX_EXPRESSION_STEPS = 200_000
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#: What readiness, draining, the count of lost log lines and a person at the admin interface need; others only cost memory.
_KEPT_STATISTICS: tuple[dict[str, object], ...] = (
    {"prefix": "server."},
    {"prefix": "listener_manager."},
    {"prefix": "cluster_manager."},
    {"prefix": "control_plane."},
    {"prefix": "filesystem."},
    {"suffix": "downstream_cx_active"},
    {"suffix": "downstream_cx_total"},
    {"suffix": "downstream_rq_active"},
)


def bootstrap(*, node_id: str, cluster: str, agent_socket: str, admin_socket: str, max_connections: int = MAX_CONNECTIONS) -> bytes:
    """The bootstrap as JSON.

    Args:
        node_id: ``sidecar~namespace/account~instance``.
        cluster: ``namespace/account``.
        agent_socket: Unix socket of the agent's ADS and SDS, absolute or relative to Envoy's working directory.
        admin_socket: Unix socket that Envoy makes for its admin interface, for its own user only.
        max_connections: open downstream connections at which Envoy refuses new ones.
    """
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    document = {
        "node": {"id": node_id, "cluster": cluster},
        "admin": {
            "address": {"pipe": {"path": admin_socket, "mode": 0o600}},
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": AGENT_CLUSTER}}],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        # Envoy refuses expressions of more than 100 steps unless told otherwise; the control plane bounds those that it sends.
        "layered_runtime": {
            "layers": [{"name": "picket", "static_layer": {"re2.max_program_size.error_level": MAX_EXPRESSION_STEPS}}]
        },
        "static_resources": {"clusters": [_agent(agent_socket)]},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _KEPT_STATISTICS}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": max_connections,
                    },
                }
            ]
        },
    }
    return msgspec.json.encode(document)


def _agent(socket: str) -> dict[str, object]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    return {
        "name": AGENT_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": AGENT_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
