"""Which of an answer's identities is this sidecar's, and that the program that reads it says so and no more."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from controlplane.identity.authority import new_authority
from protos.spiffe.svids import read_answer
from sidecar.apart import run_apart
from sidecar.svid import choose
from tests.harness.workloadapi import answer, svid

AUTHORITY = new_authority("picket.test", datetime.now(UTC))
CART, WEB = "spiffe://picket.test/ns/shop/sa/cart", "spiffe://picket.test/ns/shop/sa/web"
BODY = answer(svid(AUTHORITY, WEB), svid(AUTHORITY, CART, hint="outside"), svid(AUTHORITY, CART, hint="mesh"))


def test_the_program_writes_the_identity_that_was_asked_for() -> None:
    found = json.loads(run_apart("svid", (CART, "mesh"), BODY))
    meant = read_answer(BODY)[2]
    assert set(found) == {"spiffe_id", "key_pem", "chain_pem", "bundle_pem", "not_before_seconds", "not_after_seconds"}
    assert (found["spiffe_id"], found["chain_pem"], found["key_pem"]) == (CART, meant.chain_pem, meant.key_pem)


@pytest.mark.parametrize(
    ("spiffe_id", "hint", "body", "reason"),
    [
        (CART, "other", BODY, f"what it gave for {CART} has the hint outside, mesh, and not 'other'"),
        (
            "spiffe://picket.test/ns/shop/sa/db",
            "",
            BODY,
            f"it gave {WEB}, {CART}, {CART}, and not spiffe://picket.test/ns/shop/sa/db",
        ),
        (CART, "", b"", "0 identities"),
        (CART, "", b"\xff", "no X509SVIDResponse"),
    ],
)
def test_where_there_is_none_it_writes_why_and_no_key(spiffe_id: str, hint: str, body: bytes, reason: str) -> None:
    found = json.loads(run_apart("svid", (spiffe_id, hint), body))
    assert set(found) == {"reason"}
    assert reason in found["reason"]
    assert "PRIVATE" not in found["reason"]


def test_of_several_only_some_are_listed() -> None:
    many = read_answer(answer(*[svid(AUTHORITY, WEB)] * 8))
    said = choose(many, CART, "")
    assert isinstance(said, str)
    assert said.count(WEB) == 5
    assert "and 3 more" in said
