"""The sidecar's own user and ports in a pod: nobody else may have them. The sidecar's side of it is `sidecar.ports`."""

from __future__ import annotations

#: The user whose traffic is not captured.
PROXY_ID = 1337
#: Where Envoy takes redirected connections.
OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
#: Where the agent is asked for the application's health, for its own, and for statistics. Never captured.
PROBE_PORT = 15020
HEALTH_PORT = 15021
METRICS_PORT = 15090
OWN_PORTS = frozenset({OUTBOUND_PORT, INBOUND_PORT, PROBE_PORT, HEALTH_PORT, METRICS_PORT})
