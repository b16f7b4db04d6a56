"""A real Kubernetes API server with its etcd, as processes that end with the test, also when the test is killed.

The programs come from the folder that KUBEBUILDER_ASSETS names, by the convention of envtest
(https://book.kubebuilder.io/reference/envtest), or from PATH; `make kubernetes` builds them.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: The addresses of services; the first is the API server's own.
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
START_SECONDS = 120.0
_PORT = 6443
#: Who may ask, by their tokens: name -> user and groups. What the control plane's own account may do, RBAC decides.
USERS = {
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": ("system:node:node", "system:nodes"),
}


def program(name: str) -> str | None:
    """Where a program is; None where it is not."""
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    return shutil.which(name, path=os.pathsep.join(filter(None, (assets, os.environ.get("PATH", "")))))


def lacking(*names: str) -> list[str]:
    """Which of some programs are missing."""
    return [name for name in names if program(name) is None]


@dataclass(frozen=True)
class ApiServer:
    """One that runs; ``prefix`` is a command that runs another one where it can be reached."""

    directory: Path
    url: str
    tokens: dict[str, str]
    prefix: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The certificate that its own goes back to."""
        return self.directory / "ca.pem"

    def kubeconfig(self, user: str = "admin", token: str = "", namespace: str = "default") -> Path:
        """A file with which a user can reach it; one of `USERS`, or anybody else by a token."""
        made = self.directory / f"{user}.kubeconfig"
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": user,
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": str(self.root)}}],
            "users": [{"name": user, "user": {"token": token or self.tokens[user]}}],
            "contexts": [{"name": user, "context": {"cluster": "test", "user": user, "namespace": namespace}}],
        }  # fmt: skip
        _secret(made, msgspec.json.encode(config))
        return made

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, for the administrator."""
        done = self.tried(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments[:6])}: {done.stderr[-3000:]}"
        return done.stdout

    def tried(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The same where it may fail."""
        command = [*self.prefix, str(program("kubectl")), "--kubeconfig", str(self.kubeconfig()), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)


@contextmanager
def running_apiserver(directory: Path) -> Iterator[ApiServer]:
    """One on a loopback address that is this process's own; nobody else's service is in its way."""
    pid = os.getpid()
    address = str(ipaddress.IPv4Address((127 << 24) + (64 << 16) + (pid % (1 << 21)) + 1))
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        started.append(process)
        return process

    try:
        server, commands = prepare(directory, address, address, ())
        processes = [start(name, command) for name, command in commands.items()]
        wait(server, lambda: next((process.args for process in processes if process.poll() is not None), None))
        yield server
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def prepare(directory: Path, address: str, advertised: str, prefix: tuple[str, ...]) -> tuple[ApiServer, dict[str, list[str]]]:
    """Keys, tokens and the commands of etcd and of the API server, which listens at an address and tells pods another one."""
    _keys(directory, {address, advertised, API_SERVICE, "127.0.0.1"})
    tokens = {name: secrets.token_urlsafe(24) for name in USERS}
    rows = [f'{tokens[name]},{user},{user},"{groups}"' for name, (user, groups) in USERS.items()]
    _secret(directory / "tokens.csv", "\n".join([*rows, ""]).encode())
    server = ApiServer(directory, f"https://{address}:{_PORT}", tokens, prefix)
    etcd = [
        str(program("etcd")), "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
        "--listen-client-urls", f"http://{address}:2379", "--advertise-client-urls", f"http://{address}:2379",
        "--listen-peer-urls", f"http://{address}:2380",
    ]  # fmt: skip
    options = {
        "etcd-servers": f"http://{address}:2379",
        "bind-address": address if address == advertised else "0.0.0.0",  # in a network namespace of its own
        "advertise-address": advertised,
        # A loopback address is nobody's endpoint.
        "endpoint-reconciler-type": "none" if address == advertised else "lease",
        "secure-port": str(_PORT),
        "service-cluster-ip-range": SERVICE_RANGE,
        "tls-cert-file": str(directory / "serving.pem"),
        "tls-private-key-file": str(directory / "serving.key"),
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(directory / "accounts.key"),
        "service-account-signing-key-file": str(directory / "accounts.key"),
        "token-auth-file": str(directory / "tokens.csv"),
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "kubelet-preferred-address-types": "InternalIP",
    }
    return server, {"etcd": etcd, "kube-apiserver": [str(program("kube-apiserver")), *flags(options)]}


def flags(options: dict[str, str]) -> list[str]:
    """Options as a command takes them."""
    return [f"--{name}={value}" for name, value in options.items()]


def wait(server: ApiServer, ended: Callable[[], object]) -> None:
    """Until it is ready. ``ended`` says which process has ended before; None while all run."""
    deadline = time.monotonic() + START_SECONDS
    while server.tried("get", "--raw", "/readyz").returncode != 0:
        assert (which := ended()) is None, f"{which} has ended: {said(server.directory)}"
        assert time.monotonic() < deadline, f"the API server is not ready: {said(server.directory)}"
        time.sleep(0.2)


def said(directory: Path) -> str:
    """The ends of all logs there."""
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in sorted(directory.glob("*.log")))


def _secret(path: Path, body: bytes) -> None:
    """Written whole: somebody may read what was there before."""
    made = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(body)
    made.replace(path)


def _keys(directory: Path, addresses: set[str]) -> None:
    """A root, a serving certificate for these addresses, and the key that signs service accounts' tokens."""
    now = datetime.now(UTC)
    root, serving = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )

    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(addresses)]
    names += [x509.DNSName(name) for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc")]
    made = certificate("kube-apiserver", serving, authority=False).add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(certificate("test", root, authority=True).sign(root, hashes.SHA256()).public_bytes(pem))
    (directory / "serving.pem").write_bytes(made.sign(root, hashes.SHA256()).public_bytes(pem))
    for name, key in (("serving", serving), ("accounts", ec.generate_private_key(ec.SECP256R1()))):
        private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        _secret(directory / f"{name}.key", private)
