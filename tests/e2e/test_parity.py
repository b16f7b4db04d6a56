"""Parity on real Envoys: what they did is what the policy of then says; where the kept list is another one, each use is told."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.client import Client
from controlplane.demo import tour
from controlplane.demo.mesh import Mesh
from controlplane.demo.tour import Tour
from tests.e2e.meshes import NO_NAMESPACES, TOWN, eventually, learn, put_into, running

pytestmark = pytest.mark.e2e
REDIRECT = pytest.param(
    "redirect", marks=pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")
)
HOURS_MS = 3 * 3_600_000


async def parity(mesh: Mesh) -> dict[str, Any]:
    found: dict[str, Any] = await asyncio.to_thread(Client(mesh.plane.server).get, "/api/v1/parity")
    return found


def hours_ago(file: Path) -> None:
    """Let what holds now have held for hours, so that nothing changed while the calls were made."""
    with closing(sqlite3.connect(file, timeout=30)) as database, database:
        database.execute("UPDATE revisions SET created_ms = created_ms - ?", (HOURS_MS,))
        database.execute("UPDATE mode_changes SET at_ms = at_ms - ?", (HOURS_MS,))


def take_off(file: Path, source: str) -> None:
    """Take a source off every list of the revision as it is kept; the sidecars hold the list that was approved."""
    with closing(sqlite3.connect(file, timeout=30)) as database, database:
        ((text,),) = database.execute("SELECT document FROM revisions").fetchall()
        document = json.loads(text)
        for listed in document["services"]:
            listed["rules"] = [rule for rule in listed.get("rules", []) if rule["source"] != source]
        database.execute("UPDATE revisions SET document = ?", (json.dumps(document),))


@pytest.mark.parametrize("capture", [REDIRECT, "explicit"])
async def test_real_envoys_do_what_the_policy_says_and_a_wrong_list_is_told(tmp_path: Path, capture: str) -> None:
    """Expected calls, refused ones at either end, and would-be refused ones; then a list from which the cart was taken."""
    file = tmp_path / "picket.db"
    async with running(TOWN, tmp_path, capture, database=f"sqlite:///{file}") as mesh:
        made = Tour(mesh.plan, mesh.authority_file)
        await learn(mesh, made.expected())
        await put_into(mesh, "enforce")
        await put_into(mesh, "audit", "redis")
        attempts = [*made.expected(), *made.unexpected(), *made.bypass(mesh.steal())]
        await tour.make(attempts, mesh.applications)
        hours_ago(file)

        async def stored() -> bool:
            return int((await parity(mesh))["agreed"]) >= len(attempts) + len(made.expected())

        await eventually(stored)
        clean = await parity(mesh)
        assert (clean["disagreements"], clean["complete"], clean["unjudged"]) == ([], True, [])

        take_off(file, "default/cart")
        wrong = await parity(mesh)
        assert wrong["agreed"] + wrong["disagreed"] == clean["agreed"]
        (told,) = wrong["disagreements"]
        assert (told["source"], told["destination"], told["direction"]) == ("default/cart", "default/redis", "in")
        assert (told["reported"]["verdict"], told["evaluated"]["verdict"], told["mode"]) == ("allowed", "would-deny", "audit")
        assert (told["evaluated"]["deny_id"], told["revision"]) == ("deny:default/redis@r1", 1)
