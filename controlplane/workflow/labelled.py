"""Modes that a platform's labels ask for: a namespace's, for those of its services that nobody gave a mode. Passes no gate.

A label is for a first try. Once a person sets a service's mode, that counts; and what the gate holds back stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from controlplane.policy.rules import Mode
from controlplane.store.interface import Store
from controlplane.topology.model import Kind, ServiceName
from controlplane.workflow.modes import Modes
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Refused

_ALLOWED = frozenset({Mode.LEARN, Mode.AUDIT, Mode.ENFORCE})
_log = structlog.get_logger("picket.modes")


class LabelledModes:
    """Follows what labels ask for. To be called from one thread at a time."""

    def __init__(self, store: Store, publisher: Publisher, modes: Modes) -> None:
        self._store = store
        self._publisher = publisher
        self._modes = modes
        self._asked: Mapping[str, str] = {}
        self._told: frozenset[str] = frozenset()

    def follow(self, asked: Mapping[str, str]) -> None:
        """Set the modes that namespaces' labels ask for, each with its audit event. Refusals are told once.

        A service follows its namespace's label when that changes, as long as its mode is the one that the label asked for.

        Raises:
            StoreError: the database refused; the rest is done the next time.
        """
        told: set[str] = set()
        own = self._store.modes()
        for name in sorted(self._services(asked)):
            text = asked[name.namespace]
            if text not in _ALLOWED:
                told.add(f"namespace {name.namespace}: the mode {text[:40]!r} is not one of {', '.join(sorted(_ALLOWED))}")
                continue
            decided = own.get(name)
            if decided is not None and decided != self._asked.get(name.namespace):
                continue
            mode = Mode(text)
            if mode is self._publisher.policy.mode(name):
                continue
            outcome = self._modes.change([name], mode, f"label of namespace {name.namespace}", f"its label asks for {mode}")
            if isinstance(outcome, Refused):
                told.add(f"{name}: stays in {self._publisher.policy.mode(name)}: {outcome.reason}")
        for refusal in sorted(told - self._told):
            _log.warning("mode not set by label", reason=refusal)
        self._told = frozenset(told)
        self._asked = dict(asked)

    def _services(self, asked: Mapping[str, str]) -> list[ServiceName]:
        return [
            name
            for name, service in self._publisher.declared.services.items()
            if name.namespace in asked and service.kind is not Kind.EXTERNAL
        ]
