"""Waiting for a control plane that comes, and for what it comes to know."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from controlplane.store.stored import SidecarRow
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import GET_CART, PAY, Plane
from tests.harness.plane import plane as make_plane


def test_a_control_plane_that_is_ready_is_not_waited_for(plane: Plane, picket: Picket) -> None:
    assert picket("wait", "--timeout", "0").out == "the control plane is ready\n"
    assert picket("wait", "-o", "json").json["holds"] == ["the control plane is ready"]


def test_what_is_missing_is_said_when_time_is_up(plane: Plane, picket: Picket) -> None:
    plane.learn(PAY)
    ended = picket("wait", "--sidecars", "2", "--edges", "1", "--proposal", "--violations", "3", "--timeout", "0.2")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "picket: waited 0.2 s: 0 sidecars of 2 with revision 0; 0 violations of 3 in the log\n"


def test_a_timeout_that_is_no_number_is_over(plane: Plane, picket: Picket) -> None:
    assert picket("wait", "--proposal", "--timeout", "nan").err == "picket: waited nan s: no proposal awaits review\n"


def test_everything_that_was_asked_for_has_to_hold(plane: Plane, picket: Picket) -> None:
    plane.learn(PAY)
    plane.violate(GET_CART, count=3)
    row = SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a")
    plane.sidecar(row)
    told = picket("wait", "--sidecars", "1", "--edges", "1", "--proposal", "--violations", "2", "--timeout", "0").out
    assert told == (
        "the control plane is ready; 1 sidecar of 1 with revision 0; 1 edge of 1 seen; proposal 1 awaits review; "
        "3 violations of 2 in the log\n"
    )


def test_a_sidecar_that_runs_an_older_revision_is_waited_for(plane: Plane, picket: Picket) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="a", acked_version="a"))
    plane.learn(PAY)
    picket("proposals")
    picket("approve", "1")
    assert "0 sidecars of 1 with revision 1" in picket("wait", "--sidecars", "1", "--timeout", "0").err
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True, sent_version="b", acked_version="b", revision=1))
    assert picket("wait", "--sidecars", "1", "--timeout", "0").code == 0


def test_a_control_plane_that_is_not_ready_yet_is_waited_for(plane: Plane, picket: Picket) -> None:
    plane.reasons = ("starting or stopping",)
    assert "the control plane is not ready" in picket("wait", "--timeout", "0").err
    ready = threading.Timer(0.3, setattr, (plane, "reasons", ()))
    ready.start()
    assert picket("wait").code == 0
    ready.join()


def test_a_control_plane_that_is_not_there_yet_is_waited_for(tmp_path: Path, picket: Picket) -> None:
    data = tmp_path / "data"
    assert "no control plane found" in picket("wait", "--timeout", "0").err
    over = threading.Event()

    def come() -> None:
        time.sleep(0.3)
        with make_plane() as made, made.listening(made.socket) as address:
            data.mkdir()
            (data / "api-address").write_text(address + "\n")
            over.wait(30)

    coming = threading.Thread(target=come)
    coming.start()
    try:
        assert picket("wait", "--timeout", "20").code == 0
    finally:
        over.set()
        coming.join()


def test_a_refusal_is_no_reason_to_wait(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("another-token-of-some-length\n")
    (tmp_path / "wrong").chmod(0o600)
    with plane.listening("127.0.0.1:0") as address:
        ended = picket("wait", "--edges", "1", "--server", address, "--token-file", str(tmp_path / "wrong"), "--timeout", "60")
    assert (ended.code, "waited" in ended.err) == (1, False), ended.err
