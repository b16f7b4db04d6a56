"""Takes batches of imported flows into the store, each once. An import is learning input: it approves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from controlplane.flows.imports.model import Imported
from controlplane.store.interface import Store
from controlplane.workflow.imported import REPORTER, flows_of
from controlplane.workflow.publish import Publisher


@dataclass(frozen=True, slots=True)
class Import:
    """Which import a batch is of: its epoch (32 hexadecimal digits), and what it is called in the audit log."""

    epoch: str
    log: str
    format: str


class Imports:
    """The writer of what other tools saw."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms

    def take(self, source: Import, number: int, imported: Sequence[Imported], actor: str) -> bool:
        """Store a batch; ``False`` when it was stored before. Batches of an import count from 1; the first is an audit event.

        Raises:
            StoreError: the database refused; the batch may be sent again.
        """
        now_ms = self._clock_ms()
        flows = flows_of(imported, self._publisher.topology, now_ms)
        with self._store.transaction() as transaction:
            receipt = transaction.record_batch(REPORTER, "", source.epoch, number, flows, 0, now_ms)
            if receipt.stored and number == 1:
                detail = msgspec.json.encode({"log": source.log, "format": source.format}).decode()
                transaction.add_audit(actor, "learn:import", source.epoch, detail, now_ms)
        return receipt.stored
