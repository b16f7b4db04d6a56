"""The file of sinks: addresses come from it alone, secrets from private files, and what is wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.settings import SettingsError
from controlplane.sinks.document import read_sinks
from controlplane.sinks.event import Kind


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path / "sinks.yaml"


def test_sinks_are_read_with_their_secrets(file: Path) -> None:
    file.write_text(
        "sinks:\n"
        "- {name: a, kind: webhook, to: https://a.example.org/x, secret-file: secret, verdicts: denied, namespaces: [shop]}\n"
        "- {name: b, kind: slack, to-file: address, events: [incident]}\n"
        "- {name: c, kind: syslog, to: 'udp://10.0.0.1:514'}\n"
        "- {name: d, kind: otlp, to: 'http://collector:4318/v1/logs', insecure: true}\n"
        "- {name: e, kind: file, to: events.ndjson}\n"
    )
    (file.parent / "address").write_text("https://hooks.example.org/T0/B0/secret")
    (file.parent / "address").chmod(0o600)
    found = {sink.name: sink for sink in read_sinks(file)}
    assert found["a"].secret == "s3cret"
    assert found["a"].wanted.denied_only
    assert found["a"].wanted.namespaces == {"shop"}
    assert found["b"].shown == "https://hooks.example.org"
    assert found["b"].wanted.kinds == {Kind.INCIDENT}
    assert found["e"].to == str(file.parent / "events.ndjson")


@pytest.mark.parametrize(
    ("sink", "told"),
    [
        ("{name: a, kind: webhook, to: https://a.example}", "secret-file is missing"),
        ("{name: a, kind: slack}", "either to or to-file"),
        ("{name: a, kind: slack, to: http://a.example/x}", "https"),
        ("{name: a, kind: slack, to: ftp://a.example/x, insecure: true}", "https"),
        ("{name: a, kind: slack, to: 'https://user:pass@a.example'}", "https"),
        ("{name: a, kind: slack, to: https://a.example, secret-file: secret}", "takes no secret-file"),
        ("{name: a, kind: syslog, to: https://a.example}", "udp://"),
        ("{name: a, kind: syslog, to: 'udp://a.example'}", "udp://"),
        ("{name: A, kind: file, to: x}", "name"),
        ("{name: a, kind: pager, to: x}", "kind"),
        ("{name: a, kind: file, to: x, new: 1}", "new"),
        ("{name: a, kind: file, to: x, events: []}", "events"),
        ("{name: a, kind: file, to-file: none}", "none"),
        ("{name: a, kind: file, to: x}\n- {name: a, kind: file, to: y}", "two sinks a"),
    ],
)
def test_what_is_wrong_is_told(file: Path, sink: str, told: str) -> None:
    file.write_text(f"sinks:\n- {sink}\n")
    with pytest.raises(SettingsError, match=told):
        read_sinks(file)
