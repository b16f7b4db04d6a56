"""How the TrafficPolicy objects of a cluster stand toward what is in force. Values only; knows no cluster."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """What became of an object."""

    IN_FORCE = "in-force"
    DIFFERS = "differs"  # it was put into force, and something else was approved since
    REFUSED = "refused"  # it does not read, or what it asks for cannot be
    CONFLICT = "conflict"  # it is Picket's, and somebody else changed it, or it cannot be written
    UNKEPT = "unkept"  # nobody looks after it here
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Standing:
    """One object, ``namespace/name``, and the service that it speaks for; ``own`` ones were written by Picket.

    ``revision`` is the policy revision that it was applied or written by, ``reason`` why it is not in force and what to do.
    """

    object: str
    service: str
    own: bool
    state: State
    revision: int
    reason: str

    @property
    def needs_a_look(self) -> bool:
        """Whether somebody has to decide something."""
        return self.state not in {State.IN_FORCE, State.WAITING}
