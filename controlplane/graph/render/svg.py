"""A picture as SVG: readable without colour, without scripts, and with nothing that is fetched from elsewhere.

Source: https://www.w3.org/TR/SVG2/
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from controlplane.graph.render.layout import Layout, arrange
from controlplane.graph.render.picture import Line, Node, Picture, State, fit
from controlplane.graph.render.text import printable

_WIDTH, _HEIGHT = 184, 40  # of a node, in pixels
_ACROSS, _DOWN = 276, 62  # from one column or row to the next
_MARGIN, _LEGEND = 24, 40
_CHARACTERS = 26  # of a label, that fit a node
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24}.small{font-size:10px;fill:#57606a}"
    "rect{fill:#fff;stroke:#57606a}.datastore{fill:#eef4ff;stroke-width:2}.external,.address{stroke-dasharray:5 3}"
    ".gateway{fill:#fff8e6}.namespace{fill:#f3f4f6;stroke-width:2}"
    "path{fill:none;stroke-width:1.5}.approved{stroke:#1a7f37}.partly{stroke:#9a6700;stroke-width:3}"
    ".unapproved{stroke:#cf222e;stroke-dasharray:7 4}.unused{stroke:#8c959f;stroke-dasharray:2 4}"
)
_LEGENDS = {
    State.APPROVED: "approved",
    State.PARTLY: "partly approved",
    State.UNAPPROVED: "seen, not approved",
    State.UNUSED: "approved, never seen",
}


def to_svg(picture: Picture, title: str = "Service graph") -> str:
    """Draw a picture; where it has too many names to read, its largest namespaces are drawn as one each."""
    shown = fit(picture)
    layout = arrange((node.name for node in shown.nodes), ((line.source, line.destination) for line in shown.lines))
    width = max(2 * _MARGIN + (layout.columns - 1) * _ACROSS + _WIDTH, 640)
    height = 2 * _MARGIN + max(layout.rows, 1) * _DOWN + _LEGEND
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_number(height)}" width="{width}" role="img">',
            f"<title>{_text(title)}</title>",
            f"<desc>{len(shown.nodes)} names, {len(shown.lines)} connections</desc>",
            f"<style>{_STYLE}</style>",
            *_markers(),
            *(_line(line, layout) for line in shown.lines),
            *(row for node in shown.nodes for row in _node(node, layout)),
            *_legend(height - _LEGEND),
            "</svg>",
            "",
        ]
    )


def _text(text: str) -> str:
    return escape(printable(text), {'"': "&quot;", "'": "&#39;"})


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _at(place: tuple[int, float]) -> tuple[float, float]:
    """The left upper corner of a node at a place."""
    return _MARGIN + place[0] * _ACROSS, _MARGIN + place[1] * _DOWN - _HEIGHT / 2


def _markers() -> Iterator[str]:
    for state in State:
        yield (
            f'<marker id="to-{state}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
            f' markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
            f'<path class="{state}" style="stroke-dasharray:none" d="M0 0L8 4L0 8"/></marker>'
        )


def _node(node: Node, layout: Layout) -> Iterator[str]:
    left, top = _at(layout.places[node.name])
    label = node.label if len(node.label) <= _CHARACTERS else f"{node.label[: _CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    below = "namespace" if node.kind == "namespace" else f"{node.namespace} · {node.kind}"[: _CHARACTERS + 6]
    middle = _number(left + _WIDTH / 2)
    yield f"<g><title>{_text(node.name)}</title>"
    yield (
        f'<rect class="{_text(node.kind)}" x="{_number(left)}" y="{_number(top)}" width="{_WIDTH}" height="{_HEIGHT}"'
        f' rx="{_HEIGHT // 2 if node.kind == "external" else 5}"/>'
    )
    yield f'<text x="{middle}" y="{_number(top + 18)}" text-anchor="middle">{_text(label)}</text>'
    yield f'<text class="small" x="{middle}" y="{_number(top + 32)}" text-anchor="middle">{_text(below)}</text></g>'


def _line(line: Line, layout: Layout) -> str:
    name = f"{line.source} -> {line.destination}: {', '.join(line.ports)} ({_LEGENDS[line.state]}, {line.count:,} times)"
    way = layout.ways.get((line.source, line.destination))
    if way is None:
        drawn, arrow = _loop(layout.places[line.source]), "marker-end"
    else:
        # A line of a cycle is drawn from left to right too, and has its arrow at the left.
        drawn, arrow = _curve(way), "marker-end" if way[0] == layout.places[line.source] else "marker-start"
    return f'<g><title>{_text(name)}</title><path class="{line.state}" {arrow}="url(#to-{line.state})" d="{drawn}"/></g>'


def _loop(place: tuple[int, float]) -> str:
    left, top = _at(place)
    right = left + _WIDTH
    return f"M{_number(right - 40)} {_number(top)}c0 -18 56 -18 40 {_number(_HEIGHT / 3)}"


def _curve(way: tuple[tuple[int, float], ...]) -> str:
    """From the right side of the first node to the left side of the last, straight through the places between."""
    (left, top), *between, end = (_at(place) for place in way)
    x, y = left + _WIDTH, top + _HEIGHT / 2
    parts = [f"M{_number(x)} {_number(y)}"]
    for place in between:
        parts += [_bend(x, y, *place), f"h{_WIDTH}"]
        x, y = place[0] + _WIDTH, place[1] + _HEIGHT / 2
    return "".join([*parts, _bend(x, y, *end)])


def _bend(x: float, y: float, left: float, top: float) -> str:
    """From a point to the left side of a node."""
    half, middle = _number((x + left) / 2), _number(top + _HEIGHT / 2)
    return f"C{half} {_number(y)} {half} {middle} {_number(left)} {middle}"


def _legend(top: float) -> Iterator[str]:
    for number, (state, text) in enumerate(_LEGENDS.items()):
        left, middle = _MARGIN + number * 150, top + _LEGEND / 2
        yield f'<path class="{state}" marker-end="url(#to-{state})" d="M{left} {_number(middle)}h32"/>'
        yield f'<text class="small" x="{left + 38}" y="{_number(middle + 3)}">{text}</text>'
