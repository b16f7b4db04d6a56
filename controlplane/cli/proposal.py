"""The rows of a proposal as people read them: one for each role, odd ones first with the reason, evidence below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from controlplane.cli.listing import Listing
from controlplane.cli.output import ago, cell, lines, match_text, plural, short, spans

if TYPE_CHECKING:
    from rich.console import Console

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_OWNED = (("source", "source_owners"), ("destination", "owners"))
_Edge = Mapping[str, Any]


def show_rows(out: Console, edges: Sequence[_Edge], *, evidence: bool) -> None:
    """Print them."""
    rows = _by_role(edges)
    listing = Listing(">#", "source", "", "destination", "~asks for", ">seen", "first", "last")
    for row in rows:
        first = min((edge["first_seen_ms"] for edge in row if edge["first_seen_ms"]), default=None)
        last = max((edge["last_seen_ms"] for edge in row if edge["last_seen_ms"]), default=None)
        source, destination = (_named(row, end) for end in ("source", "destination"))
        asks = _asks(row[0])
        if evidence:
            for text in _evidence(row):
                asks.append("\n").append_text(cell(text, "dim"))
        seen = sum(edge["count"] for edge in row)
        number = f"- {_numbers(row)}" if row[0]["removal"] else _numbers(row)
        listing.add(number, source, "→", f"{destination}:{row[0]['port']}", asks, seen, ago(first), ago(last))
    listing.show(out)
    for row in rows:
        if row[0]["removal"]:
            out.print(cell(f"{_numbers(row)}: to be taken away: {row[0]['removal']}", "yellow"))
        for edge in row:
            if (wish := edge["asked"]) is not None:
                link = f" ({wish['link']})" if wish["link"] else ""
                out.print(cell(f"{edge['row']}: asked for by {wish['actor']}: {wish['reason']}{link}", "cyan"))
            for said in edge["comments"]:
                out.print(cell(f"{edge['row']}: {said['actor']}, {ago(said['at_ms'])}: {said['text']}", "cyan"))
            if edge["samples"] is not None and (image := edge["samples"]["came_with"]):
                out.print(cell(f"{edge['row']}: came with image {image}: none that ran before used it", "yellow"))
        for mark in row[0]["marks"]:
            out.print(cell(f"{_numbers(row)}: odd ({mark['oddity']}): {mark['reason']}", "yellow"))
    for said, agreeing in _agreements(edges).items():
        out.print(cell(f"{_numbers(agreeing)}: {said}", "yellow" if agreeing[0]["lacks"] else "green"))


def _agreements(edges: Iterable[_Edge]) -> dict[str, list[_Edge]]:
    """What is to be said of agreement, with the edges of which it is: a proposal of thousands of rows has few owners."""
    found: dict[str, list[_Edge]] = {}
    for edge in edges:
        if edge["lacks"] or edge["approvals"]:
            found.setdefault(_agreement(edge), []).append(edge)
    return found


def _agreement(edge: _Edge) -> str:
    """Who agreed, and who still has to."""
    agreed = ", ".join(given["actor"] for given in edge["approvals"])
    parts = [f"agreed to by {agreed}"] if agreed else []
    parts += [f"needs {edge['lacks']}"] if edge["lacks"] else []
    return "; ".join(parts)


def _by_role(edges: Iterable[_Edge]) -> list[list[_Edge]]:
    """Edges that say the same of variants of one role, together; a marked one, or one that should go, stands alone."""
    rows: dict[tuple[object, ...], list[_Edge]] = {}
    for edge in edges:
        http = tuple((match["method"], match["path"]) for match in edge["http"])
        key: tuple[object, ...] = (edge["source_role"], edge["destination_role"], edge["port"], edge["protocol"], http)
        alone = edge["marks"] or edge["removal"]
        rows.setdefault((*key, edge["row"] if alone else 0), []).append(edge)
    return list(rows.values())


def _numbers(row: Sequence[_Edge]) -> str:
    """The numbers of a row's edges, as `--rows` takes them."""
    return spans(edge["row"] for edge in row)


def _named(row: Sequence[_Edge], end: str) -> str:
    """A role with its variants, as ``cart (-v1, -v2)``; a name alone as it is."""
    names = sorted({edge[end] for edge in row})
    if len(names) == 1:
        return short(names[0])
    role = row[0][f"{end}_role"]
    return f"{short(role)} ({', '.join(name.removeprefix(role) or 'itself' for name in names)})"


def _asks(edge: _Edge) -> Any:
    """All of it, each on a line: nobody can approve what is not shown."""
    protocol = edge["protocol"]
    # A gRPC call is always a POST.
    texts = [match["path"] if protocol == "grpc" and match["path"] else match_text(match) for match in edge["http"]]
    return lines([f"{protocol} {text}" for text in texts] or [f"{protocol}, anything" if protocol else "anything"])


def _evidence(row: Sequence[_Edge]) -> Iterable[str]:
    for edge in row:
        samples = edge["samples"]
        who = f"{edge['source']}: " if len(row) > 1 else ""
        owners = [f"{short(edge[end])} by {', '.join(edge[owned])}" for end, owned in _OWNED if edge[owned]]
        if owners:
            yield f"{who}owned: {'; '.join(owners)}"
        if samples is None:
            continue
        days = ", ".join(WEEKDAYS[day] for day in samples["weekdays"])
        yield f"{who}used on {plural(samples['days'], 'day')} ({days}), in {plural(samples['hours_of_week'], 'hour')} of the week"
        if samples["replicas"]:
            yield f"{who}by {plural(samples['replica_count'], 'replica')}, such as {', '.join(samples['replicas'])}"
        for image in samples["images"]:
            yield f"{who}by image {image['digest']}, as its cluster or its sidecar says, first {ago(image['first_seen_ms'])}"
        for widened in samples["widened"]:
            yield from (f"{match_text(widened)}: {reason}" for reason in widened["reasons"])
