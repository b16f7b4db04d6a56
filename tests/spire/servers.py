"""Real SPIRE on this machine: a server and an agent of a trust domain, on loopback and Unix sockets, ended with the test.

The programs come from the folder that PICKET_TEST_SPIRE names, or from PATH; `make spire` builds them.
Configuration: https://github.com/spiffe/spire/blob/v1.13.3/doc/spire_server.md and doc/spire_agent.md
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.sidecar.waiting import text_of, until

SERVER, AGENT = "spire-server", "spire-agent"
#: Its processes are watched for so long while they begin: a busy machine's time.
START_SECONDS = 90.0

_SERVER_CONFIGURATION = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{directory}/server.sock"
  trust_domain = "{trust_domain}"
  data_dir = "{directory}/server"
  log_level = "INFO"
  ca_ttl = "{ca_ttl}"
  default_x509_svid_ttl = "{svid_ttl}"
  agent_ttl = "1h"
  experimental {{ cache_reload_interval = "1s" }}
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{directory}/datastore.sqlite3" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"""
_AGENT_CONFIGURATION = """
agent {{
  data_dir = "{directory}/agent"
  log_level = "INFO"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{directory}/agent.sock"
  trust_bundle_path = "{directory}/bootstrap.pem"
  trust_domain = "{trust_domain}"
  experimental {{ sync_interval = "1s" }}
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ directory = "{directory}/agent" }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


def program(name: str) -> str | None:
    """Where a program is; None where it is not."""
    built = os.environ.get("PICKET_TEST_SPIRE", "")
    return shutil.which(name, path=os.pathsep.join(filter(None, (built, os.environ.get("PATH", "")))))


def lacking() -> str:
    """What is missing to run it, as words for a skip; empty where nothing is."""
    missing = [name for name in (SERVER, AGENT) if program(name) is None]
    return f"needs {' and '.join(missing)} in PICKET_TEST_SPIRE or on PATH: make spire builds them" if missing else ""


@dataclass
class Spire:
    """A server and an agent that run."""

    directory: Path
    trust_domain: str
    port: int
    agent: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """The Workload API, as the standard writes it."""
        return f"unix://{self.directory}/agent.sock"

    @property
    def _node(self) -> str:
        return f"spiffe://{self.trust_domain}/node"

    def said(self, name: str) -> str:
        """The end of a process's log."""
        return text_of(self.directory / f"{name}.log")[-3000:]

    async def server(self, *arguments: str) -> str:
        """What a command of the server's prints."""
        path = program(SERVER)
        assert path is not None
        process = await asyncio.create_subprocess_exec(
            path, *arguments, "-socketPath", f"{self.directory}/server.sock",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def register(self, path: str, selector: str, *more: str) -> str:
        """Have processes with a selector be an identity; returns the entry's ID."""
        uri = f"spiffe://{self.trust_domain}{path}"
        said = await self.server(
            "entry", "create", "-parentID", self._node, "-spiffeID", uri, "-selector", selector, *more, "-output", "json"
        )
        return str(json.loads(said)["results"][0]["entry"]["id"])

    async def authority(self, act: str, identifier: str) -> str:
        """Activate, taint or revoke an authority of the server's."""
        return await self.server("localauthority", "x509", act, "-authorityID", identifier)

    async def prepare_authority(self) -> str:
        """Have another root trusted; returns its name."""
        said = json.loads(await self.server("localauthority", "x509", "prepare", "-output", "json"))
        return str(said["prepared_authority"]["authority_id"])

    async def active_authority(self) -> str:
        """The name of the one that signs."""
        return str(json.loads(await self.server("localauthority", "x509", "show", "-output", "json"))["active"]["authority_id"])

    async def start_agent(self) -> None:
        """Begin, or begin again with what it has on disk."""
        configuration = self.directory / "agent.conf"
        arguments = ["run", "-config", str(configuration)]
        if not configuration.exists():
            configuration.write_text(_AGENT_CONFIGURATION.format(**self._words()))
            (self.directory / "bootstrap.pem").write_text(await self.server("bundle", "show"))
            token = json.loads(await self.server("token", "generate", "-spiffeID", self._node, "-output", "json"))["value"]
            arguments += ["-joinToken", token]
        self.agent = await _started(self.directory, AGENT, arguments)
        agent = self.agent
        await until(lambda: agent.returncode is not None or (self.directory / "agent.sock").exists(), START_SECONDS)
        assert agent.returncode is None, self.said(AGENT)

    async def stop_agent(self) -> None:
        """End it."""
        if self.agent is not None:
            await _ended(self.agent)
            self.agent = None

    def _words(self, **more: str) -> dict[str, str]:
        return {"directory": str(self.directory), "trust_domain": self.trust_domain, "port": str(self.port), **more}


@asynccontextmanager
async def running(directory: Path, trust_domain: str, *, svid_ttl: str = "1h", ca_ttl: str = "24h") -> AsyncIterator[Spire]:
    """SPIRE in a directory whose path is short; nothing is registered yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spire = Spire(directory, trust_domain, port)
    configuration = directory / "server.conf"
    configuration.write_text(_SERVER_CONFIGURATION.format(**spire._words(svid_ttl=svid_ttl, ca_ttl=ca_ttl)))
    server = await _started(directory, SERVER, ["run", "-config", str(configuration)])
    try:
        await until(lambda: server.returncode is not None or (directory / "server.sock").exists(), START_SECONDS)
        assert server.returncode is None, spire.said(SERVER)
        await spire.start_agent()
        yield spire
    finally:
        await spire.stop_agent()
        await _ended(server)


async def _started(directory: Path, name: str, arguments: Sequence[str]) -> asyncio.subprocess.Process:
    path = program(name)
    assert path is not None, lacking()
    with (directory / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(path, *arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


async def _ended(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
