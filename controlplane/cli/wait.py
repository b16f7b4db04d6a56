"""`picket wait`: for scripts and pipelines, in the place of a guess at how many seconds something takes. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import click

from controlplane.cli.connection import NotFoundError, Session, Way, connectable
from controlplane.cli.output import cell, console, plural, short, show_json

INTERVAL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Seen:
    """How one condition stands, in words."""

    met: bool
    text: str


_Condition = Callable[[Session], _Seen]


@click.command("wait", short_help="Wait until the control plane is ready or has seen something.")
@click.option("--sidecars", type=click.IntRange(1), metavar="N", help="N sidecars are connected and run the revision in force.")
@click.option("--edges", type=click.IntRange(1), metavar="N", help="N edges were seen.")
@click.option("--proposal", is_flag=True, help="A proposal awaits review.")
@click.option("--rollouts", is_flag=True, help="No rollout is under way; exit code 1 when one was taken back.")
@click.option("--violations", type=click.IntRange(1), metavar="N", help="N violations are in the log.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0, 86_400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long, with exit code 1.",
)
@connectable
def wait(
    way: Way,
    sidecars: int | None,
    edges: int | None,
    *,
    proposal: bool,
    rollouts: bool,
    violations: int | None,
    timeout_seconds: float,
) -> None:
    """Wait until the control plane is there and ready, and until everything that was asked for holds at once."""
    conditions: list[_Condition] = []
    if sidecars is not None:
        conditions.append(lambda session: _sidecars(session, sidecars))
    if edges is not None:
        conditions.append(lambda session: _edges(session, edges))
    if proposal:
        conditions.append(_proposal)
    if rollouts:
        conditions.append(_rollouts)
    if violations is not None:
        conditions.append(lambda session: _violations(session, violations))
    started = time.monotonic()
    state = _look(way, conditions)
    while missing := [seen.text for seen in state if not seen.met]:
        if not time.monotonic() - started < timeout_seconds:  # nor when it is no number
            raise click.ClickException(f"waited {timeout_seconds:g} s: {'; '.join(missing)}")
        time.sleep(INTERVAL_SECONDS)
        state = _look(way, conditions)
    _tell(way, state, time.monotonic() - started)


def _tell(way: Way, state: list[_Seen], waited_seconds: float) -> None:
    if way.output == "json":
        show_json({"holds": [seen.text for seen in state], "waited_seconds": round(waited_seconds, 3)})
    else:
        console().print(cell("; ".join(seen.text for seen in state)))


def _look(way: Way, conditions: list[_Condition]) -> list[_Seen]:
    """How everything stands now; a control plane that is not there yet may still come."""
    from controlplane.api.client import ApiError, UnreachableError  # noqa: PLC0415  # `picket --help` does not pay for it

    try:
        session = way.session()
        session.client.get("/readyz")
        return [_Seen(met=True, text="the control plane is ready"), *(condition(session) for condition in conditions)]
    except (NotFoundError, UnreachableError) as error:
        return [_Seen(met=False, text=str(error))]
    except ApiError as error:
        if error.status != 503:
            raise
        return [_Seen(met=False, text="the control plane is not ready")]


def _sidecars(session: Session, wanted: int) -> _Seen:
    found = session.every("/sidecars", "sidecars")
    fine = sum(1 for item in found["sidecars"] if item["state"] == "ack" and item["revision"] == found["revision"])
    return _Seen(fine >= wanted, f"{plural(fine, 'sidecar')} of {wanted} with revision {found['revision']}")


def _edges(session: Session, wanted: int) -> _Seen:
    seen = sum(1 for edge in session.every("/map", "edges")["edges"] if edge["learned"])
    return _Seen(seen >= wanted, f"{plural(seen, 'edge')} of {wanted} seen")


def _proposal(session: Session) -> _Seen:
    found = session.get("/proposals", {"status": "open"})["proposals"]
    return _Seen(bool(found), f"proposal {found[0]['number']} awaits review" if found else "no proposal awaits review")


def _rollouts(session: Session) -> _Seen:
    """How the last rollout of each service stands; one that was taken back will not come to a good end by waiting."""
    newest = {made["service"]: made for made in reversed(session.get("/rollouts", {"all": "true"})["rollouts"])}
    for made in newest.values():
        if made["status"] == "rolled-back":
            raise click.ClickException(f"rollout {made['id']} of {short(made['service'])} was taken back: {made['reason']}")
    running = sum(made["status"] == "running" for made in newest.values())
    return _Seen(not running, f"{plural(running, 'rollout')} under way" if running else "no rollout is under way")


def _violations(session: Session, wanted: int) -> _Seen:
    count = session.get("/violations/count")["count"]
    return _Seen(count >= wanted, f"{plural(count, 'violation')} of {wanted} in the log")
