"""Names that acts are written down under: proved ones, and claims of whoever holds the control plane's own token. Pure."""

from __future__ import annotations

#: No user's name has a space in it, so that none looks like a claim.
_CLAIM = " (via token)"
#: One person may make many claims: together they are one.
CLAIMANT = "the control plane's own token"


def claimed(name: str) -> str:
    """How a name is written down that its bearer gave itself."""
    return f"{name}{_CLAIM}"


def person(actor: str) -> str:
    """Who counts as one person where several have to agree: all claims are the same one."""
    return CLAIMANT if actor.endswith(_CLAIM) else actor
