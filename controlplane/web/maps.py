"""The map: a picture of who talks to whom that follows what happens, a table of the same, and files. The address holds the view.

The picture is drawn in the browser by files of our own; where it stands is decided here, so that it is the same for everybody.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterator, Sequence

import flask
import msgspec

from controlplane.api.problems import ApiProblemError
from controlplane.api.reading import read_query
from controlplane.graph.atlas import Atlas
from controlplane.graph.links import Link, State
from controlplane.graph.render import svg, text
from controlplane.graph.render.layout import arrange
from controlplane.graph.render.picture import Node, picture_of
from controlplane.topology.model import ServiceName
from controlplane.web.atlas import MapQuery, Seen, see
from controlplane.web.guard import Console

#: Links that the table shows; the words of `find` come first in it.
LISTED = 500
#: With more links, layers would be a tangle that takes seconds: names stand in blocks by namespace instead.
MAX_LAYERED = 600
_ACROSS, _DOWN = 290, 84  # from one column or row to the next, in pixels
_FORMATS = {
    "svg": ("image/svg+xml", svg.to_svg), "dot": ("text/vnd.graphviz", text.to_dot), "mmd": ("text/vnd.mermaid", text.to_mermaid),
    "graphml": ("application/graphml+xml", text.to_graphml), "json": ("application/json", text.to_json),
}  # fmt: skip


class _Drawn(msgspec.Struct):
    """A name of the picture. ``x`` and ``y`` are where it stands unless the reader moved it."""

    id: str
    label: str
    namespace: str
    kind: str
    mode: str
    members: int
    hit: bool
    page: bool
    reach: str
    unmeshed: int
    x: float
    y: float


class _Line(msgspec.Struct):
    """A link of the picture."""

    id: str
    source: str
    target: str
    state: State
    label: str
    text: str
    hit: bool
    proposed: bool


class _Picture(msgspec.Struct):
    """What the browser draws."""

    revision: int
    nodes: list[_Drawn]
    links: list[_Line]


def blueprint(console: Console) -> flask.Blueprint:
    """The page, its data and its files."""
    routes = flask.Blueprint("map", __name__)
    api = console.api

    @routes.get("/map")
    def show() -> flask.typing.ResponseReturnValue:
        query = read_query(MapQuery)
        try:
            seen, mistake = see(api, query), None
        except ApiProblemError as error:
            mistake = error.problem
            query = msgspec.structs.replace(query, find="", hide="", proposal="", rows="")
            seen = see(api, query)
        atlas = seen.atlas
        given = {name: value for name, value in flask.request.args.items() if value}
        order = list(State)
        listed = sorted(atlas.links, key=lambda link: (link.pair not in atlas.found_links, order.index(link.state), link.pair))
        page = flask.render_template(
            "map.html", query=query, atlas=atlas, links=listed[:LISTED], given=given, words={**flask.request.args}, mistake=mistake,
            toggled=lambda name: _toggled(atlas, name), sought=query.find != "" or query.proposal != "", radius=seen.radius,
            unmeshed=sum(seen.unmeshed[node.name] for node in atlas.nodes),
        )  # fmt: skip
        return page, mistake.status if mistake is not None else 200

    @routes.get("/map/data")
    def data() -> flask.Response:
        body = picture_text(see(api, read_query(MapQuery)))
        response = flask.Response(body, content_type="application/json")
        response.set_etag(f"{picture_id(body)}")
        return response.make_conditional(flask.request)  # type: ignore[return-value]  # it is the response itself

    @routes.get("/map/picture.<kind>")
    def picture(kind: str) -> flask.Response:
        if kind not in _FORMATS:
            flask.abort(404)
        seen = see(api, read_query(MapQuery))
        media_type, draw = _FORMATS[kind]
        names = {node.name for node in seen.atlas.nodes}
        closed = {node.namespace for node in seen.atlas.nodes if node.kind == "namespace"}
        edges = [
            one for one in seen.charted
            if all(end in names or end.partition("/")[0] in closed for end in (one.edge.source, one.edge.destination))
        ]  # fmt: skip
        response = flask.Response(draw(picture_of(edges, seen.topology)), content_type=f"{media_type}; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="picket-map.{kind}"'
        return response

    return routes


def picture_text(seen: Seen) -> bytes:
    """What the browser draws, as JSON on one line."""
    return msgspec.json.encode(_Picture(seen.policy.revision, list(_nodes(seen)), list(_lines(seen))))


def picture_id(body: bytes) -> int:
    """Another number for another picture, of at most 15 digits: a script's numbers hold no more."""
    return int.from_bytes(hashlib.sha256(body).digest()[:6])


