"""Joining by the Workload API: where it is, by an option or the standard's variable; nothing of a join file goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.join import Join, SettingsError, WorkloadApiAddress
from sidecar.options import parse

BASE = ["--identity", "workload-api", "--state", "/s", "--instance", "cart-1"]
TOLD = ["--workload", "shop/cart", "--control-plane", "picket:7601"]
SOCKET = ["--workload-api", "unix:///run/spire/agent.sock"]


def joined(*arguments: str, environment: Mapping[str, str] | None = None) -> Join:
    return parse([*BASE, *arguments], environment or {})[0].join


def test_the_identity_is_expected_by_workload_and_trust_domain() -> None:
    made = joined(*TOLD, *SOCKET, "--trust-domain", "example.org", "--svid-hint", "mesh")
    assert made.spiffe_id == "spiffe://example.org/ns/shop/sa/cart"
    assert made.workload_api == WorkloadApiAddress("unix:/run/spire/agent.sock", "mesh")
    assert (made.control_plane, made.server_name) == ("picket:7601", "picket-controlplane")
    assert (made.token, made.bundle_pem, made.token_file) == ("", "", None)


def test_the_address_may_stand_where_the_standard_has_it_and_an_option_is_above() -> None:
    environment = {"SPIFFE_ENDPOINT_SOCKET": "unix:///tmp/agent.sock"}
    assert joined(*TOLD, environment=environment).workload_api == WorkloadApiAddress("unix:/tmp/agent.sock")
    assert joined(*TOLD, *SOCKET, environment=environment).workload_api == WorkloadApiAddress("unix:/run/spire/agent.sock")
    own = environment | {"PICKET_SIDECAR_WORKLOAD_API": "unix:/own.sock"}
    assert joined(*TOLD, environment=own).workload_api == WorkloadApiAddress("unix:/own.sock")


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (TOLD, {}, "--workload-api is missing, and SPIFFE_ENDPOINT_SOCKET is not set"),
        (TOLD, {"SPIFFE_ENDPOINT_SOCKET": "tcp://127.0.0.1:1"}, "SPIFFE_ENDPOINT_SOCKET: 'tcp://127.0.0.1:1': unix: and"),
        ([*TOLD, "--workload-api", "agent.sock"], {}, "--workload-api: 'agent.sock'"),
        ([*TOLD[:2], *SOCKET], {}, "--control-plane is missing"),
        ([*TOLD[2:], *SOCKET], {}, "--workload is missing"),
        ([*TOLD, *SOCKET, "--workload", "cart"], {}, "workload: 'cart' is not namespace/account"),
        ([*TOLD, *SOCKET, "--svid-hint", "a\n"], {}, "--svid-hint"),
        ([*TOLD, *SOCKET, "--join", "j"], {}, "goes neither with --join"),
        ([*TOLD, *SOCKET, "--token-file", "t"], {}, "nor with --token-file"),
        ([*TOLD, *SOCKET, "--insecure"], {}, "nor with --insecure"),
        ([*TOLD, *SOCKET, "--identity", "spire"], {}, "--identity"),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_go_together_is_told(arguments: list[str], environment: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        joined(*arguments, environment=environment)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(SOCKET, "go with --identity workload-api"), (["--svid-hint", "mesh"], "go with --identity workload-api")],
)
def test_its_options_do_nothing_in_silence(tmp_path: Path, arguments: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        parse(["--join", str(tmp_path / "join.json"), "--state", "/s", *arguments], {})


def test_an_identity_in_the_environment_that_nobody_knows_is_told() -> None:
    with pytest.raises(SettingsError, match="--identity: picket or workload-api"):
        parse(["--state", "/s", "--join", "j"], {"PICKET_SIDECAR_IDENTITY": "spire"})
