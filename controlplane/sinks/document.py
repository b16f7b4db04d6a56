"""The file that `--sinks` names: where events go, and which. Sends nothing.

Addresses come from this file alone: nobody who calls the API can have anything sent anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from controlplane.httpcall import is_safe
from controlplane.settings import SettingsError
from controlplane.settingsfile import read_file, read_secret
from controlplane.sinks.event import Filter, Kind

SETTING = "--sinks"
SYSLOG_SCHEMES = frozenset({"udp", "tcp", "tls"})
_Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
_Text = Annotated[str, Meta(min_length=1, max_length=2000)]
SinkKind = Literal["webhook", "slack", "syslog", "otlp", "file"]


class _Sink(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    name: _Name
    kind: SinkKind
    to: _Text | None = None
    to_file: _Text | None = None
    secret_file: _Text | None = None
    ca_file: _Text | None = None
    insecure: bool = False
    events: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=4)] = (
        Kind.VIOLATION,
        Kind.INCIDENT,
        Kind.PROOF_FAILED,
    )
    verdicts: Literal["denied", "all"] = "all"
    namespaces: Annotated[tuple[_Text, ...], Meta(max_length=200)] = ()


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    sinks: Annotated[list[_Sink], Meta(min_length=1, max_length=50)]


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """One sink. ``to`` is an address or a path, and may be a secret itself; ``secret`` signs or authorises."""

    name: str
    kind: SinkKind
    to: str
    secret: str
    ca_file: Path | None
    wanted: Filter

    @property
    def shown(self) -> str:
        """Where it leads, without what may be secret."""
        if self.kind == "file":
            return self.to
        parts = urlsplit(self.to)
        return f"{parts.scheme}://{parts.netloc}"


def read_sinks(path: Path) -> tuple[SinkSettings, ...]:
    """The file's sinks.

    Raises:
        SettingsError: what is wrong, and where.
    """
    sinks = read_file(path, _Document, SETTING).sinks
    twice = next((one.name for index, one in enumerate(sinks) if one.name in {other.name for other in sinks[:index]}), None)
    if twice is not None:
        raise SettingsError(f"{SETTING}: {path}: there are two sinks {twice}")
    return tuple(_checked(sink, path) for sink in sinks)


def _checked(sink: _Sink, path: Path) -> SinkSettings:
    where = f"{SETTING}: {path}: {sink.name}"
    if (sink.to is None) == (sink.to_file is None):
        raise SettingsError(f"{where}: either to or to-file is wanted")
    to = sink.to if sink.to is not None else read_secret(Path(str(sink.to_file)), path, f"{SETTING}: {sink.name}")
    if sink.kind == "file":
        to = str(path.parent / to)
    elif sink.kind == "syslog":
        if not _is_syslog(to):
            raise SettingsError(f"{where}: udp://host:port, tcp://host:port or tls://host:port is wanted")
    elif not is_safe(to) and not (sink.insecure and to.startswith("http://") and is_safe(f"https://{to.removeprefix('http://')}")):
        raise SettingsError(f"{where}: https://host is wanted; http beyond this machine only with insecure: true")
    secret = "" if sink.secret_file is None else read_secret(Path(sink.secret_file), path, f"{SETTING}: {sink.name}")
    if sink.kind == "webhook" and not secret:
        raise SettingsError(f"{where}: a webhook is signed: secret-file is missing")
    if secret and sink.kind not in {"webhook", "otlp"}:
        raise SettingsError(f"{where}: a {sink.kind} sink takes no secret-file")
    wanted = Filter(frozenset(sink.events), sink.verdicts == "denied", frozenset(sink.namespaces))
    return SinkSettings(sink.name, sink.kind, to, secret, None if sink.ca_file is None else path.parent / sink.ca_file, wanted)


def _is_syslog(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in SYSLOG_SCHEMES and bool(parts.hostname) and parts.port is not None and not parts.path
    except ValueError:
        return False
