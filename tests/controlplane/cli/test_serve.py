"""`picket controlplane`: where its settings come from, and one clear line when it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.client import Client
from controlplane.cli.configfile import read_config
from controlplane.cli.serve import SETTINGS, controlplane
from controlplane.settings import Listen, Settings, build_settings
from tests.harness.plane import SHOP


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    """A topology file."""
    file = tmp_path / "shop.yaml"
    file.write_bytes(SHOP)
    return file


def settings_of(*arguments: str) -> Settings:
    """The settings that a command line makes."""
    with controlplane.make_context("controlplane", list(arguments)) as context:
        return build_settings(**context.params)


def test_defaults_stay_on_this_machine(tmp_path: Path) -> None:
    made = settings_of("--topology", "mesh.yaml")
    assert all(listen.is_local for listen in (*made.grpc_listen, *made.enroll_listen, *made.api_listen))
    assert made.data == tmp_path / "data"
    assert made.insecure is False


def test_flags_stand_above_the_environment_and_both_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "picket.yaml"
    file.write_text("topology: file.yaml\ntrust-domain: file.test\nlog-level: error\ngrpc-listen: [127.0.0.1:1, 127.0.0.1:2]\n")
    monkeypatch.setenv("PICKET_TRUST_DOMAIN", "environment.test")
    monkeypatch.setenv("PICKET_LOG_LEVEL", "debug")
    made = settings_of("--config", str(file), "--log-level", "warning")
    assert (str(made.topology), made.trust_domain, made.log_level) == ("file.yaml", "environment.test", "warning")
    assert made.grpc_listen == (Listen("", "127.0.0.1", 1), Listen("", "127.0.0.1", 2))
    monkeypatch.setenv("PICKET_CONFIG", str(file))
    monkeypatch.delenv("PICKET_TRUST_DOMAIN")
    assert settings_of().trust_domain == "file.test"


def test_several_addresses_stand_in_the_environment_with_spaces_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICKET_GRPC_LISTEN", "127.0.0.1:1 unix:/run/g.sock")
    assert settings_of("--topology", "x").grpc_listen == (Listen("", "127.0.0.1", 1), Listen("/run/g.sock"))


def test_every_value_of_a_file_counts(tmp_path: Path) -> None:
    """Flags, numbers and single values, too."""
    file = tmp_path / "picket.yaml"
    file.write_text("topology: t\ninsecure: true\nsvid-lifetime-seconds: 60\nserver-name: mesh.example\ndefault-mode: audit\n")
    made = settings_of("--config", str(file))
    assert (made.insecure, made.svid_lifetime_seconds) == (True, 60)
    assert (made.server_names, made.default_mode) == (("mesh.example",), "audit")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"topolgy: x", "'topolgy' is no option"),
        (b"config: x", "'config' is no option"),
        (b"- a", "a mapping of options is wanted"),
        (b"a: [", "1: not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"insecure: 'yes'", "insecure: true or false is wanted"),
        (b"grpc-listen: [1]", "grpc-listen: a list of texts is wanted"),
        (b"log-level: [x]", "log-level: one value is wanted"),
        (b"log-level: null", "log-level: one value is wanted"),
        (b"5: 6", "'5' is no option"),
        (b"[" * 10_000, "not YAML"),
        (b"#" * 300_000, "larger than"),
        (b"a: &a [*a]", "is no option"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, body: bytes, told: str) -> None:
    file = tmp_path / "picket.yaml"
    file.write_bytes(body)
    with pytest.raises(click.UsageError) as refused:
        settings_of("--config", str(file))
    assert told in refused.value.format_message()
    assert str(file) in refused.value.format_message()


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_read_or_told(body: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        found: dict[str, object] = {}
        with suppress(click.UsageError):
            found = read_config(Path(file.name), SETTINGS)
        assert found.keys() <= {option.name for option in SETTINGS}


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A control plane that has said that it is ready."""
    command = [sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--grpc-listen", "127.0.0.1:0",
               "--enroll-listen", "127.0.0.1:0", *arguments]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PICKET_")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()  # a new one offers its owner a link first
        assert '"ready"' in (process.stderr.readline() if '"first_sign_in"' in first else first)
        yield process
    finally:
        process.kill()
        process.communicate()


