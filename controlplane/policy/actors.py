"""Names that acts are written down under: proved ones, and claims of whoever holds the control plane's own token. Pure."""

from __future__ import annotations

#: No user's name has a space in it, so that none looks like a claim.
_CLAIM = " (via token)"
#: One person may make many claims: together they are one.
CLAIMANT = "the control plane's own token"
#: Whoever signed in to the console by that token, or by the link that the control plane made.
CONSOLE_OWNER = "owner (via console)"


def claimed(name: str) -> str:
    """How a name is written down that its bearer gave itself."""
    return f"{name}{_CLAIM}"


def person(actor: str) -> str:
    """Who counts as one person where several have to agree: all claims are the same one."""
    return CLAIMANT if actor.endswith(_CLAIM) or actor == CONSOLE_OWNER else actor
