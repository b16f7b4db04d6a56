"""Each kind of sink against a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.sinks.document import SinkKind, SinkSettings
from controlplane.sinks.event import Filter, Kind
from controlplane.sinks.formats import MAX_LINES
from controlplane.sinks.senders import NotSentError, sender
from tests.controlplane.sinks.conftest import Receiver, event, receiving

ALL = Filter(frozenset(Kind))


def settings(kind: SinkKind, to: str, secret: str = "") -> SinkSettings:
    return SinkSettings("it", kind, to, secret, None, ALL)


def test_a_webhook_is_signed_with_its_time(receiver: Receiver) -> None:
    sender(settings("webhook", receiver.url, "the secret"))([event(1), event(2)])
    ((headers, body),) = receiver.received
    expected = hmac.new(b"the secret", headers["X-Picket-Timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Picket-Signature"] == f"v1={expected}"
    assert headers["Content-Type"] == "application/json"
    events = json.loads(body)["events"]
    assert [one["id"] for one in events] == [1, 2]
    assert events[0]["source"] == "default/frontend"
    assert "the secret" not in body.decode() + str(headers)


def test_slack_gets_one_message_that_nobody_can_put_links_into(receiver: Receiver) -> None:
    odd = [event(number) for number in range(MAX_LINES + 3)]
    sender(settings("slack", receiver.url))(odd)
    text = json.loads(receiver.received[0][1])["text"]
    assert text.splitlines()[0] == "default/frontend -&gt; shop/pay:443 was denied: POST /charge (2 times)"
    assert text.splitlines()[-1] == "and 3 more"


def test_open_telemetry_gets_log_records(receiver: Receiver) -> None:
    sender(settings("otlp", receiver.url, "a-token"))([event(7)])
    headers, body = receiver.received[0]
    assert headers["Authorization"] == "Bearer a-token"
    (record,) = json.loads(body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (record["timeUnixNano"], record["severityText"], record["eventName"]) == ("2000000000", "WARN", "picket.violation")
    attributes = {one["key"]: one["value"] for one in record["attributes"]}
    assert attributes["picket.id"] == {"intValue": "7"}
    assert attributes["picket.destination"] == {"stringValue": "shop/pay"}


def test_syslog_over_udp_is_a_line_a_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(60)
        sender(settings("syslog", f"udp://127.0.0.1:{listening.getsockname()[1]}"))([event(1), event(2)])
        lines = [listening.recv(65536).decode() for _ in range(2)]
    assert all(line.startswith("<108>1 1970-01-01T00:00:02.000Z ") for line in lines)
    assert " CEF:0|Picket|Picket|" in lines[0]
    assert " suser=default/frontend dhost=shop/pay dpt=443 " in lines[0]


def test_syslog_over_tcp_counts_octets(tcp: tuple[int, Callable[[], bytes]]) -> None:
    port, read = tcp
    sender(settings("syslog", f"tcp://127.0.0.1:{port}"))([event(1), event(2)])
    rest, lines = read(), []
    while rest:
        size, _, rest = rest.partition(b" ")
        lines.append(rest[: int(size)])
        rest = rest[int(size) :]
    assert len(lines) == 2
    assert all(line.startswith(b"<108>1 ") for line in lines)


def test_a_file_gets_a_line_each_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    send = sender(settings("file", str(file)))
    send([event(1)])
    file.rename(tmp_path / "old")
    send([event(2), event(3)])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [2, 3]


@pytest.mark.parametrize(("status", "later"), [(500, True), (503, True), (429, True), (408, True), (400, False), (404, False)])
def test_what_is_not_taken_is_told_with_whether_it_may_be_later(receiver: Receiver, status: int, later: bool) -> None:
    receiver.answers = [status]
    with pytest.raises(NotSentError) as refused:
        sender(settings("slack", receiver.url))([event()])
    assert refused.value.later is later
    assert "in-the-address" not in str(refused.value)


def test_nobody_is_sent_elsewhere_by_an_answer(receiver: Receiver) -> None:
    """Whoever runs the receiver does not choose where this control plane calls."""
    with receiving(307, receiver.url) as redirecting, pytest.raises(NotSentError):
        sender(settings("slack", redirecting.url))([event()])
    assert receiver.received == []


@pytest.mark.parametrize("kind", ["slack", "syslog", "file"])
def test_where_nobody_is_it_is_told_and_may_be_later(kind: SinkKind, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    to = {"slack": f"http://127.0.0.1:{port}/secret", "syslog": f"tcp://127.0.0.1:{port}", "file": f"{tmp_path}/none/file"}[kind]
    with pytest.raises(NotSentError) as refused:
        sender(settings(kind, to))([event()])
    assert refused.value.later
    assert "/secret" not in str(refused.value)
