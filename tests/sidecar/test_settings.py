"""Settings: what cannot be used is told by name, and nothing weakens the control channel unsaid."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sidecar.settings import (
    MAX_JOIN_BYTES,
    MAX_SOCKET_PATH_BYTES,
    Join,
    Settings,
    SettingsError,
    build_settings,
    check_target,
    is_local,
    parse_app_user,
    read_join,
)
from tests.sidecar.joins import PEM, write_join


def join(**changed: object) -> Join:
    fields: dict[str, object] = {
        "control_plane": "127.0.0.1:7601", "enrollment": "127.0.0.1:7602", "trust_domain": "picket.test", "workload": "shop/cart",
        "token": "a-join-token", "bundle_pem": PEM, "server_name": "picket-controlplane", "insecure": False,
    } | changed  # fmt: skip
    return Join(**fields)  # type: ignore[arg-type]  # names and types are those above


def build(**options: object) -> Settings:
    given_options: dict[str, object] = {
        "join_file": Path("join.json"), "join": join(), "state": Path("/run/picket"), "instance": "cart-1",
    } | options  # fmt: skip
    return build_settings(**given_options)  # type: ignore[arg-type]  # names and types are those above


def test_a_join_file_is_read(tmp_path: Path) -> None:
    read, warning = read_join(write_join(tmp_path / "join.json", more="is ignored"))
    assert (read, warning) == (join(), "")
    assert read.spiffe_id == "spiffe://picket.test/ns/shop/sa/cart"


def test_neither_token_nor_roots_show_when_a_join_is_printed() -> None:
    assert "a-join-token" not in repr(join())
    assert "CERTIFICATE" not in repr(join())


def test_a_join_file_that_others_can_read_brings_a_warning(tmp_path: Path) -> None:
    path = write_join(tmp_path / "join.json")
    path.chmod(0o644)
    assert "chmod 600" in read_join(path)[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("control_plane", None),
        ("control_plane", "example.com"),
        ("control_plane", "example.com:0"),
        ("control_plane", "example.com:65536"),
        ("control_plane", "https://example.com:443"),
        ("control_plane", "unix:relative"),
        ("control_plane", "unix:/" + "x" * MAX_SOCKET_PATH_BYTES),
        ("enrollment", ""),
        ("workload", "cart"),
        ("workload", "shop/cart/more"),
        ("workload", "../cart"),
        ("workload", "shop/.."),
        ("workload", "shop/ca~rt"),
        ("trust_domain", "Example.com"),
        ("trust_domain", ""),
        ("token", "x" * 257),
        ("token", "a\nb"),
        ("server_name", ""),
        ("server_name", "x" * 254),
        ("workload", 7),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(SettingsError, match=field):
        read_join(write_join(tmp_path / "join.json", **{field: value}))


def test_missing_and_oversized_join_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="picket token"):
        read_join(tmp_path / "join.json")
    (tmp_path / "join.json").write_bytes(b" " * (MAX_JOIN_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than"):
        read_join(tmp_path / "join.json")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300))
def test_whatever_is_in_a_join_file_it_is_read_or_refused_in_words(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "join.json").write_bytes(body)
    with pytest.raises(SettingsError, match="not a join file"):
        read_join(tmp_path / "join.json")


@given(st.text(max_size=60))
def test_a_target_is_accepted_or_refused_in_words(target: str) -> None:
    with contextlib.suppress(SettingsError):
        check_target(target, "here")
        assert is_local(target) in {True, False}


@pytest.mark.parametrize("target", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/run/x"])
def test_loopback_and_unix_sockets_are_local(target: str) -> None:
    assert is_local(target)


@pytest.mark.parametrize("target", ["10.0.0.1:1", "[2001:db8::1]:1", "example.com:1", "localhost.example.com:1", "0.0.0.0:1"])
def test_everything_else_is_not(target: str) -> None:
    assert not is_local(target)


def test_a_plaintext_control_channel_has_to_be_said_aloud() -> None:
    with pytest.raises(SettingsError, match="say --insecure"):
        build(join=join(insecure=True))
    assert build(join=join(insecure=True), insecure=True).join.insecure


@pytest.mark.parametrize("field", ["control_plane", "enrollment"])
def test_a_plaintext_control_channel_stays_on_this_machine(field: str) -> None:
    with pytest.raises(SettingsError, match="not on this machine"):
        build(join=join(**{field: "10.0.0.1:7601"}), insecure=True)
    with pytest.raises(SettingsError, match="not on this machine"):
        build(control_plane="10.0.0.1:7601", insecure=True)


def test_without_roots_to_believe_there_is_no_start() -> None:
    with pytest.raises(SettingsError, match="bundle_pem"):
        build(join=join(bundle_pem=""))


def test_another_control_plane_can_be_named() -> None:
    assert build(control_plane="[::1]:7").join.control_plane == "[::1]:7"
    with pytest.raises(SettingsError, match="--control-plane"):
        build(control_plane="nowhere")


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("capture", "magic", "--capture"),
        ("instance", "", "--instance"),
        ("instance", "a~b", "--instance"),
        ("instance", "x" * 129, "--instance"),
        ("report_interval_seconds", 0.01, "--report-interval-seconds"),
        ("report_interval_seconds", float("nan"), "--report-interval-seconds"),
        ("drain_seconds", -1.0, "--drain-seconds"),
        ("app_start_wait_seconds", 1e9, "--app-start-wait"),
        ("exclude_outbound_ports", (0,), "--exclude-outbound-port"),
        ("exclude_outbound_ports", (65536,), "--exclude-outbound-port"),
        ("outbound_udp", "drop", "--outbound-udp"),
        ("concurrency", 0, "--concurrency"),
        ("app_user", "root", "--app-user"),
        ("state", Path("/" + "x" * 100), "--state"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(option: str, value: object, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        build(**{option: value})


def test_the_longest_state_directory_that_is_told_fits() -> None:
    with pytest.raises(SettingsError) as told:
        build(state=Path("/" + "x" * 100))
    spare = int(str(told.value).rsplit(" ", 1)[1])
    build(state=Path("/" + "x" * (spare - 1)))
    with pytest.raises(SettingsError):
        build(state=Path("/" + "x" * spare))


def test_the_node_says_who_it_is_for() -> None:
    assert build().node_id == "sidecar~shop/cart~cart-1"


@pytest.mark.parametrize("text", ["1337:65534", "65534:1337", "1337:1337"])
def test_an_application_that_would_not_be_captured_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="around the mesh"):
        parse_app_user(text)


@pytest.mark.parametrize("text", ["1", "a:b", "-1:1", "1:2:3", "4294967295:1", "1:4294967295", "\u0661:\u0661"])
def test_other_shapes_of_a_user_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--app-user"):
        parse_app_user(text)
    assert parse_app_user("65534:0") == (65534, 0)
