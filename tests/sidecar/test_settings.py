"""Settings: what cannot be used is told by name, and nothing weakens the control channel unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.join import SettingsError
from sidecar.settings import Settings, build_settings, parse_app_user
from tests.sidecar.joins import join


def build(**options: object) -> Settings:
    given_options: dict[str, object] = {
        "join_file": Path("join.json"), "join": join(), "state": Path("/run/picket"), "instance": "cart-1",
    } | options  # fmt: skip
    return build_settings(**given_options)  # type: ignore[arg-type]  # names and types are those above


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


def test_the_digest_is_taken_alone_or_behind_the_name_that_it_pins() -> None:
    digest = "sha256:" + "0f" * 32
    assert [build(image_digest=text).image_digest for text in ("", digest, f"example.org:5000/shop/cart:1@{digest}")] == [
        "", digest, digest,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("capture", "magic", "--capture"),
        ("instance", "", "--instance"),
        ("instance", "a~b", "--instance"),
        ("instance", "x" * 129, "--instance"),
        ("image_digest", "latest", "--image-digest"),
        ("image_digest", "sha256:" + "0" * 63, "--image-digest"),
        ("image_digest", "a@b@sha256:" + "0" * 64, "--image-digest"),
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
