"""The map: its page, its table, what the picture is drawn from, and its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.flows.model import Verdict
from controlplane.web import guard
from controlplane.web.maps import MAX_LAYERED
from tests.harness.plane import GET_CART, PAY, REDIS, Plane

VENDOR = Path(guard.__file__).parent / "static" / "vendor"
#: As published with version 3.34.4.
CYTOSCAPE = "081591ab735b2b6a3b31a3c60f8f3a3e2fee8c92939e0c7820ad1208571b6cd8"


def shown(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def drawn(browser: FlaskClient, query: str = "") -> dict[str, Any]:
    answer = browser.get(f"/map/data?{query}")
    assert answer.status_code == 200
    found: dict[str, Any] = json.loads(answer.data)
    return found


def test_the_library_is_the_one_that_was_taken_over() -> None:
    (file,) = VENDOR.glob("*.js")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == CYTOSCAPE
    assert "MIT" in (VENDOR / "README.md").read_text()
    assert "Permission is hereby granted" in (VENDOR / "cytoscape.LICENSE.txt").read_text()


def test_the_page_says_in_a_table_what_the_picture_shows(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART, REDIS, count=7)
    plane.violate(PAY, count=3)
    page = shown(browser, "/map")
    for text in ('href="/services/shop/cart"', "7070 grpc", "learned", "denied", "/static/map.js", 'aria-label="close shop"'):
        assert text in page


def test_only_pages_that_follow_something_run_scripts_and_only_our_own(browser: FlaskClient) -> None:
    policy = browser.get("/map").headers["Content-Security-Policy"]
    assert "script-src 'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in browser.get("/services").headers["Content-Security-Policy"]


def test_the_picture_has_every_name_and_link_with_its_state(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART)
    plane.violate(PAY._replace(source="ip:10.9.9.9"), Verdict.WOULD_DENY, count=3)
    picture = drawn(browser)
    nodes = {node["id"]: node for node in picture["nodes"]}
    assert (nodes["shop/cart"]["mode"], nodes["shop/cart"]["page"]) == ("learn", True)
    assert (nodes["ip:10.9.9.9"]["kind"], nodes["ip:10.9.9.9"]["page"]) == ("address", False)
    states = {(link["source"], link["target"]): link["state"] for link in picture["links"]}
    assert states == {("default/frontend", "shop/cart"): "learned", ("ip:10.9.9.9", "shop/pay"): "would-deny"}


def test_what_only_was_denied_moves_nothing(plane: Plane, browser: FlaskClient) -> None:
    """A scan draws its lines over the mesh as it is."""
    plane.learn(GET_CART, REDIS)
    before = {node["id"]: (node["x"], node["y"]) for node in drawn(browser)["nodes"]}
    plane.violate(REDIS._replace(source="shop/redis", destination="shop/cart"))
    plane.violate(GET_CART._replace(source="shop/cart", destination="default/frontend"))
    plane.now_ms += 10_000
    picture = drawn(browser)
    assert {link["state"] for link in picture["links"]} == {"learned", "denied"}
    assert {node["id"]: (node["x"], node["y"]) for node in picture["nodes"]} == before


def test_an_unchanged_picture_is_not_sent_again(plane: Plane, browser: FlaskClient) -> None:
    first = browser.get("/map/data")
    same = {"If-None-Match": first.headers["ETag"]}
    assert browser.get("/map/data", headers=same).status_code == 304
    plane.now_ms += 10_000
    plane.learn(GET_CART)
    assert browser.get("/map/data", headers=same).status_code == 200


def test_a_view_is_found_hidden_focused_and_closed_by_its_address(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART, REDIS)
    assert {node["id"] for node in drawn(browser, "focus=redis&hide=")["nodes"]} >= {"shop/redis"}
    assert {node["id"] for node in drawn(browser, "focus=shop/cart")["nodes"]} == {"default/frontend", "shop/cart", "shop/redis"}
    assert "default/frontend" not in {node["id"] for node in drawn(browser, "hide=frontend")["nodes"]}
    assert [link["hit"] for link in drawn(browser, "find=port:6379&focus=shop/cart&hops=1")["links"]] == [False, True]
    assert "shop/" in {node["id"] for node in drawn(browser, "open=default")["nodes"]}
    assert 'aria-label="open shop"' in shown(browser, "/map?open=default")
    assert "Nothing is left to show" in shown(browser, "/map?hide=*")


def test_only_what_was_used_in_a_time_is_shown(plane: Plane, browser: FlaskClient) -> None:
    plane.now_ms = 11 * 3_600_000
    plane.learn(GET_CART, seen_ms=3_600_000)
    plane.learn(REDIS, seen_ms=plane.now_ms - 1)
    assert [link["target"] for link in drawn(browser, "hours=2")["links"]] == ["shop/redis"]
    assert len(drawn(browser)["links"]) == 2


def test_a_mistake_in_an_expression_is_told_beside_it(browser: FlaskClient) -> None:
    answer = browser.get("/map?find=colour:red")
    assert answer.status_code == 400
    assert "colour: is no field" in answer.get_data(as_text=True)
    assert 'id="picture"' in answer.get_data(as_text=True)
    assert browser.get("/map/data?find=colour:red").status_code == 400
    assert browser.get("/map?hops=9").status_code == 400


@pytest.mark.parametrize(
    ("kind", "text"), [("svg", "<svg"), ("dot", "digraph"), ("mmd", "flowchart"), ("graphml", "<graphml"), ("json", '"nodes"')]
)
def test_the_map_comes_as_a_file(plane: Plane, browser: FlaskClient, kind: str, text: str) -> None:
    plane.learn(GET_CART, REDIS)
    page = shown(browser, f"/map/picture.{kind}?focus=shop/redis")
    assert text in page
    assert "frontend" not in page
    assert browser.get("/map/picture.bmp").status_code == 404


def test_a_new_mesh_is_told_how_to_begin(browser: FlaskClient) -> None:
    assert "nobody was seen calling anybody" in shown(browser, "/map")


def test_with_very_many_links_names_stand_in_blocks_and_none_upon_another(plane: Plane, browser: FlaskClient) -> None:
    pairs = [(f"team{a % 7}/s{a}", f"team{b % 7}/s{b}") for a in range(40) for b in range(40) if a != b][: MAX_LAYERED + 1]
    plane.learn(*(PAY._replace(source=source, destination=destination) for source, destination in pairs))
    nodes = drawn(browser)["nodes"]
    assert len({(node["x"], node["y"]) for node in nodes}) == len(nodes) >= 30


def test_the_blast_radius_of_a_proposal_is_drawn(plane: Plane, browser: FlaskClient) -> None:
    plane.learn(GET_CART, REDIS)
    plane.review.refresh_proposal()
    picture = drawn(browser, "proposal=1&rows=1")
    assert [link["proposed"] for link in picture["links"]] == [True, False]
    assert {node["id"]: node["reach"] for node in picture["nodes"] if node["reach"]} == {
        "shop/cart": "makes shop/cart reachable from 1 more workload"
    }
    assert "1 service comes within reach" in shown(browser, "/map?proposal=1&rows=1")
    assert "2 links of proposal 1" in shown(browser, "/map?proposal=1")
    assert browser.get("/map?proposal=7").status_code == 404
    assert browser.get("/map/data?proposal=1&rows=x").status_code == 400
    assert browser.get("/map/data?proposal=1&rows=9").status_code == 422
