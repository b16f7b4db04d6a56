"""`picket sidecars`: every sidecar's state, where one is missing, and what a workload's sidecars are told."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from controlplane.cli.connection import Session, connected
from controlplane.cli.output import ago, cell, console, plural, short, show_json, until

#: `sha256:` and as much of a digest as people compare.
_SHORT_DIGEST = 19
_STYLES = {"ack": "", "pending": "yellow", "nack": "red", "away": "yellow"}


@click.group("sidecars", invoke_without_command=True, short_help="Show every sidecar's state.")
@connected
def sidecars(session: Session) -> None:
    """Show every sidecar's state: ack (runs what it was sent), pending, nack (refused it, keeps what it had) or away."""
    if click.get_current_context().invoked_subcommand is None:
        _show(session)


def _show(session: Session) -> None:
    found = session.every("/sidecars", "sidecars")
    if session.output == "json":
        show_json(found)
        return
    out = console()
    listed = found["sidecars"]
    if not listed:
        out.print("no sidecar was ever here; let one join with `picket token WORKLOAD`")
        return
    fine = sum(1 for item in listed if item["state"] == "ack")
    out.print(f"revision {found['revision']} is in force; {plural(len(listed), 'sidecar')}, {fine} with all that they were sent")
    from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

    titles = ("workload", "~instance", "state", ">revision", "last report", "blind since", ">lost", "certificate ends")
    listing = Listing(*titles)
    for item in listed:
        listing.add(*_row(item))
    listing.show(out)
    for item in listed:
        if item["nack"] is not None:
            nack = item["nack"]
            out.print(
                cell(
                    f"{short(item['workload'])} ({item['instance']}) refused {nack['type']} {ago(nack['at_ms'])}: {nack['message']}"
                )
            )


def _row(item: dict[str, Any]) -> list[Any]:
    return [
        short(item["workload"]),
        _instance(item),
        cell(_state(item), _STYLES.get(item["state"], "")),
        item["revision"],
        ago(item["last_report_ms"]),
        cell(ago(item["blind_since_ms"]), "red" if item["blind_since_ms"] is not None else ""),
        item["lost"],
        until(item["certificate_not_after_ms"]),
    ]


def _state(item: dict[str, Any]) -> str:
    return f"{item['state']}, in rollout {item['rollout']}" if item["rollout"] else str(item["state"])


def _instance(item: dict[str, Any]) -> str:
    envoy = f"Envoy {item['envoy_version']}" if item["envoy_version"] else ""
    image = f"image {item['image_digest'][:_SHORT_DIGEST]}" if item["image_digest"] else ""
    about = ", ".join(filter(None, (envoy, image)))
    return f"{item['instance']} ({about})" if about else str(item["instance"])


@sidecars.command("missing", short_help="Show what should have a sidecar and has none.")
@connected
def missing(session: Session) -> None:
    """Show the pods that should have a sidecar and have none, why, and what to do. In a cluster only."""
    found = session.get("/sidecars/missing")
    if session.output == "json":
        show_json(found)
        return
    out = console()
    if found["replicas"]:
        from controlplane.cli.listing import Listing  # noqa: PLC0415  # `picket --help` does not pay for rich

        listing = Listing("namespace", "pod", "of", "~why")
        for item in found["replicas"]:
            listing.add(item["namespace"], item["replica"], item["owner"], item["reason"])
        listing.show(out)
    else:
        out.print("nothing that should have a sidecar is without one")
    for note in found["notes"]:
        out.print(cell(note))


@sidecars.command("config", short_help="Show the Envoy configuration of a sidecar.")
@click.argument("name")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["CDS", "EDS", "LDS", "RDS", "SDS", "ECDS"], case_sensitive=False),
    help="Only resources of this type.",
)
@connected
def config(session: Session, name: str, kind: str | None) -> None:
    """Show the Envoy configuration that the sidecars of workload NAME are sent, as protobuf JSON."""
    found = session.get(f"/sidecars/{quote(name)}/config", {"type": kind.upper() if kind else None})
    if session.output == "json":
        show_json(found)
        return
    resources = plural(len(found["resources"]), "resource")
    click.echo(f"{short(found['workload'])}: revision {found['revision']}, version {found['version']}, {resources}")
    for resource in found["resources"]:
        click.echo(f"\n{resource['type']} {resource['name']} (version {resource['version']})")
        show_json(resource["content"])
