"""The ports that Picket has for itself in a network namespace. Opens none."""

from __future__ import annotations

#: Where Envoy takes redirected connections.
OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
#: Where a pod's agent is asked for the application's health, for its own, and for statistics. Never captured.
PROBE_PORT = 15020
HEALTH_PORT = 15021
METRICS_PORT = 15090
ASKED_PORTS = (PROBE_PORT, HEALTH_PORT, METRICS_PORT)
OWN_PORTS = (OUTBOUND_PORT, INBOUND_PORT, *ASKED_PORTS)
