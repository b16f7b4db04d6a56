"""What the API is asked and answers about local users and their access tokens. Only an answer about a new one holds a secret."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from controlplane.policy.accounts import MAX_NAMESPACES
from controlplane.policy.roles import Role

_Name = Annotated[str, Meta(max_length=300)]
_Namespaces = Annotated[list[_Name], Meta(min_length=1, max_length=MAX_NAMESPACES)]
_Password = Annotated[str, Meta(max_length=1000)]
_Days = Annotated[int, Meta(ge=1, le=3_650)]
_Limit = Annotated[int, Meta(ge=1, le=1000)]
#: A page's ``next_cursor``; empty: from the beginning.
_Cursor = Annotated[str, Meta(max_length=1000, pattern="^[A-Za-z0-9_=-]*$")]


class UsersQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How many, by name."""

    limit: _Limit = 1000
    cursor: _Cursor = ""


class UserBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A local user, in some ``namespaces`` alone or in the whole mesh; with a token for so many ``days``, or without end."""

    name: _Name
    role: Role
    namespaces: _Namespaces | None = None
    password: _Password = ""
    token: bool = True
    label: _Name = "first"
    days: _Days | None = None


class ScopeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What a user may do from now on."""

    name: _Name
    role: Role
    namespaces: _Namespaces | None = None


class PasswordBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A user's new password."""

    name: _Name
    password: Annotated[str, Meta(min_length=1, max_length=1000)]


class RevokeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is taken away, with all tokens."""

    name: _Name


class AccessTokensQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Of one user or all; newest first."""

    user: _Name = ""
    limit: _Limit = 100
    cursor: _Cursor = ""


class AccessTokenBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A token of a user. Without a role it may do what the user may; ``namespaces`` belong to the role."""

    user: _Name
    label: _Name = ""
    role: Role | None = None
    namespaces: _Namespaces | None = None
    days: _Days | None = None


class NamedUser(Struct, frozen=True):
    """A local user; ``namespaces`` is null for the whole mesh. One without a password signs in by tokens alone."""

    name: str
    role: str
    created_ms: int
    namespaces: list[str] | None
    has_password: bool
    created_by: str


class NamedUsers(Struct, frozen=True):
    """All of them, by name."""

    users: list[NamedUser]
    next_cursor: str | None = None


class NewUser(Struct, frozen=True):
    """A new user; ``token`` is shown this once, null where none was asked for."""

    name: str
    role: str
    namespaces: list[str] | None
    token: str | None


class AccessToken(Struct, frozen=True, kw_only=True):
    """A user's token, without the token itself. ``good`` is whether it lets in now."""

    id: int
    user: str
    label: str
    role: str
    namespaces: list[str] | None
    good: bool
    created_ms: int
    created_by: str
    expires_ms: int | None
    last_used_ms: int | None
    revoked_ms: int | None


class AccessTokens(Struct, frozen=True):
    """Newest first."""

    tokens: list[AccessToken]
    next_cursor: str | None = None


class NewAccessToken(Struct, frozen=True):
    """A new token; ``secret`` is shown this once."""

    token: AccessToken
    secret: str
