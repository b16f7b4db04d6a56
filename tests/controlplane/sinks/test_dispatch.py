"""All sinks together: what is stored reaches those that want it, and its state is told."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from flask.testing import FlaskClient

from controlplane.api.app import create_app
from controlplane.policy.proofs import Proof, Status, Target
from controlplane.sinks.dispatch import Sinks
from controlplane.sinks.document import SinkSettings
from controlplane.sinks.event import Filter, Kind
from controlplane.topology.model import ServiceName
from controlplane.violations.handling import Incident
from controlplane.workflow.incidents import Incidents
from tests.controlplane.sinks.conftest import Receiver, violation
from tests.controlplane.sinks.test_formats import FOUND
from tests.harness.plane import PAY, TOKEN, plane


def sinks(receiver: Receiver, tmp_path: Path) -> tuple[Sinks, Counter[tuple[str, str]]]:
    counts: Counter[tuple[str, str]] = Counter()

    def count(name: str, outcome: str, events: int) -> None:
        counts[name, outcome] += events

    chat = SinkSettings("chat", "slack", receiver.url, "", None, Filter(frozenset({Kind.INCIDENT})))
    log = SinkSettings("log", "file", str(tmp_path / "events"), "", None, Filter(frozenset(Kind)))
    return Sinks((chat, log), lambda: 7, count), counts


def test_each_sink_gets_what_it_wants(receiver: Receiver, tmp_path: Path) -> None:
    made, counts = sinks(receiver, tmp_path)
    made.start()
    made.violated([violation(1), replace(violation(2), probe=True)])
    made.grouped([Incident(3, FOUND)], [Incident(4, FOUND)])
    failed = Proof(5, Target(ServiceName("shop", "cart"), 7070, "10.0.0.2"), 3, "picket", 5, Status.FAILED, reason="let through")
    made.proved(failed)
    made.proved(replace(failed, status=Status.PROVEN))
    receiver.wait(1)
    made.stop()
    assert json.loads(receiver.received[0][1])["text"].startswith("*incident 3")
    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [(line["event"], line["id"]) for line in lines] == [
        ("violation", 1), ("incident", 3), ("incident-grew", 4), ("proof-failed", 5),
    ]  # fmt: skip
    assert lines[-1]["summary"] == "ENFORCEMENT FAILED at shop/cart:7070 (10.0.0.2): let through"
    assert counts == {("chat", "sent"): 1, ("log", "sent"): 4}


def test_incidents_are_told_once_they_are_stored() -> None:
    told: list[tuple[int, int]] = []
    with plane() as made:
        made.now_ms = 10_000
        incidents = Incidents(
            made.store, made.publisher, lambda: made.now_ms, lambda begun, grown: told.append((len(begun), len(grown)))
        )
        for number in range(30):
            made.violate(PAY._replace(destination=f"shop/s{number}"), seen_ms=5_000 + number)
        incidents.look()
        assert made.store.incident(1) is not None
        incidents.look()
        made.violate(PAY._replace(destination="shop/more"), seen_ms=6_000)
        incidents.look()
    assert told[0][0] > 0
    assert told[-1][1] > 0


def test_the_api_shows_how_each_does_and_no_secret(receiver: Receiver, tmp_path: Path) -> None:
    made, _ = sinks(receiver, tmp_path)
    with plane() as control:
        client: FlaskClient = create_app(replace(control.services(), sinks=made.states)).test_client()
        answer = client.get("/api/v1/sinks", headers={"Authorization": f"Bearer {TOKEN}", "Host": "localhost"})
    assert "in-the-address" not in answer.get_data(as_text=True)
    (chat, log) = answer.get_json()["sinks"]
    assert (chat["name"], chat["state"], chat["sent"]) == ("chat", "idle", 0)
    assert log["to"] == str(tmp_path / "events")
