"""A real cluster of one node, on Linux as root: API server, controllers, scheduler, kubelet with containerd and runc, proxy, DNS.

All of it lives in process, mount and network namespaces of one process: with that one everything ends, also when the test is
killed, and nothing on the machine is changed. The programs are those of `make kubernetes`; runc and CNI's plugins are Debian's.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.harness import apiserver
from tests.harness.apiserver import ApiServer, flags, program
from tests.harness.directories import short_directory

PROGRAMS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
    "containerd", "containerd-shim-runc-v2", "ctr", "coredns",
)  # fmt: skip
CNI = Path("/usr/lib/cni")
PAUSE = "localhost/pause:test"
NODE = "node"
POD_RANGE = "10.244.0.0/24"
ADDRESS = "10.244.255.1"
_CGROUPS = Path("/sys/fs/cgroup")
_VOLUMES = 3
#: Kubelet sets some of the machine's own kernel settings: here it writes to copies of them.
_SETTINGS = (
    "vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes"
)
_SCRIPT = f"""
set -e
mkdir "$1/settings"
for setting in {_SETTINGS}; do
  copy=$1/settings/${{setting##*/}}
  cat /proc/sys/$setting > $copy
  mount --bind $copy /proc/sys/$setting
done
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
ip link set lo up
ip address add {ADDRESS}/32 dev lo
ip route add {apiserver.SERVICE_RANGE} dev lo src {ADDRESS}  # a way for them before the proxy gives them another one
echo 1 > /proc/sys/net/ipv4/ip_forward
echo made
exec cat
"""


def lacking() -> list[str]:
    """What a node needs and is not here."""
    if os.geteuid() != 0 or platform.system() != "Linux":
        return ["root on Linux"]
    absent = [name for name in ("runc", "nft", "ip", "conntrack", "unshare", "nsenter", "setpriv") if shutil.which(name) is None]
    if not (CNI / "ptp").exists():
        absent.append(f"CNI's plugins in {CNI}")
    if not _CGROUPS.is_dir():
        absent.append("cgroups")
    return [*absent, *apiserver.lacking(*PROGRAMS)]


class Node:
    """The namespaces, and what is started in them."""

    def __init__(self, directory: Path, keeper: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
        self._pid = int(children[0])
        self.prefix = ("nsenter", f"--target={self._pid}", "--net", "--pid", "--mount")
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        """A process that ends with the node."""
        path = os.pathsep.join(filter(None, (os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ["PATH"], "/usr/sbin:/sbin")))
        with (self.directory / f"{name}.log").open("wb") as log:
            self._started[name] = subprocess.Popen(
                [*self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": path, "HOME": str(self.directory)},
            )

    def ended(self) -> str | None:
        """A process that should still run and does not."""
        return next((name for name, process in self._started.items() if process.poll() is not None), None)

    def run(self, *command: str) -> str:
        """What a command in it prints."""
        done = subprocess.run([*self.prefix, *command], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
        return done.stdout

    def load(self, archive: Path) -> None:
        """Images of an OCI or Docker archive."""
        self.run(
            str(program("ctr")),
            "--address",
            str(self.directory / "c.sock"),
            "--namespace",
            "k8s.io",
            "images",
            "import",
            str(archive),
        )

    def wait(self) -> None:
        """For the processes, after the namespaces have ended."""
        for process in self._started.values():
            process.wait()


@contextmanager
def running_node(archives: Sequence[Path]) -> Iterator[tuple[Node, ApiServer]]:
    """A cluster whose node has the images of some archives, among them `PAUSE`."""
    group = f"picket-test-{os.getpid()}"
    _sweep()
    with short_directory("node") as directory:
        unshared = ("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
        keeper = subprocess.Popen(
            [*unshared, "sh", "-c", _SCRIPT, "sh", str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"made\n"
            node = Node(directory, keeper)
            try:
                yield node, _start(node, group, archives)
            finally:
                keeper.kill()
                node.wait()
        finally:
            keeper.kill()
            keeper.communicate()
            _remove(group)


def _start(node: Node, group: str, archives: Sequence[Path]) -> ApiServer:
    directory = node.directory
    server, commands = apiserver.prepare(directory, "127.0.0.1", ADDRESS, node.prefix)
    for name, command in commands.items():
        node.start(name, command)
    node.start("containerd", [str(program("containerd")), "--config", str(_containerd(directory))])
    apiserver.wait(server, node.ended)
    controllers = {
        "kubeconfig": str(server.kubeconfig("controllers")), "leader-elect": "false", "use-service-account-credentials": "true",
        "service-account-private-key-file": str(directory / "accounts.key"), "root-ca-file": str(server.root),
        "bind-address": "127.0.0.1",
    }  # fmt: skip
    node.start("controllers", [str(program("kube-controller-manager")), *flags(controllers)])
    scheduler = {"kubeconfig": str(server.kubeconfig("scheduler")), "leader-elect": "false", "bind-address": "127.0.0.1"}
    node.start("scheduler", [str(program("kube-scheduler")), *flags(scheduler)])
    node.start("proxy", [str(program("kube-proxy")), "--config", str(_proxy(server))])
    (directory / "Corefile").write_text(_names(server))
    node.start("coredns", [str(program("coredns")), "-conf", str(directory / "Corefile")])
    for hierarchy in _hierarchies():
        (hierarchy / group).mkdir(exist_ok=True)
        if (hierarchy / "cpuset.cpus").exists():  # a new cpuset of cgroup v1 has none
            for file in ("cpuset.cpus", "cpuset.mems"):
                (hierarchy / group / file).write_text((hierarchy / file).read_text())
    for archive in archives:
        node.load(archive)
    kubelet = {"config": str(_kubelet(directory, group)), "kubeconfig": str(server.kubeconfig("kubelet"))}
    kubelet |= {"root-dir": str(directory / "kubelet"), "cert-dir": str(directory / "pki")}
    kubelet |= {"hostname-override": NODE, "node-ip": ADDRESS}
    node.start("kubelet", [str(program("kubelet")), *flags(kubelet)])
    for number in range(_VOLUMES):
        server.kubectl("create", "-f", "-", stdin=json.dumps(_volume(directory, number)))
    deadline = time.monotonic() + apiserver.START_SECONDS
    while server.tried("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=5s").returncode != 0:
        assert node.ended() is None, f"{node.ended()} has ended: {apiserver.said(directory)}"
        assert time.monotonic() < deadline, f"the node is not ready: {apiserver.said(directory)}"
    return server


def _containerd(directory: Path) -> Path:
    """Its configuration: https://github.com/containerd/containerd/blob/main/docs/cri/config.md."""
    network = {
        "cniVersion": "1.0.0", "name": "test",
        "plugins": [{
            # Not a bridge: answers of a service on the same node would go past the proxy's translation.
            "type": "ptp", "ipMasq": False, "mtu": 1500,
            "ipam": {
                "type": "host-local", "dataDir": str(directory / "addresses"), "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    }  # fmt: skip
    (directory / "cni").mkdir()
    (directory / "cni" / "test.conflist").write_text(json.dumps(network))
    made = directory / "containerd.toml"
    made.write_text(
        "version = 3\n"
        f"root = '{directory}/images'\nstate = '{directory}/state'\n"
        f"[grpc]\naddress = '{directory}/c.sock'\n[ttrpc]\naddress = '{directory}/c.sock.ttrpc'\n"
        f"[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{PAUSE}'\n"
        # Where root may not raise a process above others, neither may a pod be.
        "[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"
        f"[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['{CNI}']\nconf_dir = '{directory}/cni'\n"
    )
    return made


def _kubelet(directory: Path, group: str) -> Path:
    """Its configuration: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/."""
    resolve = directory / "resolv.conf"
    resolve.write_text("")
    made = directory / "kubelet.yaml"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{directory}/c.sock",
        # Nobody but the API server of the same namespace reaches it.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}}, "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{group}", "failCgroupV1": False, "failSwapOn": False,
        "clusterDNS": [ADDRESS], "clusterDomain": "cluster.local", "resolvConf": str(resolve),
        "podLogsDir": str(directory / "logs"), "volumePluginDir": str(directory / "plugins"), "staticPodPath": "",
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%", "memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100, "localStorageCapacityIsolation": False, "healthzPort": 0,
        "nodeStatusUpdateFrequency": "2s", "syncFrequency": "5s", "maxPods": 60,
    }  # fmt: skip
    made.write_text(yaml.safe_dump(config))
    return made


def _proxy(server: ApiServer) -> Path:
    made = server.directory / "proxy.yaml"
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
        "clientConnection": {"kubeconfig": str(server.kubeconfig("proxy"))}, "clusterCIDR": POD_RANGE, "hostnameOverride": NODE,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249", "healthzBindAddress": "127.0.0.1:10256",
    }  # fmt: skip
    made.write_text(yaml.safe_dump(config))
    return made


def _names(server: ApiServer) -> str:
    return (
        f".:53 {{\n  bind {ADDRESS}\n  errors\n"
        f"  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {server.kubeconfig()} admin\n  }}\n}}\n"
    )


def _volume(directory: Path, number: int) -> dict[str, object]:
    """A place for a claim, as a provisioner would make it."""
    place = directory / "volumes" / str(number)
    place.mkdir(parents=True)
    place.chmod(0o777)  # as for any user: a volume of this kind does not follow fsGroup
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": str(place)},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }  # fmt: skip


def _hierarchies() -> list[Path]:
    """One of cgroup v2, or each of v1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove(group: str) -> None:
    for hierarchy in _hierarchies():
        for found in sorted((hierarchy / group).rglob("*"), reverse=True):
            if found.is_dir():
                found.rmdir()
        if (hierarchy / group).exists():
            (hierarchy / group).rmdir()


def _sweep() -> None:
    """What an earlier run that was killed left of its control groups: they are empty, for its processes have ended."""
    for found in {path.name for hierarchy in _hierarchies() for path in hierarchy.glob("picket-test-*")}:
        if not Path(f"/proc/{found.rpartition('-')[2]}").exists():
            _remove(found)