def _nodes(seen: Seen) -> Iterator[_Drawn]:
    atlas = seen.atlas
    places = _layered(atlas) if len(atlas.links) <= MAX_LAYERED else _blocks(atlas.nodes)
    for node in atlas.nodes:
        x, y = places[node.name]
        name = ServiceName(*node.name.partition("/")[::2])
        page = name in seen.topology.services
        mode = str(seen.policy.mode(name)) if page else ""
        yield _Drawn(
            node.name, node.label, "" if node.kind == "namespace" else node.namespace, node.kind, mode, node.members,
            node.name in atlas.found_nodes or node.name in seen.radius.reach, page, seen.radius.reach.get(node.name, ""),
            seen.unmeshed[node.name], x, y,
        )  # fmt: skip


def _layered(atlas: Atlas) -> dict[str, tuple[float, float]]:
    """Callers left, called right. What only ever was denied moves nothing: a scan must not turn the mesh upside down."""
    layout = arrange(
        (node.name for node in atlas.nodes), (link.pair for link in atlas.links if link.count or link.state is not State.DENIED)
    )
    return {name: (column * _ACROSS, round(row * _DOWN, 1)) for name, (column, row) in layout.places.items()}


def _blocks(nodes: Sequence[Node]) -> dict[str, tuple[float, float]]:
    """Each namespace a block, the largest first, the blocks in rows that make a picture about as wide as a screen."""
    members: dict[str, list[str]] = {}
    for node in nodes:
        members.setdefault("" if node.kind == "namespace" else node.namespace, []).append(node.name)
    widest = max(math.isqrt(len(nodes)) + 1, 4)
    places: dict[str, tuple[float, float]] = {}
    column, top, tallest = 0, 0, 0
    for _, names in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        width = min(math.isqrt(len(names) - 1) + 1, widest)
        height = -(-len(names) // width)
        if column and column + width > widest:
            column, top, tallest = 0, top + tallest + 1, 0
        for number, name in enumerate(names):
            places[name] = (column + number % width) * _ACROSS, (top + number // width) * _DOWN * 1.5
        column, tallest = column + width + 1, max(tallest, height)
    return places


def _lines(seen: Seen) -> Iterator[_Line]:
    names = {node.name for node in seen.atlas.nodes}
    asked = {(_shown(pair[0], names), _shown(pair[1], names)) for pair in seen.radius.rows}
    for link in seen.atlas.links:
        label = ", ".join(link.ports[:2]) + (", ..." if len(link.ports) > 2 else "")
        pair = link.pair
        is_hit = pair in seen.atlas.found_links or pair in asked
        yield _Line(f"{pair[0]} > {pair[1]}", *pair, link.state, label, _text(link), is_hit, pair in asked)


def _shown(name: str, names: Container[str]) -> str:
    """The name, or that of its namespace where that is shown as one."""
    return name if name in names else f"{name.partition('/')[0]}/"


def _text(link: Link) -> str:
    """What is known of a link, in words."""
    parts = [f"{', '.join(link.ports)}: {_WORDS[link.state]}"]
    if link.count:
        rate = f"{link.an_hour:,.0f} an hour" if link.an_hour >= 1 else "less than once an hour"
        parts.append(f"used {link.count:,} times, {rate}")
    if link.refused:
        parts.append(f"{link.refused:,} denied" if link.state is State.DENIED else f"{link.refused:,} would be denied")
    if link.edges > 1:
        parts.append(f"{link.edges} edges")
    return "; ".join(parts)


_WORDS = {
    State.DENIED: "denied", State.WOULD_DENY: "would be denied", State.LEARNED: "seen, not approved", State.APPROVED: "approved",
    State.STALE: "approved, not used",
}  # fmt: skip


def _toggled(atlas: Atlas, name: str) -> str:
    """The ``open`` of the address in which a namespace is the other way round."""
    opened = {namespace.name for namespace in atlas.namespaces if namespace.is_open}
    return ",".join(sorted(opened ^ {name})) or ","
