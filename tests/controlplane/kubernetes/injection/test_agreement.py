"""What is injected and what the sidecar understands are the same: neither package imports the other, so it is held here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubernetes.injection import containers, hooks, ports, probes
from controlplane.kubernetes.injection.decide import Injected, decide
from controlplane.kubernetes.injection.probes import KINDS, rewritten, write_record
from controlplane.kubernetes.injection.rules import Rules, WorkloadApi
from sidecar import drain, health, init, options, settings
from sidecar import ports as sidecars
from sidecar.appprobes import read_probes
from sidecar.join import WorkloadApiAddress
from sidecar.options import ENVIRONMENT_PREFIX
from tests.controlplane.kubernetes.injection.reviews import LEGACY, RULES, container, creation, patched, variables

KUBERNETES = ("1.35", "1.36", "1.37")
TEXT = st.text(max_size=12) | st.sampled_from(["/", "/healthz?full=1", "healthz", "//x", "/a b", "/\N{SNOWMAN}"])
PORT = st.integers(-1, 70_000) | st.sampled_from(["http", "8080", "none", ""])
HTTP = st.fixed_dictionaries(
    {"port": PORT},
    optional={
        "path": TEXT,
        "scheme": st.sampled_from(["HTTP", "HTTPS"]),
        "host": st.sampled_from(["", "192.0.2.1"]),
        "httpHeaders": st.lists(st.fixed_dictionaries({"name": TEXT, "value": TEXT}), max_size=40),
    },
)
PROBE = st.fixed_dictionaries(
    {},
    optional={
        "httpGet": HTTP,
        "tcpSocket": st.fixed_dictionaries({"port": PORT}),
        "grpc": st.fixed_dictionaries({"port": PORT}, optional={"service": st.none() | TEXT}),
        "timeoutSeconds": st.integers(-5, 5000),
    },
)


def test_the_step_is_told_what_it_understands() -> None:
    """Its options are the sidecar program's own."""
    arguments = container(patched(creation("pod-exclusions")), "picket-init")["args"]
    assert arguments[0] == "init"
    asked = init.parse(arguments[1:], {})
    assert asked.uid == settings.PROXY_ID
    assert {9100, 9200} <= set(asked.excluded.inbound_ports)
    assert asked.excluded.outbound_ports == (123,)
    assert [str(network) for network in asked.excluded.outbound_networks] == ["192.0.2.0/24", "2001:db8::/32"]


def test_user_and_ports_are_the_sidecars() -> None:
    """A pod must not take them."""
    assert ports.PROXY_ID == settings.PROXY_ID
    assert set(sidecars.OWN_PORTS) == ports.OWN_PORTS
    assert (ports.PROBE_PORT, ports.HEALTH_PORT, ports.METRICS_PORT) == sidecars.ASKED_PORTS


def test_the_sidecar_is_asked_what_it_answers() -> None:
    """By kubelet for its own health, and by its environment for the application's."""
    assert containers.READY_PATH == health.READY_PATH
    assert probes.VARIABLE == ENVIRONMENT_PREFIX + "APP_PROBES"
    for name in ("deployment-http", "deployment-grpc", "statefulset-tcp"):
        assert read_probes(variables(patched(creation(name)))[probes.VARIABLE])


def test_the_hook_before_the_end_is_understood() -> None:
    """It drains the sidecar that it stands in, and waits for those that still send."""
    pod = patched(creation("job"))
    program, step, *arguments = container(pod, "picket-sidecar")["lifecycle"]["preStop"]["exec"]["command"]
    assert (program, step) == ("picket-sidecar", "drain")
    asked = drain.parse(arguments, {name: value for name, value in variables(pod).items() if isinstance(value, str)})
    assert (asked.drain_seconds, asked.least_seconds) == (12, 5)
    assert asked.admin_socket.is_relative_to(containers.STATE)


@pytest.mark.parametrize("rules", [RULES, LEGACY], ids=["native", "legacy"])
def test_the_sidecar_joins_by_what_it_is_given(rules: Rules, tmp_path: Path) -> None:
    """Its environment is all that it has: no argument, no join file."""
    pod = patched(creation("statefulset-tcp"), rules)
    (tmp_path / "token").write_text("the.pods.token")
    (tmp_path / "bundle.pem").write_text("-----BEGIN CERTIFICATE-----")
    given_to = {name: value for name, value in variables(pod).items() if isinstance(value, str)}
    there = {name: value.replace(containers.IDENTITY, str(tmp_path)) for name, value in given_to.items()}
    settings, warning = options.parse([], {**there, "PICKET_SIDECAR_INSTANCE": "postgres-0"})
    assert warning == ""
    assert (settings.join.workload, settings.redirect_by, settings.drain_seconds) == ("data/default", "init", 57)
    assert settings.app_probes
    assert container(pod, "picket-sidecar").get("args") is None


@pytest.mark.parametrize(
    ("api", "volume"),
    [
        (WorkloadApi("spire-agent.sock", csi_driver="csi.spiffe.io"), {"csi": {"driver": "csi.spiffe.io", "readOnly": True}}),
        (WorkloadApi("agent.sock", host_path="/run/spire", hint="mesh"), {"hostPath": {"path": "/run/spire", "type": "Directory"}}),
    ],
    ids=["csi", "hostPath"],
)
@pytest.mark.parametrize("rules", [RULES, LEGACY], ids=["native", "legacy"])
def test_the_sidecar_joins_by_the_workload_api_where_identities_are_from_there(
    rules: Rules, api: WorkloadApi, volume: dict[str, object]
) -> None:
    """Its socket is mounted, and no token is."""
    rules = dataclasses.replace(rules, workload_api=api)
    asked = creation("statefulset-tcp")
    pod = patched(asked, rules)
    for version in KUBERNETES:
        kubernetes_validate.validate(pod, version, strict=True)
    again = decide(dataclasses.replace(asked, pod=pod), rules)
    assert isinstance(again, Injected)
    assert again.patch == ()
    given_to = {name: value for name, value in variables(pod).items() if isinstance(value, str)}
    settings, warning = options.parse([], {**given_to, "PICKET_SIDECAR_INSTANCE": "postgres-0"})
    assert warning == ""
    assert settings.join.workload == "data/default"
    assert settings.join.workload_api == WorkloadApiAddress(f"unix:{containers.IDENTITY}/{api.socket}", api.hint)
    assert settings.join.token_file is None
    (mounted,) = [each for each in pod["spec"]["volumes"] if each["name"] == containers.IDENTITY_VOLUME]
    assert mounted == {"name": containers.IDENTITY_VOLUME, **volume}


@given(st.dictionaries(st.sampled_from(list(KINDS)), PROBE, max_size=3))
def test_whatever_is_recorded_of_probes_the_agent_takes(asked: dict[str, object]) -> None:
    """A pod whose sidecar refuses its own settings would never start."""
    _, record = rewritten([{"name": "web", "ports": [{"name": "http", "containerPort": 8080}], **asked}], {})
    assert set(read_probes(write_record(record) if record else "")) == set(record)


@given(st.dictionaries(st.sampled_from(list(hooks.KINDS)), st.fixed_dictionaries({"httpGet": HTTP}), max_size=2), st.text())
def test_whatever_is_recorded_of_hooks_the_agent_takes(asked: dict[str, object], uid: str) -> None:
    """The same for what is done at a container's beginning and end."""
    web = {"name": "web", "ports": [{"name": "http", "containerPort": 8080}], "lifecycle": asked}
    _, record = hooks.rewritten([web], {}, uid)
    assert set(read_probes(write_record(record) if record else "")) == set(record)
