"""Starts a pod without a cluster: a PodSpec's steps and containers in a network namespace, as its users, with its volumes.

What kubelet and a container runtime would do for the fields that injected pods have; a field that is not known is an error, so
that nothing of a pod is passed over in silence.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.namespaces import as_user

Json = dict[str, Any]
START_SECONDS = 90.0
#: How a program of the image is started here.
PROGRAMS: Mapping[str, Sequence[str]] = {"picket-sidecar": (sys.executable, "-m", "sidecar.main")}
_POD = {
    "containers", "initContainers", "volumes", "serviceAccountName", "restartPolicy", "terminationGracePeriodSeconds",
}  # fmt: skip
_CONTAINER = {
    "name", "image", "imagePullPolicy", "command", "args", "env", "ports", "lifecycle", "resources", "securityContext",
    "volumeMounts", "restartPolicy", "readinessProbe", "startupProbe", "livenessProbe",
}  # fmt: skip
_ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)
"""


@dataclass(frozen=True)
class Node:
    """Where pods are started: a namespace to probe from, how processes are kept, and what projected volumes hold.

    ``start`` gets a name, a command and its environment; ``project`` gives the content of a source of a projected volume.
    """

    namespace: str
    start: Callable[[str, list[str], dict[str, str]], object]
    project: Callable[[Json], Mapping[str, bytes]]

    def probe(self, address: str, probe: Json) -> int:
        """An HTTP probe's status, as kubelet gets it from beside the pod; 0 where nobody answers."""
        asked = probe["httpGet"]
        url = f"http://{address}:{asked['port']}{asked['path']}"
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", _ASK, url]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


class Pod:
    """One pod in one namespace."""

    def __init__(self, manifest: Json, node: Node, namespace: str, address: str, directory: Path) -> None:
        """``directory`` is for its volumes, and its path short: sockets are in it."""
        self.spec: Json = manifest["spec"]
        assert set(self.spec) <= _POD, set(self.spec) - _POD
        self._name: str = manifest["metadata"]["name"]
        self._node = node
        self._namespace = namespace
        self.address = address
        self.volumes = {volume["name"]: directory / f"v{number}" for number, volume in enumerate(self.spec.get("volumes", ()))}

    def start(self) -> None:
        """Steps in their order, native sidecars with their startup probe, then the containers."""
        for volume in self.spec.get("volumes", ()):
            self._fill(volume, self.volumes[volume["name"]])
        for container in self.spec.get("initContainers", ()):
            if container.get("restartPolicy") == "Always":
                self._begin(container)
                self._wait(container["startupProbe"])
            else:
                command, environment = self._command(container)
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 0, f"{container['name']}: {done.stderr}"
        for container in self.spec["containers"]:
            self._begin(container)

    def ready(self, name: str) -> int:
        """The status of a container's readiness probe."""
        (probe,) = [item["readinessProbe"] for item in self.spec["containers"] if item["name"] == name]
        return self._node.probe(self.address, probe)

    def _begin(self, container: Json) -> None:
        self._node.start(f"{self._name}/{container['name']}", *self._command(container))

    def _wait(self, probe: Json) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._node.probe(self.address, probe) != 200:
            assert time.monotonic() < deadline, f"{self._name}: the startup probe fails"

    def _command(self, container: Json) -> tuple[list[str], dict[str, str]]:
        assert set(container) <= _CONTAINER, set(container) - _CONTAINER
        program, *rest = container["command"]
        command = [*PROGRAMS.get(program, (program,)), *rest, *container.get("args", ())]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED": "1"}
        for variable in container.get("env", ()):
            environment[variable["name"]] = self._inside(container, self._value(variable))
        context = container["securityContext"]
        closed = self._read_only(container) if context.get("readOnlyRootFilesystem") else []
        return ["ip", "netns", "exec", self._namespace, *closed, *_user(context), *command], environment

    def _read_only(self, container: Json) -> list[str]:
        """What takes every right to write away from a program, but for the volumes that it mounts to write to."""
        mounts = [mount for mount in container.get("volumeMounts", ()) if not mount.get("readOnly")]
        lines = [f"mount --bind {self.volumes[mount['name']]} {self.volumes[mount['name']]}" for mount in mounts]
        script = "; ".join(["set -e", *lines, "mount -o remount,bind,ro /", 'exec "$@"'])
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]

    def _value(self, variable: Json) -> str:
        if "value" in variable:
            return str(variable["value"])
        assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        return self._name

    def _inside(self, container: Json, value: str) -> str:
        """A path below a mount, as it is here."""
        for mount in container.get("volumeMounts", ()):
            if value == mount["mountPath"] or value.startswith(f"{mount['mountPath']}/"):
                return str(self.volumes[mount["name"]]) + value.removeprefix(mount["mountPath"])
        return value

    def _fill(self, volume: Json, directory: Path) -> None:
        directory.mkdir()
        if "emptyDir" in volume:
            directory.chmod(0o777)  # as kubelet makes it
            return
        projected = volume["projected"]
        directory.chmod(0o755)
        for source in projected["sources"]:
            for name, content in self._node.project(source).items():
                (directory / name).write_bytes(content)
                (directory / name).chmod(projected["defaultMode"])


def _user(context: Json) -> list[str]:
    """What makes a program the user of a security context, with the capabilities that it names and no others."""
    added = [name.lower() for name in context.get("capabilities", {}).get("add", ())]
    if context["runAsUser"] != 0:
        assert not added
        return as_user(context["runAsUser"])
    assert context["capabilities"]["drop"] == ["ALL"]
    return ["setpriv", f"--bounding-set={','.join(['-all', *(f'+{name}' for name in added)])}", "--inh-caps=-all", "--no-new-privs"]
