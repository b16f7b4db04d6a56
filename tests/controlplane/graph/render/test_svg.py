"""SVG: well-formed whatever the names, complete, and safe to open."""

from __future__ import annotations

from itertools import permutations
from xml.etree import ElementTree

from hypothesis import given

from controlplane.graph.render.picture import READABLE_NODES, Line, Node, Picture, State
from controlplane.graph.render.svg import to_svg
from controlplane.graph.render.text import printable
from tests.controlplane.graph.render.pictures import ANY_PICTURES, EVERYTHING_NASTY, picture

_SVG = "{http://www.w3.org/2000/svg}"


def titles(drawn: str) -> list[str]:
    return [title.text or "" for title in ElementTree.fromstring(drawn).iter(f"{_SVG}title")]


@given(ANY_PICTURES)
def test_every_name_and_line_is_drawn(picture: Picture) -> None:
    root = ElementTree.fromstring(to_svg(picture))
    assert len(list(root.iter(f"{_SVG}rect"))) == len(picture.nodes)
    found = titles(to_svg(picture))
    assert all(printable(node.name) in found for node in picture.nodes)
    assert len(found) == 1 + len(picture.nodes) + len(picture.lines)


def test_it_holds_no_script_no_link_and_no_attribute_from_a_name() -> None:
    root = ElementTree.fromstring(to_svg(EVERYTHING_NASTY, 'x"><script>'))
    tags = {element.tag.removeprefix(_SVG) for element in root.iter()}
    assert tags == {"svg", "title", "desc", "style", "marker", "path", "g", "rect", "text"}
    assert not {name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name}


def test_lines_stay_within_the_drawing_and_boxes_do_not_overlap() -> None:
    root = ElementTree.fromstring(to_svg(picture([("a/a", "a/b"), ("a/b", "a/c"), ("a/c", "a/a"), ("a/a", "a/c"), ("a/a", "a/a")])))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [[float(box.attrib[name]) for name in ("x", "y", "width", "height")] for box in root.iter(f"{_SVG}rect")]
    assert len(boxes) == 3
    for x, y, wide, high in boxes:
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height
    for (x, y, wide, high), (left, top, _, _) in permutations(boxes, 2):
        assert not (x <= left < x + wide and y <= top < y + high)


def test_a_line_back_has_its_arrow_at_its_left_end() -> None:
    drawn = to_svg(picture([("a/a", "a/b"), ("a/b", "a/a")]))
    assert drawn.count('marker-start="url(#to-approved)"') == 1


def test_states_differ_without_colour_and_are_explained() -> None:
    lines = tuple(Line("a/a", f"a/{state}", state, ("80 http",), 1, 1) for state in sorted(State))
    nodes = tuple(sorted(Node(name, "a", "service") for name in {"a/a", *(line.destination for line in lines)}))
    drawn = to_svg(Picture(nodes, lines))
    for text in ("approved", "partly approved", "seen, not approved", "approved, never seen"):
        assert f">{text}</text>" in drawn
    assert "a/a -&gt; a/unapproved: 80 http (seen, not approved, 1 times)" in drawn


def test_a_picture_with_too_many_names_is_drawn_with_namespaces() -> None:
    many = picture([(f"n{number % 7}/s{number}", "n0/s0") for number in range(READABLE_NODES * 3)])
    assert len(list(ElementTree.fromstring(to_svg(many)).iter(f"{_SVG}rect"))) <= READABLE_NODES


def test_an_empty_picture_is_a_drawing_too() -> None:
    assert titles(to_svg(Picture((), ()), "nothing")) == ["nothing"]
