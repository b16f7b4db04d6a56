"""Child processes: they run as who they should, find what they should, and never outlive their parent."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from sidecar import process
from sidecar.process import ProcessError, Program
from tests.sidecar.waiting import has_ended, text_of, until

NOBODY = (65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as somebody else")
#: What a child can say of itself.
_TELL = """\
import json, os, resource, signal
status = {name: value.strip() for name, _, value in (line.partition(":") for line in open("/proc/self/status"))}
print(json.dumps({
    "ids": os.getresuid() + os.getresgid(), "groups": os.getgroups(), "umask": status["Umask"], "sealed": status["NoNewPrivs"],
    "capabilities": status["CapEff"], "ignored": status["SigIgn"], "cwd": os.getcwd(), "environment": dict(os.environ),
    "descriptors": [int(name) for name in os.listdir("/proc/self/fd") if os.path.realpath("/proc/self/fd/" + name) == "/dev/null"],
    "group": os.getpgid(0) == os.getpid(), "files": resource.getrlimit(resource.RLIMIT_NOFILE)}))
"""


async def told(path: Path, **options: object) -> dict[str, object]:
    """Run a program that tells of itself."""
    with path.open("wb") as output:
        program = Program((sys.executable, "-c", _TELL), output=output.fileno(), **options)  # type: ignore[arg-type]  # a program's fields
        child = await process.start(program)
        assert await child.wait() == 0, text_of(path)
    found = json.loads(text_of(path))
    assert isinstance(found, dict)
    return found


async def test_a_program_finds_the_environment_it_was_given_and_a_group_of_its_own(tmp_path: Path) -> None:
    found = await told(tmp_path / "out", environment={"A": "b", "PATH": "/bin"}, directory=tmp_path, umask=0o027)
    assert found["environment"] == {"A": "b", "PATH": "/bin", "LC_CTYPE": "C.UTF-8"}  # the last is Python's own
    assert (found["cwd"], found["umask"], found["group"]) == (str(tmp_path), "0027", True)


async def test_a_program_may_have_as_many_files_as_the_system_allows_if_it_wants(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
    try:
        assert (await told(tmp_path / "few"))["files"] == [min(512, soft), hard]
        assert (await told(tmp_path / "many", many_files=True))["files"] == [hard, hard]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_only_held_descriptors_stay_open(tmp_path: Path) -> None:
    held, other = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(other, True)
    found = await told(tmp_path / "out", held=(held,))
    assert found["descriptors"] == [0, held]
    for descriptor in (held, other):
        os.close(descriptor)


@as_root
async def test_a_program_becomes_another_user_without_groups_and_capabilities(tmp_path: Path) -> None:
    found = await told(tmp_path / "out", user=NOBODY)
    assert (found["ids"], found["groups"]) == ([65534] * 6, [])
    assert int(str(found["capabilities"]), 16) == 0


@as_root
async def test_a_sealed_program_that_binds_low_ports_can_do_just_that(tmp_path: Path) -> None:
    found = await told(tmp_path / "out", user=NOBODY, binds_low_ports=True, sealed=True)
    assert (int(str(found["capabilities"]), 16), found["sealed"]) == (1 << 10, "1")


@as_root
async def test_a_program_in_a_place_that_its_user_cannot_reach_still_runs(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copy("/bin/true", hidden)
    child = await process.start(Program((str(hidden / "true"),), user=NOBODY))
    assert await child.wait() == 0


async def test_a_program_that_cannot_be_run_ends_as_in_a_shell(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        missing = await process.start(Program((str(tmp_path / "missing"),), output=output.fileno()))
        assert await missing.wait() == 127
        (tmp_path / "file").touch(mode=0o644)
        unfit = await process.start(Program((str(tmp_path / "file"),), output=output.fileno()))
        assert await unfit.wait() == 126
    assert "missing: cannot be run: No such file" in (tmp_path / "out").read_text()


async def test_without_a_python_to_start_it_with_a_program_is_told_to_be_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade may take the interpreter away under a running agent."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ProcessError, match="/bin/true cannot be started"):
        await process.start(Program(("/bin/true",)))


async def test_exit_codes_are_a_shells() -> None:
    assert await (await process.start(Program(("/bin/sh", "-c", "exit 7")))).wait() == 7
    child = await process.start(Program(("/bin/sleep", "60")))
    assert child.code is None
    assert await child.stop(10) == 128 + signal.SIGTERM
    child.send(signal.SIGTERM)  # ended: no harm
    child.kill()


async def test_a_program_that_does_not_listen_is_killed_with_what_it_started(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & echo $! > pid; wait; wait"
    child = await process.start(Program(("/bin/sh", "-c", script), directory=tmp_path))
    await until(lambda: text_of(tmp_path / "pid").strip())
    assert await child.stop(0.1) == 128 + signal.SIGKILL
    await until(lambda: has_ended(int(text_of(tmp_path / "pid"))))


_PARENT = """\
import asyncio, sys
from sidecar import process

async def main():
    user = (65534, 65534) if sys.argv[1] == "nobody" else None
    child = await process.start(process.Program(("/bin/sleep", "600"), user=user, sealed=True, binds_low_ports=user is not None))
    while open(f"/proc/{child.pid}/comm").read() != "sleep\\n":
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("user", ["same", pytest.param("nobody", marks=as_root)])
async def test_whatever_kills_the_parent_ends_the_child(tmp_path: Path, user: str) -> None:
    (tmp_path / "parent.py").write_text(textwrap.dedent(_PARENT))
    environment = os.environ | {"PYTHONPATH": str(Path(process.__file__).parents[1])}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(tmp_path / "parent.py"), user, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: has_ended(pid))
