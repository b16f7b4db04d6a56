"""The administrator's file on injection, good and bad."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubernetes.injection.document import MAX_FILE_BYTES, load_rules, parse_rules
from controlplane.kubernetes.injection.rules import DEFAULT_RESOURCES, Rules, RulesError, WorkloadApi

WHOLE = b"""
image: registry.example.org/picket@sha256:0123456789abcdef
ownNamespace: picket-system
audience: picket.example.org
native: false
pullPolicy: Always
pullSecrets: [registry]
exclusionsAllowed: [batch]
environment: {PICKET_SIDECAR_CONCURRENCY: "2"}
resources: {requests: {cpu: 50m}, limits: {memory: 512Mi}}
workloadApi: {csiDriver: csi.spiffe.io, socket: spire-agent.sock, hint: mesh}
"""


def test_every_key_is_read() -> None:
    """Into the rules."""
    rules = parse_rules(WHOLE, "f")
    assert (rules.image, rules.own_namespace, rules.audience) == (
        "registry.example.org/picket@sha256:0123456789abcdef", "picket-system", "picket.example.org",
    )  # fmt: skip
    assert (rules.native, rules.pull_policy, rules.pull_secrets) == (False, "Always", ("registry",))
    assert rules.exclusions_allowed == {"batch"}
    assert rules.environment == {"PICKET_SIDECAR_CONCURRENCY": "2"}
    assert (rules.resources.requests, rules.resources.limits) == ({"cpu": "50m"}, {"memory": "512Mi"})
    assert rules.workload_api == WorkloadApi("spire-agent.sock", csi_driver="csi.spiffe.io", hint="mesh")


def test_little_has_to_be_said() -> None:
    """The image, and where the control plane is."""
    assert parse_rules(b"{image: picket, ownNamespace: p}", "f") == Rules("picket", "p", resources=DEFAULT_RESOURCES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expected `object`"),
        (b"image: [", "f: "),
        (b"image: picket", "ownNamespace"),
        (b"{image: picket, ownNamespace: p, nativ: true}", "nativ"),
        (b"{image: picket, ownNamespace: p, native: maybe}", "$.native"),
        (b"{image: picket, ownNamespace: P_}", "is not a namespace"),
        (b"{image: picket, ownNamespace: p, exclusionsAllowed: ['*']}", "exclusionsAllowed"),
        (b"{image: 'a b', ownNamespace: p}", "image"),
        (b"{image: picket, ownNamespace: p, pullPolicy: Sometimes}", "pullPolicy"),
        (b"{image: picket, ownNamespace: p, environment: {'a b': c}}", "environment"),
        (b"{image: picket, ownNamespace: p, workloadApi: {csiDriver: csi.spiffe.io}}", "socket"),
        (b"{image: picket, ownNamespace: p, workloadApi: {socket: a/b, csiDriver: csi.spiffe.io}}", "workloadApi.socket"),
        (b"{image: picket, ownNamespace: p, workloadApi: {socket: .., csiDriver: csi.spiffe.io}}", "workloadApi.socket"),
        (b"{image: picket, ownNamespace: p, workloadApi: {socket: s}}", "one of csiDriver and hostPath"),
        (
            b"{image: picket, ownNamespace: p, workloadApi: {socket: s, csiDriver: c, hostPath: /run}}",
            "one of csiDriver and hostPath",
        ),
        (b"{image: picket, ownNamespace: p, workloadApi: {socket: s, csiDriver: 'a b'}}", "workloadApi.csiDriver"),
        (b"{image: picket, ownNamespace: p, workloadApi: {socket: s, hostPath: /run/../etc}}", "workloadApi.hostPath"),
        (b"{image: picket, ownNamespace: p, workloadApi: {socket: s, hostPath: run}}", "workloadApi.hostPath"),
        (b'{image: picket, ownNamespace: p, workloadApi: {socket: s, hostPath: /run, hint: "a\\n"}}', "workloadApi.hint"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger"),
    ],
)
def test_what_is_wrong_is_told(text: bytes, reason: str) -> None:
    """With the file and the key."""
    with pytest.raises(RulesError) as told:
        parse_rules(text, "f")
    assert reason in str(told.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(RulesError, match="cannot be read"):
        load_rules(tmp_path / "none.yaml")


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"image: {text}\nownNamespace: p".encode()))
def test_no_file_breaks_the_reader(text: bytes) -> None:
    """It is rules, or the reason why not."""
    with contextlib.suppress(RulesError):
        assert isinstance(parse_rules(text, "f"), Rules)
