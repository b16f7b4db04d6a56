"""Owners over the API: named callers agree one after another, and each row says who is missing."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.policy.owners import Owners, OwnersError, parse_owners
from controlplane.policy.roles import Role
from tests.harness.plane import GET_CART, PAY, Plane

OWNERS = parse_owners("*\nshop/pay dora\n")


def named(plane: Plane, api: FlaskClient, name: str, role: Role) -> FlaskClient:
    """A caller with a token of their own."""
    token = api.post("/api/v1/users", json={"name": name, "role": str(role)}).get_json()["token"]
    client = plane.app().test_client()
    client.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {token}", "HTTP_HOST": "localhost"}
    return client


def test_a_row_waits_for_its_owner_and_says_so(plane: Plane, api: FlaskClient) -> None:
    plane.owners = OWNERS
    plane.learn(GET_CART, PAY)
    ana, dora = (named(plane, api, name, Role.APPROVER) for name in ("ana", "dora"))
    assert ana.get("/api/v1/proposals").status_code == 200
    found = ana.post("/api/v1/proposals/1/approve", json={}).get_json()
    assert (found["revision"], found["services"]) == (1, ["default/frontend", "shop/cart"])
    assert [(row["edge"], row["lacks"]) for row in found["waiting"]] == [("default/frontend -> shop/pay:443", "dora, who owns it")]
    assert [p["number"] for p in dora.get("/api/v1/proposals?status=open").get_json()["proposals"]] == [2]
    (row,) = dora.get("/api/v1/proposals/2").get_json()["edges"]
    assert (row["owners"], row["mine"], row["lacks"]) == (["dora"], True, "dora, who owns it")
    assert [given["actor"] for given in row["approvals"]] == ["ana"]
    assert not ana.get("/api/v1/proposals/2").get_json()["edges"][0]["mine"]
    assert ana.post("/api/v1/proposals/2/approve", json={}).get_json()["revision"] is None
    assert dora.post("/api/v1/proposals/2/approve", json={}).get_json() == {
        "revision": 2, "services": ["default/frontend", "shop/pay"], "waiting": [], "staged": False,
    }  # fmt: skip


def test_a_claimed_name_owns_nothing(plane: Plane, api: FlaskClient) -> None:
    plane.owners = parse_owners("* alice")
    plane.learn(GET_CART)
    api.get("/api/v1/proposals")
    assert api.post("/api/v1/proposals/1/approve", json={}).get_json()["revision"] is None
    forced = api.post("/api/v1/proposals/1/approve", json={"override_review": "alice has no token yet"})
    assert forced.get_json()["revision"] == 1


def test_what_is_said_stands_at_the_row(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART)
    api.get("/api/v1/proposals")
    developer = named(plane, api, "dev", Role.DEVELOPER)
    assert developer.post("/api/v1/proposals/1/comments", json={"row": 1, "text": "since the launch"}).status_code == 200
    (row,) = api.get("/api/v1/proposals/1").get_json()["edges"]
    assert [(said["actor"], said["text"]) for said in row["comments"]] == [("dev", "since the launch")]
    assert developer.post("/api/v1/proposals/1/comments", json={"row": 2, "text": "x"}).status_code == 422
    assert developer.post("/api/v1/proposals/1/comments", json={"row": 1, "text": ""}).status_code == 400
    assert developer.post("/api/v1/proposals/7/comments", json={"row": 1, "text": "x"}).status_code == 404


def test_who_owns_what_is_shown(plane: Plane, api: FlaskClient) -> None:
    plane.owners = OWNERS
    found = api.get("/api/v1/owners").get_json()
    assert found["four_eyes"] is False
    assert [(line["line"], line["owners"]) for line in found["lines"]] == [(1, []), (2, ["dora"])]
    assert found["lines"][1]["services"] == ["shop/pay"]
    assert "shop/pay" not in found["unowned"]


def test_a_file_that_cannot_be_read_is_told(plane: Plane, api: FlaskClient) -> None:
    def unreadable() -> Owners:
        raise OwnersError("/etc/picket/OWNERS: line 1: no")

    plane.read_owners = unreadable
    plane.learn(GET_CART)
    answer = api.get("/api/v1/owners")
    assert (answer.status_code, answer.get_json()["detail"]) == (409, "/etc/picket/OWNERS: line 1: no")
    api.get("/api/v1/proposals")
    assert api.post("/api/v1/proposals/1/approve", json={}).status_code == 409
    (row,) = api.get("/api/v1/proposals/1").get_json()["edges"]
    assert row["lacks"] == "an owners file that can be read: /etc/picket/OWNERS: line 1: no"
