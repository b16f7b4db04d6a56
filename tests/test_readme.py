"""The README is literally true: its files and commands are run as they are printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def _chapter(title: str) -> str:
    text = README.read_text()
    start = text.index(f"## {title}")
    return text[start : text.index("\n## ", start)]


def test_every_command_that_it_names_exists() -> None:
    command = [sys.executable, "-m", "controlplane.cli.entry", "--help"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"picket ([a-z-]+)", README.read_text()))
    assert named
    for name in named:
        assert re.search(rf"^  {name}\s", listed, re.MULTILINE), name


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README.read_text()):
        file, _, heading = target.partition("#")
        assert (README.parent / file).exists(), target
        headings = re.findall(r"^#+ (.+)$", (README.parent / file).read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in {each.lower().replace(" ", "-") for each in headings}, target
    for picture in re.findall(r'(?:src|srcset)="([^"]+)"', README.read_text()):
        assert (README.parent / picture).exists(), picture


@pytest.mark.e2e
def test_own_services_get_behind_it_as_the_readme_says(tmp_path: Path) -> None:
    """The chapter's file and commands, as printed; only the option for root is left out where this is not root."""
    chapter = _chapter("Put your own services behind it")
    for name, body in re.findall(r"```yaml file=(\S+)\n(.*?)```", chapter, re.DOTALL):
        (tmp_path / name).write_text(body)
    blocks = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    assert len(blocks) == 6
    if os.geteuid() != 0:
        blocks[0] = blocks[0].replace("--app-user 65534:65534 ", "")
    else:
        tmp_path.chmod(0o755)
    script = "set -eu\n" + "\necho '---'\n".join(blocks)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PICKET_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (tmp_path / "output").open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script + "\ntouch done\nwait"],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for(tmp_path / "done", shell)
            running = _started_in(tmp_path)
            assert {"picket", "envoy"} <= set(running.values()), running
        finally:
            _end(shell, tmp_path)
    said = (tmp_path / "output").read_text()
    assert "deny:default/batch@r0/egress" in said, said
    assert "enforcement would deny none of the 1 edge used" in said, said
    assert "exception 1: batch -> api:8000 is allowed, revision 2" in said, said
    assert "deny:default/batch@r3/egress" in said, said
    assert "the audit log is intact" in said, said
    assert "default/batch -> default/api:8000 is not approved" in said, said
    assert "revision 4 is in force; it changes api, batch" in said, said
    assert "no findings" in said, said
    assert re.search(r"^ +used on 1 day .*\n +by 1 replica, such as", said, re.MULTILINE), said
    assert "\\n" not in said, said
    assert re.search(r"web\s+→\s+api:8000", said), said
    assert re.search(r"batch\s+→\s+api:8000.*denied", said), said


def _wait_for(file: Path, shell: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if file.exists():
            return
        assert shell.poll() is None, (file.parent / "output").read_text()
        time.sleep(0.25)
    raise AssertionError((file.parent / "output").read_text())


def _started_in(directory: Path) -> dict[int, str]:
    """Processes that work in a directory or below it, with a word for each."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve().is_relative_to(directory) and (entry / "cmdline").read_bytes():
                arguments = (entry / "cmdline").read_bytes()
                found[int(entry.name)] = "envoy" if b"/envoy\0" in arguments else "picket" if b"picket" in arguments else "other"
        except OSError:
            continue  # it ended, or is another user's
    return found


def _end(shell: subprocess.Popen[bytes], directory: Path) -> None:
    """End the shell's group, which was started for this test alone, and see that nothing stays behind."""
    os.killpg(shell.pid, signal.SIGTERM)
    shell.wait(15)
    for _ in range(80):
        if not _started_in(directory):
            return
        time.sleep(0.25)
    left = _started_in(directory)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"still running: {left}")
