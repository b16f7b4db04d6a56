"""The bootstrap: what Envoy accepts, and nothing in it that is secret or leads to the network."""

from __future__ import annotations

import json
import subprocess

from sidecar.bootstrap import bootstrap
from sidecar.envoy import find_envoy

MADE = bootstrap(
    node_id="sidecar~shop/cart~cart-1", cluster="shop/cart", agent_socket="agent.sock", admin_socket="admin.sock", max_connections=7
)


def test_a_real_envoy_accepts_it() -> None:
    done = subprocess.run(
        [find_envoy(None), "--mode", "validate", "--config-yaml", MADE.decode()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_everything_is_reached_over_unix_sockets_only() -> None:
    assert b"socket_address" not in MADE
    document = json.loads(MADE)
    assert document["admin"]["address"]["pipe"] == {"path": "admin.sock", "mode": 0o600}
    (agent,) = document["static_resources"]["clusters"]
    endpoint = agent["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint == {"address": {"pipe": {"path": "agent.sock"}}}


def test_envoy_waits_for_its_configuration_without_end() -> None:
    """A time limit would have it start without listeners' filters, which is open, or without listeners."""
    document = json.loads(MADE)
    for source in ("lds_config", "cds_config"):
        assert document["dynamic_resources"][source]["initial_fetch_timeout"] == "0s"
    assert document["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"


def test_connections_are_bounded_except_to_the_admin_interface() -> None:
    document = json.loads(MADE)
    (monitor,) = document["overload_manager"]["resource_monitors"]
    assert monitor["typed_config"]["max_active_downstream_connections"] == 7
    assert document["admin"]["ignore_global_conn_limit"] is True
