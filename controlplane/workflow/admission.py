"""Join tokens: who may enroll a sidecar of which workload, once. Signs nothing, and stores no token but by its hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_workload
from controlplane.identity.tokens import DEFAULT_LIFETIME, new_token, token_hash
from controlplane.store.interface import Store

MAX_LIFETIME_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """Why a token admits nobody."""

    reason: str


class _WithdrawnError(Exception):
    """Leaving the transaction by it leaves the token unused."""


class Admission:
    """Makes join tokens and takes them. ``known`` says whether the topology has a workload."""

    def __init__(self, store: Store, known: Callable[[WorkloadId], bool], clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._known = known
        self._clock_ms = clock_ms

    def new_token(self, workload: WorkloadId, lifetime_seconds: int, actor: str) -> str:
        """A token for one sidecar; a lifetime of 0 is the default.

        Raises:
            ValueError: the topology has no such workload, or a lifetime out of bounds.
        """
        if not self._known(workload):
            raise ValueError(f"no service in the topology has the workload {workload}")
        lifetime = lifetime_seconds or int(DEFAULT_LIFETIME.total_seconds())
        if not 0 < lifetime <= MAX_LIFETIME_SECONDS:
            raise ValueError(f"a join token lives for 1 to {MAX_LIFETIME_SECONDS} seconds")
        token, now_ms = new_token(), self._clock_ms()
        with self._store.transaction() as transaction:
            transaction.add_join_token(token_hash(token), str(workload), now_ms + lifetime * 1000, now_ms)
            transaction.add_audit(actor, "token:create", str(workload), f'{{"lifetime_seconds":{lifetime}}}', now_ms)
        return token

    def admit(self, token: str) -> WorkloadId | NotAdmitted:
        """Use a token up, and say whose it was. A token whose workload is gone stays as it is."""
        now_ms = self._clock_ms()
        try:
            with self._store.transaction() as transaction:
                found = transaction.use_join_token(token_hash(token), now_ms)
                if found is None:
                    return NotAdmitted("the join token is unknown, used or expired; make one with `picket token`")
                workload = parse_workload(found)
                if not self._known(workload):
                    raise _WithdrawnError(found)
                transaction.add_audit("picket", "sidecar:enroll", found, "{}", now_ms)
                return workload
        except (_WithdrawnError, SpiffeError) as error:
            return NotAdmitted(f"no service in the topology has the workload {error}; add it to the control plane's topology")
