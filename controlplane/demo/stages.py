"""The stages of a demo, one after the other: start, learn, review, approve, enforce, tour. Each fills its part of the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from controlplane.api.proposal_schemas import Proposal
from controlplane.api.schemas import MapEdge, Violation
from controlplane.demo import tour
from controlplane.demo.mesh import Mesh
from controlplane.demo.plane import POLL_SECONDS
from controlplane.demo.processes import CONTROL_PLANE
from controlplane.demo.progress import Progress, Stage
from controlplane.demo.report import Report, edges_table
from controlplane.demo.reviewer import Decision, Reviewer
from controlplane.demo.services.messages import Outcome, Result
from controlplane.demo.tour import Attempt, Tour

#: How long calls in `learn` are tried again: a mesh that has just come up may not pass the very first ones.
LEARN_TIMEOUT_SECONDS = 60.0
ENFORCE_TIMEOUT_SECONDS = 60.0
#: How long reports may take to arrive once everything is over.
REPORTS_TIMEOUT_SECONDS = 30.0


class StageError(Exception):
    """A stage did not reach its end; the message says why."""


class Stages:
    """The stages of one mesh."""

    def __init__(self, mesh: Mesh, progress: Progress, report: Report, reviewer: Reviewer) -> None:
        self._mesh = mesh
        self._progress = progress
        self._report = report
        self._reviewer = reviewer
        self._tour = Tour(mesh.plan, mesh.authority_file)
        self.log: Sequence[Violation] = ()

    async def run(self) -> None:
        """All of them.

        Raises:
            StageError, MeshError, NetworkError, DriverError, ApiError, UnreachableError, OSError: why it ended early.
        """
        with self._progress.stage("start") as stage:
            await self._mesh.start(stage.show)
            await self._started(stage)
        with self._progress.stage("learn") as stage:
            await self._learn(stage)
        with self._progress.stage("review") as stage:
            proposal = await self._mesh.plane.open_proposal()
            stage.result = f"proposal {proposal.number}: {proposal.edge_count} edges" if proposal else "nothing was learned"
        if proposal is not None:
            self._progress.console.print(edges_table(proposal.edges))
            await self._approve(proposal)
        with self._progress.stage("enforce") as stage:
            await self._enforce(stage)
        with self._progress.stage("tour") as stage:
            await self._everything(stage)

    def _took(self, stage: Stage) -> None:
        stage.stop_clock()
        self._report.seconds[stage.name] = round(stage.seconds, 3)

    async def _started(self, stage: Stage) -> None:
        plan = self._mesh.plan
        sidecars = (await self._mesh.plane.sidecars()).sidecars
        self._report.envoy_version = next((s.envoy_version for s in sidecars if s.envoy_version), "")
        outside = len(plan.placed) - len(plan.meshed)
        stage.result = f"{len(plan.meshed)} services behind Envoy {self._report.envoy_version}, {outside} outside the mesh"
        self._took(stage)

    # -- learn -------------------------------------------------------------------------------------------------------

    async def _learn(self, stage: Stage) -> None:
        attempts = self._tour.expected()
        waiting, failed = attempts, list[tuple[Attempt, Outcome]]()
        deadline = time.monotonic() + LEARN_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if waiting:
                outcomes = await tour.make(waiting, self._mesh.applications)
                failed = [(attempt, outcome) for attempt, outcome in outcomes if outcome.result is not Result.ANSWERED]
                waiting = [attempt for attempt, _ in failed]
            edges = {self._named(edge): edge for edge in await self._mesh.plane.learned_edges()}
            unseen = tour.unseen((attempt.use for attempt in attempts), edges)
            stage.show(f"{len(attempts) - len(unseen)} of {len(attempts)} declared requests seen")
            if not waiting and not unseen:
                break
            self._mesh.check()
            await asyncio.sleep(POLL_SECONDS)
        declared = {(str(e.source), str(e.destination), e.port) for e in self._mesh.plan.document.edges}
        self._report.edges_expected = len(declared)
        self._report.edges_learned = len(edges)
        self._report.edges_missing = sorted(map(_edge_text, declared - edges.keys()))
        self._report.edges_extra = sorted(map(_edge_text, edges.keys() - declared))
        self._report.failures += [f"learn: {attempt}: {outcome.result} {outcome.detail}" for attempt, outcome in failed]
        stage.fine = not (self._report.edges_missing or self._report.edges_extra or waiting)
        stage.result = f"{len(declared & edges.keys())} of {len(declared)} declared edges seen, by {len(attempts)} requests"
        self._took(stage)

    def _named(self, edge: MapEdge) -> tour.EdgeName:
        """An edge as the topology file calls it: a source outside the mesh is in the graph by its address."""
        outside = {p.flow_source: str(p.service.name) for p in self._mesh.plan.placed.values() if not p.service.meshed}
        return outside.get(edge.source, edge.source), edge.destination, edge.port

    # -- review and approve ------------------------------------------------------------------------------------------

    async def _approve(self, proposal: Proposal) -> None:
        decision = await self._reviewer.decide(self._mesh, proposal)
        with self._progress.stage("approve") as stage:
            if not isinstance(decision, Decision):
                stage.fine, stage.result = False, decision.reason
                raise StageError(f"{decision.reason}; nothing is enforced")
            stage.result = f"proposal {decision.number} approved by {decision.by}: revision {decision.revision}"

    # -- enforce -----------------------------------------------------------------------------------------------------

    async def _enforce(self, stage: Stage) -> None:
        stage.show("every service into the mode enforce")
        before = await self._mesh.versions()
        await self._mesh.plane.enforce_all()
        since = time.monotonic()
        await self._mesh.wait(CONTROL_PLANE, "obeyed by all", lambda: self._mesh.settled(before, since), ENFORCE_TIMEOUT_SECONDS)
        self._took(stage)
        revision = (await self._mesh.plane.sidecars()).revision
        stage.result = f"{len(self._mesh.plan.meshed)} sidecars drop what revision {revision} does not hold"

    # -- tour --------------------------------------------------------------------------------------------------------

    async def _everything(self, stage: Stage) -> None:
        report, applications = self._report, self._mesh.applications
        expected, unexpected = self._tour.expected(), self._tour.unexpected()
        bypass = list(self._tour.bypass(self._mesh.steal()))
        stage.show(f"{len(expected)} declared requests among {len(unexpected) + len(bypass)} calls that are no edge")
        before = await tour.ask(applications)
        made = await tour.make(tour.mixed(expected, unexpected, bypass), applications)
        arrived = await tour.ask(applications)
        self._count_expected([(attempt, outcome) for attempt, outcome in made if attempt.expected], arrived)
        report.unexpected_attempts, report.bypass_attempts = len(unexpected), len(bypass)
        delivered, stolen = arrived.anywhere(unexpected), arrived.anywhere(bypass)
        unknown = {place: count - before.unmarked.get(place, 0) for place, count in arrived.unmarked.items()}
        nameless = {f"{name}:{port}": count for (name, port), count in unknown.items() if count > 0}
        report.unexpected_delivered = len(delivered) + sum(nameless.values())
        report.bypass_delivered = len(stolen)
        report.failures += [f"delivered although it is no edge: {attempt}" for attempt in (*delivered, *stolen)]
        report.failures += [f"{count} connections without a marker arrived at {where}" for where, count in nameless.items()]
        stage.show("waiting for the last reports")
        await self._count_recorded(unexpected, bypass)
        stage.fine = not (report.unexpected_delivered or report.bypass_delivered or report.expected_failed)
        stage.result = f"{len(unexpected) + len(bypass)} calls that are no edge, {len(delivered) + len(stolen)} of them arrived"
        self._took(stage)

    def _count_expected(self, made: Sequence[tuple[Attempt, Outcome]], arrived: tour.Arrived) -> None:
        self._report.expected_requests = len(made)
        for attempt, outcome in made:
            if outcome.result is not Result.ANSWERED or not arrived.at_its_destination(attempt):
                self._report.expected_failed += 1
                where = "" if arrived.at_its_destination(attempt) else ", not arrived"
                self._report.failures.append(f"declared and failed: {attempt}: {outcome.result} {outcome.detail}{where}")

    async def _count_recorded(self, unexpected: Sequence[Attempt], bypass: Sequence[Attempt]) -> None:
        """Reports are on their way for as long as a sidecar's interval; wait for them, but not for ever."""
        deadline = time.monotonic() + REPORTS_TIMEOUT_SECONDS
        while True:
            self.log = await self._mesh.plane.violations()
            found, stolen = tour.recorded(unexpected, self.log), tour.recorded(bypass, self.log)
            self._report.violations_recorded, self._report.bypass_recorded = len(found), len(stolen)
            if len(found) == len(unexpected) and len(stolen) == len(bypass):
                return
            if time.monotonic() > deadline:
                break
            self._mesh.check()
            await asyncio.sleep(POLL_SECONDS)
        held = {*found, *stolen}
        missing = [attempt for attempt in (*unexpected, *bypass) if attempt not in held]
        self._report.failures += [f"not in the violation log: {attempt} ({attempt.direction})" for attempt in missing]


def _edge_text(edge: tour.EdgeName) -> str:
    return f"{edge[0]} -> {edge[1]}:{edge[2]}"
