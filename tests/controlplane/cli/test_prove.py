"""`picket prove`: what stands, what is tried now, and how an alarm looks; also beside the revisions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from controlplane.policy.proofs import Answer, Proof, Status, Target
from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import PAY, Plane

CART = Target(ServiceName("shop", "cart"), 7070, "10.0.0.2")


def end(plane: Plane, proof: Proof, status: Status, reason: str = "") -> None:
    ended = replace(
        proof, status=status, source="default/frontend", instance="f-0", answer=Answer.REFUSED, told="HTTP 403", reason=reason,
        ended_ms=plane.now_ms,
    )  # fmt: skip
    with plane.store.transaction() as transaction:
        assert transaction.move_proof(proof, ended)


def asked(plane: Plane, target: Target = CART) -> Proof:
    with plane.store.transaction() as transaction:
        made = transaction.add_proof(Proof(0, target, plane.store.active_revision(), "picket", plane.now_ms))
    assert made is not None
    return made


def meanwhile(plane: Plane, act: Callable[[Proof], None]) -> threading.Thread:
    """Ends what the command asks for, as the driver would."""

    def run() -> None:
        deadline = time.monotonic() + 60
        while not (found := plane.store.proofs(1, open_only=True)):
            assert time.monotonic() < deadline, "nothing was asked for"
            time.sleep(0.01)
        act(found[0])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_nothing_was_tried_at_first(plane: Plane, picket: Picket) -> None:
    assert picket("prove").out == "nothing was tried yet: services are, once they enforce\n"
    refused = picket("prove", "cart")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "is in mode learn, which drops nothing" in refused.err
    assert picket("prove", "cart", "--all").code == 2
    assert picket("prove", "cart", "--revision", "1").code == 2


def test_what_was_tried_stands_with_its_result_and_beside_its_revision(plane: Plane, picket: Picket) -> None:
    plane.learn(PAY)
    assert picket("proposals").code == 0
    assert picket("approve", "1").code == 0
    end(plane, asked(plane), Status.PROVEN)
    shown = picket("prove")
    assert (shown.code, "proven" in shown.out, "frontend" in shown.out) == (0, True, True)
    assert "1 proven" in picket("policy", "revisions").out
    end(plane, asked(plane), Status.FAILED, "let through: HTTP 200")
    alarm = picket("prove")
    assert alarm.code == 1
    assert "let through: HTTP 200" in alarm.out
    assert "ENFORCEMENT FAILED: 1 forbidden connection not denied as it has to be" in alarm.out
    assert "1 FAILED" in picket("policy", "revisions").out
    history = picket("prove", "--revision", "1", "-o", "json").json
    assert [item["status"] for item in history["proofs"]] == ["failed", "proven"]


def test_one_is_tried_now_and_the_exit_code_says_how_it_went(plane: Plane, picket: Picket) -> None:
    plane.review.modes.change([CART.service], Mode.ENFORCE, "ana")
    for status, code in ((Status.PROVEN, 0), (Status.NOT_TRIED, 1), (Status.FAILED, 1)):
        ending = meanwhile(plane, lambda proof, status=status: end(plane, proof, status))  # type: ignore[misc]  # bound in the loop
        result = picket("prove", "cart", "-o", "json")
        ending.join()
        assert (result.code, [item["status"] for item in result.json["proofs"]]) == (code, [str(status)])
