"""A new key is made in a process of its own, and its request names nobody."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.identity.authority import Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId
from sidecar import apart
from sidecar.identity import IdentityError
from sidecar.issuing import new_key


def test_a_new_key_comes_with_a_request_that_it_signed_and_that_names_nobody(tmp_path: Path) -> None:
    key_pem, csr = new_key()
    assert key_pem.startswith("-----BEGIN PRIVATE KEY-----")
    authority = load_or_create(tmp_path / "ca", "picket.test")
    assert isinstance(authority.sign(csr, WorkloadId("shop", "cart"), timedelta(hours=1), datetime.now(UTC)), Svid)
    assert new_key()[0] != key_pem


@pytest.mark.parametrize("program", ["import sys; sys.exit('no entropy')", "print('nonsense')", "print('{}')", "print('[]')"])
def test_a_key_program_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    (tmp_path / "keys.py").write_text(program)
    monkeypatch.setattr(apart, "__file__", str(tmp_path / "apart.py"))
    with pytest.raises(IdentityError, match=r"no key could be made: (no entropy|the key program wrote something else)"):
        new_key()


def test_a_python_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(IdentityError, match="FileNotFoundError"):
        new_key()
