"""The control plane's settings: addresses are read strictly, and what would open it to others is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings import Listen, SettingsError, advertised, build_settings, parse_listen


def test_identities_come_from_the_own_authority_or_the_workload_api() -> None:
    assert build_settings(data="d", topology="t").workload_api == ""
    made = build_settings(data="d", topology="t", identity="workload-api", workload_api="unix:///run/agent.sock", svid_hint="mesh")
    assert (made.workload_api, made.svid_hint) == ("unix:/run/agent.sock", "mesh")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"identity": "spire"}, "--identity: picket or workload-api"),
        ({"workload_api": "unix:/a"}, "go with --identity workload-api"),
        ({"svid_hint": "a"}, "go with --identity workload-api"),
        ({"identity": "workload-api"}, "--workload-api is missing, and SPIFFE_ENDPOINT_SOCKET is not set"),
        ({"identity": "workload-api", "workload_api": "tcp://127.0.0.1:1"}, "--workload-api: 'tcp"),
        ({"identity": "workload-api", "workload_api": "unix:/a", "svid_hint": "a" * 1025}, "--svid-hint"),
        ({"identity": "workload-api", "workload_api": "unix:/a", "insecure": True}, "neither with --insecure"),
        (
            {"identity": "workload-api", "workload_api": "unix:/a", "kubernetes": True, "kubernetes_ca_secret": "ca"},
            "nor with --kubernetes-ca-secret",
        ),
    ],
)
def test_what_does_not_go_together_for_identities_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build_settings(**{"data": "d", "topology": "t", **options})


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:7601", Listen("", "127.0.0.1", 7601)),
        ("[::1]:0", Listen("", "::1", 0)),
        ("localhost:65535", Listen("", "localhost", 65535)),
        ("unix:/run/picket.sock", Listen("/run/picket.sock")),
    ],
)
def test_addresses_that_are_taken(text: str, listen: Listen) -> None:
    assert parse_listen(text, "--x") == listen
    assert listen.is_local
    assert parse_listen(listen.target, "--x") == listen


@pytest.mark.parametrize(
    "text",
    [
        "", "7601", ":7601", "host:", "host:port", "host:65536", "host:-1", "host:\u00b2", "host:" + "1" * 5000, "a host:1",
        "h\x00:1", "unix:relative", "unix:/" + "x" * 107, "unix:/a\x00b",
    ],
)  # fmt: skip
def test_what_is_no_address_is_told_with_its_setting(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--x: "):
        parse_listen(text, "--x")


@given(text=st.text(max_size=60))
def test_any_text_is_read_or_told(text: str) -> None:
    try:
        listen = parse_listen(text, "--x")
    except SettingsError:
        return
    assert listen.path.startswith("/") or 0 <= listen.port <= 65535


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "mesh.example.org", "[::]", "127.0.0.1.example.org"])
def test_nothing_opens_by_itself(host: str) -> None:
    """Plaintext never leaves the machine; the API only when both of its conditions are said."""
    with pytest.raises(SettingsError, match=r"^--insecure: "):
        build_settings(data="d", topology="t", insecure=True, grpc_listen=[f"{host}:1"])
    for more in ({}, {"allow_remote_api": True}, {"api_token_file": "f"}):
        with pytest.raises(SettingsError, match=r"^--api-listen: "):
            build_settings(data="d", topology="t", api_listen=[f"{host}:1"], **more)
    addresses = ["127.0.0.1:1", f"{host}:1"]
    opened = build_settings(data="d", topology="t", api_listen=addresses, allow_remote_api=True, api_token_file="f")
    assert [listen.is_local for listen in opened.api_listen] == [True, False]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trust_domain", "UPPER"),
        ("default_mode", "quarantine"),
        ("svid_lifetime_seconds", 29),
        ("log_level", "loud"),
        ("grpc_listen", ["x"]),
        ("kubernetes_audience", ""),
        ("kubernetes_ca_secret", "without-a-cluster"),
        ("kubernetes_policies", True),
        ("kubernetes_approvals", True),
        ("webhook_configuration", "picket"),
        ("webhook_listen", "127.0.0.1:0"),
        ("topology", None),
    ],
)
def test_a_wrong_value_names_its_option(option: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"^--{option.replace('_', '-')}"):
        build_settings(**{"data": "d", "topology": "t", option: value})  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("address", "names", "dialled"),
    [
        ("10.0.0.1:7601", ["mesh"], "10.0.0.1:7601"),
        ("0.0.0.0:7601", ["mesh.example.org", "other"], "mesh.example.org:7601"),
        ("[::]:7601", ["fd00::1"], "[fd00::1]:7601"),
        ("0.0.0.0:7601", [], "0.0.0.0:7601"),
        ("unix:/run/grpc.sock", ["mesh"], "unix:/run/grpc.sock"),
    ],
)
def test_every_interface_is_dialled_by_name(address: str, names: list[str], dialled: str) -> None:
    assert advertised(address, names) == dialled


def test_the_authoritys_rotation_has_time_for_all_of_it() -> None:
    rotation = build_settings(data="d", topology="t", ca_lifetime_days=30, ca_rotate_days=3, ca_overlap_hours=12).rotation
    assert (rotation.lifetime.days, rotation.lead.days, rotation.overlap.total_seconds()) == (30, 3, 12 * 3600)
    assert not build_settings(data="d", topology="t", ca_rotate_days=0).rotation.lead


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"ca_lifetime_days": 0}, "--ca-lifetime-days"),
        ({"ca_lifetime_days": 90}, "--ca-rotate-days"),
        ({"ca_rotate_days": -1}, "--ca-rotate-days"),
        ({"ca_rotate_days": 1}, "--ca-rotate-days"),
        ({"ca_overlap_hours": -1}, "--ca-overlap-hours"),
        ({"ca_directory": "ca", "kubernetes": True, "kubernetes_ca_secret": "ca"}, "--ca-directory"),
    ],
)
def test_a_rotation_that_cannot_work_is_told(wrong: dict[str, Any], option: str) -> None:
    with pytest.raises(SettingsError, match=f"^{option}: "):
        build_settings(**({"data": "d", "topology": "t"} | wrong))