def refused(*arguments: str) -> tuple[int, str]:
    """The exit code and the words of a control plane that does not start."""
    command = [sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--grpc-listen", "127.0.0.1:0",
               "--enroll-listen", "127.0.0.1:0", *arguments]  # fmt: skip
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr


def test_it_starts_answers_and_stops(topology: Path) -> None:
    """With a token for TCP that it made, and with nothing left that says it still runs."""
    with tempfile.TemporaryDirectory(prefix="picket-data-") as data:
        with running("--data", data, "--topology", str(topology), "--api-listen", "127.0.0.1:0") as process:
            address, token = Path(data, "api-address").read_text().strip(), Path(data, "api-token").read_text().strip()
            client = Client(address, token, "alice")
            assert client.get("/readyz") == {"status": "ok", "reasons": []}
            join = client.post("/api/v1/tokens", {"workload": "shop/cart"})
            assert join["workload"] == "shop/cart"
            assert join["token"].startswith("picket-join-")
            event = client.get("/api/v1/audit")["events"][0]
            assert (event["actor"], event["action"]) == ("alice (via token)", "token:create")
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
            assert (process.returncode, "Traceback" in err, token in err) == (0, False, False)
        assert not Path(data, "api-address").exists()


def test_what_it_cannot_use_is_one_line(topology: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="picket-data-") as data:
        common = ("--data", data, "--api-listen", f"unix:{data}/api.sock")
        with running(*common, "--topology", str(topology)), tempfile.TemporaryDirectory(prefix="picket-data-") as other:
            code, said = refused("--data", other, *common[2:], "--topology", str(topology))
            assert (code, said.count("\n")) == (1, 1)
            assert f"{data}/api.sock" in said
            taken = Path(data, "api-address").read_text()
            assert taken == f"unix:{data}/api.sock\n"
        wrong = Path(data, "wrong.yaml")
        wrong.write_text("services:\n- name: a\n")
        code, said = refused(*common, "--topology", str(wrong))
        assert (code, said) == (1, f"picket: {wrong}:2: services[0].kind: is missing\n")
        Path(data, "picket.db").write_bytes(b"not a database" * 100)
        code, said = refused(*common, "--topology", str(topology))
        assert (code, said.count("\n")) == (1, 1)
        assert "picket.db" in said


def test_a_data_directory_has_one_control_plane(topology: Path) -> None:
    """A second one, with addresses of its own, would not hear of what is approved at the first; the first goes on unharmed."""
    with tempfile.TemporaryDirectory(prefix="picket-data-") as data:
        common = ("--data", data, "--topology", str(topology), "--api-listen", "127.0.0.1:0")
        with running(*common) as process:
            code, said = refused(*common)
            assert code == 1
            assert said == (
                f"picket: {data}: another control plane (process {process.pid}) runs there; stop it, or choose another directory "
                "with --data\n"
            )
            client = Client(Path(data, "api-address").read_text().strip(), Path(data, "api-token").read_text().strip())
            assert client.get("/readyz") == {"status": "ok", "reasons": []}
            process.kill()
            process.wait()
            with running(*common):
                pass  # what was killed holds nothing any more


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--topology", "x", "--grpc-listen", "nonsense"], "--grpc-listen: 'nonsense' is not host:port"),
        (["--topology", "x", "--api-listen", "0.0.0.0:7600"], "--api-listen: 0.0.0.0:7600 can be reached from elsewhere"),
        (["--topology", "x", "--insecure", "--grpc-listen", "10.0.0.1:1"], "--insecure: 10.0.0.1:1 can be reached"),
        (["--topology", "x", "--database", "postgresql://u:secret@h/d"], "--database: others can read a password"),
        (["--topology", "x", "--svid-lifetime-seconds", "5"], "--svid-lifetime-seconds: 30 seconds to 30 days"),
        ([], "--topology is missing"),
    ],
)
def test_wrong_settings_are_usage_errors(arguments: list[str], told: str) -> None:
    code, said = refused(*arguments)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"picket: {told}") or told in said
    assert "secret" not in said


def test_a_password_may_stand_in_the_environment() -> None:
    made = settings_of("--topology", "x", "--database", "postgresql://user@host/name")
    assert made.database_url == "postgresql://user@host/name"
