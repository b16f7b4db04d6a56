"""The file that `--oidc` names: which identity provider, and which of its groups may do what. Calls nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, json

from controlplane.httpcall import is_safe
from controlplane.identity.tokens import token_hash
from controlplane.policy.accounts import Scope, check_namespaces
from controlplane.policy.groups import GroupRole
from controlplane.policy.roles import Role
from controlplane.settings import SettingsError
from controlplane.settingsfile import read_file, read_secret

SETTING = "--oidc"
_Text = Annotated[str, Meta(min_length=1, max_length=500)]


class _Group(Struct, frozen=True, forbid_unknown_fields=True):
    group: _Text
    role: Role
    namespaces: list[str] | None = None


class _Document(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    issuer: _Text
    client_id: _Text
    client_secret_file: str | None = None
    console: _Text
    ca_file: str | None = None
    scopes: Annotated[tuple[_Text, ...], Meta(min_length=1, max_length=20)] = ("openid", "profile", "email")
    name_claim: _Text = "email"
    groups_claim: _Text = "groups"
    groups: Annotated[list[_Group], Meta(min_length=1, max_length=1000)]
    session_hours: Annotated[int, Meta(ge=1, le=12)] = 8


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Everything about the identity provider. ``console`` is the console's own address, as browsers reach it."""

    issuer: str
    client_id: str
    client_secret: str | None
    console: str
    ca_file: Path | None
    scopes: tuple[str, ...]
    name_claim: str
    groups_claim: str
    groups: tuple[GroupRole, ...]
    session_ms: int

    @property
    def proof(self) -> str:
        """What a sign-in came in by (`policy.accounts.Caller`): another where the file has others come in, or lets them do else."""
        said = (self.issuer, self.client_id, self.name_claim, self.groups_claim, self.groups)
        return f"oidc:{token_hash(json.encode(said).decode())[:16]}"

    @property
    def back(self) -> str:
        """Where the provider sends browsers back to."""
        return f"{self.console}/sign-in/oidc/back"


def read_oidc(path: Path) -> OidcSettings:
    """The file's settings.

    Raises:
        SettingsError: what is wrong, and where.
    """
    document = read_file(path, _Document, SETTING)
    for name, address in (("issuer", document.issuer), ("console", document.console)):
        if not is_safe(address):
            wanted = "https://host is wanted (http for this machine alone)"
            raise SettingsError(f"{SETTING}: {path}: {name}: {wanted}, not {address[:80]!r}")
    if "openid" not in document.scopes:
        raise SettingsError(f"{SETTING}: {path}: scopes: openid is missing")
    wrong = next((f"{one.group}: {reason}" for one in document.groups if (reason := check_namespaces(one.namespaces))), "")
    if wrong:
        raise SettingsError(f"{SETTING}: {path}: groups: {wrong}")
    secret = document.client_secret_file
    return OidcSettings(
        issuer=document.issuer,
        client_id=document.client_id,
        client_secret=None if secret is None else read_secret(Path(secret), path, SETTING),
        console=document.console.rstrip("/"),
        ca_file=None if document.ca_file is None else path.parent / document.ca_file,
        scopes=document.scopes,
        name_claim=document.name_claim,
        groups_claim=document.groups_claim,
        groups=tuple(
            GroupRole(one.group, Scope(one.role, None if one.namespaces is None else tuple(one.namespaces)))
            for one in document.groups
        ),
        session_ms=document.session_hours * 3_600_000,
    )
