"""Each kind of sink against a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of its own for localhost, and a server's context with it."""
    made = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (made / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (made / "both.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "both.pem")
    return made / "ca.pem", context


@pytest.mark.parametrize("trusted", [True, False])
def test_syslog_over_tls_goes_to_nobody_whose_certificate_is_not_known(
    authority: tuple[Path, ssl.SSLContext], trusted: bool
) -> None:
    ca_file, context = authority
    found: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)

        def take() -> None:
            connection, _ = listening.accept()
            with connection, suppress(ssl.SSLError, OSError), context.wrap_socket(connection, server_side=True) as encrypted:
                while piece := encrypted.recv(65536):
                    found.append(piece)

        thread = threading.Thread(target=take)
        thread.start()
        to = f"tls://localhost:{listening.getsockname()[1]}"
        send = sender(SinkSettings("it", "syslog", to, "", ca_file if trusted else None, ALL))
        if trusted:
            send([event(1)])
        else:
            with pytest.raises(NotSentError):
                send([event(1)])
        thread.join()
    assert (b"CEF:0|Picket" in b"".join(found)) is trusted


def test_a_webhook_over_tls_wants_a_certificate_that_is_known(authority: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, context = authority
    with receiving(context=context) as receiver:
        send = sender(SinkSettings("it", "webhook", receiver.url, "secret", ca_file, ALL))
        send([event(1)])
        with pytest.raises(NotSentError):
            sender(SinkSettings("it", "webhook", receiver.url, "secret", None, ALL))([event(2)])
    assert [json.loads(body)["events"][0]["id"] for _, body in receiver.received] == [1]


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
