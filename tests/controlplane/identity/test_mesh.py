"""The mesh's authority as it is now: who signs, and who hears when that changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controlplane.identity.authority import new_authority
from controlplane.identity.generations import Generations, activate, covering, first_generation, prepare
from controlplane.identity.mesh import MeshAuthority

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
YEAR = timedelta(days=365)


def test_whoever_is_connected_hears_of_other_roots_and_of_another_signer_and_of_nothing_else() -> None:
    authority = MeshAuthority(first_generation(new_authority("picket.test", NOW, YEAR)))
    heard: list[bytes] = []
    authority.connect(lambda: heard.append(authority.bundle_pem))
    authority.replace(covering(authority.generations, YEAR))
    assert heard == []
    for signs in (False, True):
        outcome = activate(authority.generations, NOW) if signs else prepare(authority.generations, NOW, YEAR)
        assert isinstance(outcome, Generations)
        authority.replace(outcome)
        assert heard[-1] == outcome.bundle_pem
        authority.replace(outcome)
    assert len(heard) == len(set(heard)) == 2
