"""The commands of the loop, for people and for programs alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.flows.model import Verdict
from controlplane.policy.objects import Standing, State
from controlplane.store.stored import SidecarRow
from controlplane.topology.unmeshed import Gaps, Unmeshed
from controlplane.workflow.incidents import Incidents
from tests.controlplane.cli.conftest import Picket
from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, Plane


@pytest.fixture
def learned(plane: Plane) -> Plane:
    """Three edges wait for review."""
    plane.learn(GET_CART, ADD_CART, PAY, REDIS)
    return plane


def lines(text: str) -> list[list[str]]:
    """A table's cells: columns stand two spaces apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_the_map_shows_edges_and_what_is_approved(learned: Plane, picket: Picket) -> None:
    shown = picket("map")
    assert (shown.code, shown.err) == (0, "")
    assert lines(shown.out)[0] == ["revision 0: 3 edges, 0 approved"]
    row = next(line for line in lines(shown.out) if "shop/cart:7070" in line)
    assert row[0] == "frontend"
    assert row[3] == "grpc Cart/Add, Cart/Get"
    assert row[-2:] == ["no", "learn"]
    assert [edge["destination"] for edge in picket("map", "-o", "json").json["edges"]] == ["shop/cart", "shop/pay", "shop/redis"]


def test_the_map_of_one_service_and_of_what_is_new(learned: Plane, picket: Picket) -> None:
    picket("approve", "1")
    picket("proposals")
    picket("approve", "1", "--rows", "1")
    assert [e["destination"] for e in picket("map", "shop/redis", "-o", "json").json["edges"]] == ["shop/redis"]
    assert [e["destination"] for e in picket("map", "--new", "-o", "json").json["edges"]] == ["shop/pay", "shop/redis"]


def test_the_review_from_proposal_to_revision(learned: Plane, picket: Picket) -> None:
    assert "`picket proposals 1` shows what it asks for" in picket("proposals").out
    shown = picket("proposals", "1")
    assert "proposal 1, open: 3 edges that revision 0 does not hold" in shown.out
    # Every method that is asked for is shown: nobody can approve what is not.
    assert "/shop.Cart/Add" in shown.out
    assert "/shop.Cart/Get" in shown.out
    assert [edge["row"] for edge in picket("proposals", "1", "-o", "json").json["edges"]] == [1, 2, 3]
    approved = picket("approve", "1", "--rows", "1,3", "--comment", "as reviewed")
    assert approved.out == "revision 1 is in force; it changes frontend, shop/cart, shop/redis\n"
    assert picket("proposals", "-o", "json").json["proposals"][0]["edge_count"] == 1
    assert picket("reject", "2", "-m", "not that").out == "proposal 2 is rejected\n"
    assert [item["status"] for item in picket("proposals", "-o", "json").json["proposals"]] == ["rejected", "approved"]


def test_nothing_to_review_is_said(plane: Plane, picket: Picket) -> None:
    assert picket("proposals").out.startswith("nothing to review")
    assert picket("proposals", "-o", "json").json == {"proposals": [], "next_cursor": None}


@pytest.mark.parametrize("rows", ["0", "a", "3-1", "1-", "1-20000", "", "1,,2", "1;2", "-1"])
def test_rows_that_are_none_are_refused_before_anything_is_sent(learned: Plane, picket: Picket, rows: str) -> None:
    picket("proposals")
    result = picket("approve", "1", f"--rows={rows}")
    assert (result.code, result.out) == (2, "")
    assert learned.store.revisions(1) == []


def test_modes_are_shown_and_set(plane: Plane, picket: Picket) -> None:
    assert ["frontend", "learn", "default"] in lines(picket("mode").out)
    assert picket("mode", "cart", "frontend", "enforce").out == "2 services in mode enforce\n"
    assert ["shop/cart", "enforce"] in lines(picket("mode").out)
    assert picket("mode", "--all", "audit", "-o", "json").json == {"detail": "6 services in mode audit"}
    modes = {item["mode"] for item in picket("mode", "-o", "json").json["services"]}
    assert modes == {"audit"}


@pytest.mark.parametrize("words", [["cart"], ["enforce"], ["cart", "bogus"], ["--all"], ["--all", "cart", "enforce"]])
def test_a_mode_is_wanted_last(plane: Plane, picket: Picket, words: list[str]) -> None:
    assert picket("mode", *words).code == 2
    assert plane.store.modes() == {}


def test_quarantining_everything_is_asked_about(plane: Plane, picket: Picket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    result = picket("mode", "--all", "quarantine")
    assert (result.code, plane.store.modes()) == (1, {})
    assert picket("mode", "--all", "quarantine", "--yes").code == 0
    assert len(plane.store.modes()) == 6


def test_revisions_are_shown_compared_and_rolled_back(learned: Plane, picket: Picket) -> None:
    assert picket("policy", "revisions").out == "no revision yet: nothing was approved\n"
    picket("proposals")
    picket("approve", "1", "-m", "first")
    assert "revision 1, in force: 3 rules for 3 services" in picket("policy", "show").out
    assert [s["service"] for s in picket("policy", "show", "--service", "cart", "-o", "json").json["services"]] == ["shop/cart"]
    assert "+ shop/cart -> :6379  anything" in picket("policy", "diff").out
    assert picket("policy", "rollback", "0").out.startswith("revision 2 is in force")
    assert "- shop/cart -> :6379  anything" in picket("policy", "diff", "1..").out
    assert picket("policy", "diff", "0..2", "-o", "json").json["changes"] == []
    assert picket("policy", "diff", "1", "-o", "json").json["before"] == 0
    assert [item["revision"] for item in picket("policy", "revisions", "-o", "json").json["revisions"]] == [2, 1]
    assert picket("policy", "show", "1", "-o", "json").json["active"] is False
    assert picket("policy", "diff", "one..two").code == 2
    assert "two revisions are written 1..2 " in picket("policy", "diff", "1", "2").err


def test_the_map_is_drawn_to_the_terminal_or_into_a_file(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    plane.learn(PAY, REDIS)
    assert picket("map", "--format", "mermaid").out.startswith("flowchart LR\n")
    assert picket("map", "pay", "--format", "dot", "-o", "json").json["media_type"] == "text/vnd.graphviz"
    file = tmp_path / "map.svg"
    assert picket("map", "--format", "svg", "--file", str(file)).out == ""
    assert file.read_text().startswith("<svg ")
    assert "redis" not in picket("map", "--format", "dot", "--namespace", "default").out
    ended = picket("map", "--format", "svg", "--file", str(tmp_path / "nowhere" / "map.svg"))
    assert (ended.code, "cannot be written: No such file" in ended.err) == (1, True)
    assert picket("map", "--file", str(file)).code == 2
    assert picket("map", "--new", "--format", "dot").code == 2


def test_an_edge_is_allowed_for_a_time_and_taken_back(plane: Plane, picket: Picket) -> None:
    assert picket("break-glass", "list").out == "nothing is allowed for a time now\n"
    given = ("break-glass", "grant", "frontend", "pay:443", "--reason", "the shop is down", "--ticket", "OPS-1")
    told = picket(*given, "--for", "30m", "--method", "GET").out
    assert told.startswith("exception 1: frontend -> shop/pay:443 is allowed, revision 1")
    shown = picket("break-glass", "list").out
    assert "the shop is down" in shown
    assert "GET" in shown
    assert picket(*given, "--for", "30m", "--method", "GET").code == 1
    assert picket("break-glass", "end", "1").out.startswith("revision 2 is in force")
    assert picket("break-glass", "end", "1").code == 1
    (ended,) = picket("break-glass", "list", "--all", "-o", "json").json["grants"]
    assert (ended["ticket"], ended["http"], ended["ended_ms"] is not None) == ("OPS-1", [{"method": "GET", "path": ""}], True)
    for wrong in (["--for", "2w"], ["--for", "0m"]):
        assert picket(*given, *wrong).code == 2
    for too_long in (["--for", "48h"], ["--for", "2d"]):
        assert picket(*given, *too_long).code == 1
    assert picket("break-glass", "grant", "frontend", "pay", "--for", "1m", "-m", "x").code == 2
    assert picket("break-glass", "grant", "front end", "pay:443", "--for", "1m", "-m", "x").code == 1
    assert picket("break-glass", "grant", "frontend", "nobody:443", "--for", "1m", "-m", "x").code == 1


def test_a_source_that_nobody_knows_is_taken_with_a_word(plane: Plane, picket: Picket) -> None:
    """It may be to come, as in the pipeline of a new service; or it is a slip, which matters most at night."""
    asked = ("ask", "fronted", "pay:443", "--reason", "it is new")
    note = "(there is no default/fronted yet; did you mean default/frontend?)"
    assert [" ".join(picket(*asked).out.split()).endswith(note) for _ in range(2)] == [True, True]
    assert "there is no" not in picket("ask", "frontend", "pay:443", "--reason", "it is needed").out
    assert "there is no" not in picket("ask", "ip:10.0.0.0/8", "pay:443", "--reason", "from the office").out
    granted = picket("break-glass", "grant", "fronted", "pay:443", "--for", "1m", "--reason", "the shop is down")
    assert " ".join(granted.out.split()).endswith(note)


def test_a_host_outside_that_nobody_declared_is_allowed_for_a_time(plane: Plane, picket: Picket) -> None:
    why = ("--for", "30m", "--reason", "the bank moved")
    refused = picket("break-glass", "grant", "frontend", "bank.example:443", *why)
    assert (refused.code, "write external/bank.example" in " ".join(refused.err.split())) == (1, True)
    told = picket("break-glass", "grant", "frontend", "external/Bank.example:443", *why).out
    assert told.startswith("exception 1: frontend -> external/bank.example:443 is allowed, revision 1")
    assert "bank.example" in picket("policy", "show", "-o", "json").out
    assert picket("break-glass", "end", "1").out.startswith("revision 2 is in force")
    assert "bank.example" not in picket("policy", "show", "-o", "json").out


def test_a_replay_says_what_a_list_would_have_denied(plane: Plane, picket: Picket) -> None:
    plane.now_ms = 900
    plane.learn(PAY, REDIS, count=4)
    picket("proposals")
    shown = picket("replay").out
    assert shown.startswith("in the last 7 days, the list in force would have denied 8 of 8 uses")
    assert "shop/redis:6379" in shown
    assert picket("replay", "--proposal", "1").out == "in the last 7 days, proposal 1 approved would have denied 0 of 8 uses\n"
    picket("approve", "1", "--rows", "2")
    assert picket("replay", "--revision", "1", "-o", "json").json["denied"] == 4
    assert picket("replay", "--revision", "1", "--proposal", "1").code == 2
    assert picket("replay", "--revision", "9").code == 1
    assert picket("replay", "--proposal", "1", "--rows", "2", "-o", "json").json["denied"] == 4
    assert picket("replay", "--rows", "2").code == picket("replay", "--prune").code == 2


def test_the_images_that_used_an_edge_are_in_its_evidence(plane: Plane, picket: Picket) -> None:
    plane.learn(PAY, image="sha256:" + "0" * 64, seen_ms=1_000)
    plane.learn(REDIS, image="sha256:" + "2" * 64)
    plane.learn(GET_CART, image="sha256:" + "1" * 64, seen_ms=500_000)
    picket("proposals")
    shown = " ".join(picket("proposals", "1", "--evidence").out.split())
    assert f"by image sha256:{'0' * 64}, as its cluster or its sidecar says" in shown
    assert shown.count("none that ran before used it") == 1
    assert f"came with image sha256:{'1' * 64}" in shown


def test_files_are_replayed_before_they_are_applied(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    plane.now_ms = 900
    plane.learn(PAY, REDIS, count=4)
    picket("proposals")
    picket("approve", "1")
    picket("policy", "export", "--into", str(tmp_path))
    assert picket("replay", "--file", str(tmp_path)).out == (
        f"in the last 7 days, {tmp_path} applied would have denied 0 of 8 uses\n"
    )  # fmt: skip
    (file,) = tmp_path.rglob("*pay*.yaml")
    file.write_text(file.read_text().replace("443", "444"))
    told = picket("replay", "--file", str(file))
    assert (told.code, "would have denied 4 of 8 uses" in told.out, "shop/pay:443" in told.out) == (0, True, True)
    assert picket("replay", "--file", str(tmp_path / "missing.yaml")).code == 2
    assert plane.store.active_revision() == 1


def test_parity_says_where_sidecars_did_something_else(plane: Plane, picket: Picket) -> None:
    plane.now_ms = 10 * 3_600_000
    plane.learn(PAY, count=4, seen_ms=5 * 3_600_000)
    clean = picket("parity")
    assert (clean.code, clean.out) == (
        0, "in the last 7 days, sidecars did with 4 of 4 uses what the policy says, and nothing else\n",
    )  # fmt: skip
    plane.violate(REDIS, seen_ms=6 * 3_600_000)
    wrong = picket("parity")
    assert (wrong.code, wrong.err) == (1, "")
    row = ["shop/cart", "→", "shop/redis:6379", "tcp", "destination", "denied deny:shop/redis@r1", "allowed", "mode learn", "0"]
    assert set(row) <= {*lines(wrong.out)[2]}
    assert picket("parity", "-o", "json").json["disagreed"] == 1


def test_a_preview_says_what_would_be_denied_and_reached(plane: Plane, picket: Picket) -> None:
    plane.now_ms = 900
    plane.learn(PAY, REDIS)
    picket("proposals")
    shown = picket("preview").out
    assert shown.startswith("with what is approved now, enforcement would deny 2 of the 2 edges used in the last 7 days")
    shown = picket("preview", "1", "--rows", "2").out
    assert "with proposal 1 approved, enforcement would deny 1 of the 2 edges" in shown
    assert "frontend" in shown
    assert "makes shop/redis reachable from 1 more workload" in shown
    assert "would deny none of the 2 edges" in picket("preview", "1").out
    assert picket("preview", "1", "-o", "json").json["denied"] == []
    assert picket("preview", "--rows", "1").code == 2
    assert picket("preview", "9").code == 1


def test_violations_are_shown_with_their_total(plane: Plane, picket: Picket) -> None:
    assert picket("violations").out == "no violations\n"
    plane.violate(PAY._replace(path="/charge"), count=7)
    plane.violate(REDIS._replace(source="ip:10.9.9.9"), Verdict.WOULD_DENY)
    shown = picket("violations")
    assert lines(shown.out)[0] == ["8 violations in all; 2 rows"]
    row = next(line for line in lines(shown.out) if "shop/pay:443" in line)
    assert row[-4:] == ["POST /charge", "deny:shop/pay@r1", "denied", "7"]
    assert [item["id"] for item in picket("violations", "--verdict", "would-deny", "-o", "json").json["violations"]] == [2]
    assert picket("violations", "--source", "nobody").out == "no violations match\n"
    assert picket("violations", "--destination", "pay", "--port", "443", "--text", "charge", "-o", "json").json["last_id"] == 1
    assert picket("violations", "--since", "5m").out == "no violations match\n"
    assert picket("violations", "--since", "5 minutes").code == 2


def test_what_came_over_the_wire_does_not_drive_the_terminal(plane: Plane, picket: Picket) -> None:
    """An attacker chooses paths and hosts; escapes and text that reverses its direction are written out."""
    plane.violate(PAY._replace(path="/\x1b]0;owned\x07\u202e\x9b31m"))
    for arguments in (["violations"], ["violations", "-o", "json"]):
        out = picket(*arguments).out
        assert out.replace("\n", "").replace("→", "").isprintable()
        assert "owned" in out


def test_a_request_is_explained(learned: Plane, picket: Picket) -> None:
    """By the same words as in the console's box."""
    picket("proposals")
    picket("approve", "1")
    picket("mode", "shop/cart", "enforce")
    told = picket("explain", "frontend", "cart:7070", "POST", "/shop.Cart/Get")
    assert told.out.splitlines()[0] == "frontend -> shop/cart:7070 POST /shop.Cart/Get: allowed"
    assert "the sidecar of the destination decides: a rule of shop/cart holds it" in told.out
    denied = picket("explain", "ip:10.9.9.9", "cart")
    assert "ip:10.9.9.9 -> shop/cart:7070: denied as deny:shop/cart@r1" in denied.out
    found = picket("explain", "shop/pay", "cart", "-o", "json").json
    assert (found["verdict"], found["decided_by"], found["port"], found["mode"]) == ("denied", "source", 7070, "enforce")
    wrong = picket("explain", "ip:x", "cart")
    assert (wrong.code, "ip:ADDRESS" in wrong.err) == (1, True)


def test_sidecars_are_shown_with_what_they_refused(plane: Plane, picket: Picket) -> None:
    assert picket("sidecars").out.startswith("no sidecar was ever here")
    plane.sidecar(SidecarRow("shop/cart", "cart-0", True, plane.now_ms, "v1", "v1", 3, envoy_version="1.40.0"))
    refused = SidecarRow(
        "default/frontend", "front-0", True, 1, "v2", "v1", nack_type="LDS", nack_message="no such filter", nack_ms=1
    )
    plane.sidecar(refused)
    shown = picket("sidecars")
    assert "2 sidecars, 1 with all that they were sent" in shown.out
    assert ["shop/cart", "cart-0 (Envoy 1.40.0)", "ack", "3", "-", "-", "0", "-"] in lines(shown.out)
    assert "frontend (front-0) refused LDS" in shown.out
    assert "no such filter" in shown.out
    assert [item["state"] for item in picket("sidecars", "-o", "json").json["sidecars"]] == ["nack", "ack"]


def test_what_should_have_a_sidecar_and_has_none_is_shown_with_the_reason(plane: Plane, picket: Picket) -> None:
    assert picket("sidecars", "missing").out == "nothing that should have a sidecar is without one\n"
    plane.gaps = Gaps(
        (Unmeshed("shop", "cart-1", "Deployment/cart", "it was there before", "shop/cart"),), ("shop/default: shared",)
    )
    shown = picket("sidecars", "missing")
    assert ["shop", "cart-1", "Deployment/cart", "it was there before"] in lines(shown.out)
    assert shown.out.endswith("shop/default: shared\n")
    assert picket("sidecars", "missing", "-o", "json").json["notes"] == ["shop/default: shared"]


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")
def test_what_a_sidecar_is_sent_is_shown(plane: Plane, picket: Picket) -> None:
    shown = picket("sidecars", "config", "cart", "--type", "sds")
    assert shown.out.startswith("shop/cart: revision 0, version ")
    assert '"trustedCa"' in shown.out
    found = picket("sidecars", "config", "shop/cart", "-o", "json").json
    assert found["workload"] == "shop/cart"
    assert picket("sidecars", "config", "nobody").code == 1


def test_the_audit_log_names_who_did_what(learned: Plane, picket: Picket) -> None:
    assert picket("audit").out == "nothing was done yet\n"
    picket("proposals")
    picket("approve", "1", "-m", "fine")
    assert "proposal:approve" in picket("audit").out
    (event,) = picket("audit", "-o", "json").json["events"]
    assert event["detail"]["comment"] == "fine"


def test_the_audit_log_is_in_words(plane: Plane, picket: Picket) -> None:
    with plane.store.transaction() as transaction:
        transaction.add_audit(
            "ann", "authority:prepare", "b", '{"roots": ["a", "b"], "forced": false, "rows": [1, 2]}', plane.now_ms
        )
    assert "roots a, b, forced no, rows 1-2" in picket("audit").out


def test_the_audit_log_is_verified_here_and_from_a_file(learned: Plane, picket: Picket, tmp_path: Path) -> None:
    assert picket("audit", "verify").out == "the audit log is intact: 0 events\n"
    assert picket("audit", "head").code == 1
    picket("mode", "cart", "audit")
    head = picket("audit", "head").out.strip()
    picket("mode", "cart", "enforce", "-m", "caf\u00e9")
    assert picket("audit", "verify", "--head", head).out.startswith("the audit log is intact: 2 events; the head is 2:")
    file = tmp_path / "audit.jsonl"
    file.write_text(picket("audit", "export").out)
    offline = ("audit", "verify", "--file", str(file), "--data", str(tmp_path / "nobody"), "--server", "unix:/nobody")
    assert picket(*offline, "--head", head, "-o", "json").json["events"] == 2
    file.write_text(file.read_text().replace("enforce", "learn", 1))
    ended = picket(*offline)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("picket: the audit log is not as it was written, from event 2 on: ")
    file.write_text("no log\n")
    assert "audit.jsonl:1: not a line" in picket(*offline).err
    assert picket("audit", "verify", "--head", "1").code == 1
    assert picket(*offline, "--head", "1").code == 2


def test_a_log_that_somebody_changed_in_the_database_is_found(learned: Plane, picket: Picket) -> None:
    picket("mode", "cart", "audit")
    picket("mode", "cart", "enforce")
    with learned.store.transaction() as transaction:
        transaction._connection.exec_driver_sql("UPDATE audit SET actor = 'somebody-else' WHERE id = 1")
    ended = picket("audit", "verify", "-o", "json")
    assert (ended.code, ended.json["intact"], ended.json["broken_id"]) == (1, False, 1)
    assert "from event 1 on: it was changed" in picket("audit", "head").err


def test_what_the_control_plane_refuses_is_one_line_with_a_remedy(learned: Plane, picket: Picket) -> None:
    picket("proposals")
    picket("approve", "1")
    result = picket("approve", "1")
    assert (result.code, result.out) == (1, "")
    assert result.err == "picket: proposal 1 is approved, not open; list proposals, and review the open one\n"


def test_a_rollout_begins_is_shown_and_taken_back(plane: Plane, picket: Picket) -> None:
    assert picket("rollout", "list").out == "no rollout is under way\n"
    assert picket("rollout", "start", "cart").code == 1, "no sidecar of it is connected"
    plane.sidecar(SidecarRow("shop/cart", "cart-0", True))
    begun = picket("rollout", "start", "cart", "--share", "25", "--hold", "5m", "--max-denials", "2", "-m", "carefully")
    assert begun.out == "rollout 1: shop/cart enforces in cart-0, and goes on while it holds\n"
    shown = picket("rollout", "list").out
    assert "cart-0" in shown
    assert "waits for sidecars to take it" in shown
    assert picket("rollout", "rollback", "1").out == "shop/cart is back in mode learn\n"
    assert picket("rollout", "rollback", "1").code == 1
    (ended,) = picket("rollout", "list", "--all", "-o", "json").json["rollouts"]
    assert (ended["status"], ended["share_percent"], ended["hold_seconds"], ended["max_denials"]) == ("rolled-back", 25, 300, 2)
    assert picket("rollout", "start", "cart", "--share", "100").code == 2
    assert picket("rollout", "start", "nobody").code == 1


def test_a_violation_is_shown_proposed_and_allowed(plane: Plane, picket: Picket) -> None:
    plane.violate(PAY._replace(path="/charge"), count=3)
    shown = picket("violations", "show", "1").out
    assert "default/frontend -> shop/pay:443  http POST /charge" in shown
    assert "picket violations allow 1 --for 1h --reason TEXT" in shown
    told = picket("violations", "ask", "1", "--reason", "new checkout").out
    assert told == "default/frontend -> shop/pay:443 awaits review\n"
    assert plane.store.asks(9)[0].rule.http[0].path == "/charge"
    assert "is allowed; it ends" in picket("violations", "allow", "1", "--for", "1h", "-m", "now", "--any-request").out
    assert plane.store.grants(9, active=True)[0].rule.http == ()
    assert picket("violations", "show", "7").code == 1


def test_violations_are_asked_by_a_line(plane: Plane, picket: Picket) -> None:
    plane.violate(PAY._replace(path="/charge"), count=3)
    plane.violate(REDIS)
    found = picket("violations", "--query", "from:frontend path:/ch*", "-o", "json").json["violations"]
    assert [item["id"] for item in found] == [1]
    assert "3 violations in all; 1 row" in picket("violations", "-q", "from:frontend").out
    refused = picket("violations", "-q", "from:frontend port:x")
    assert (refused.code, "character 20: x is no port" in refused.err) == (1, True)


def test_incidents_are_listed_shown_and_handled(plane: Plane, picket: Picket) -> None:
    assert picket("incidents", "list").out == "no open incidents\n"
    plane.violate(PAY, seen_ms=plane.now_ms - 5_000)
    Incidents(plane.store, plane.publisher, lambda: plane.now_ms).look()
    assert "frontend tries what was never allowed" in picket("incidents", "list").out
    assert picket("incidents", "assign", "1", "ann").out == "incident 1: assign\n"
    assert picket("incidents", "note", "1", "asked the team").code == 0
    assert picket("incidents", "close", "1", "--reason", "expected").code == 0
    shown = picket("incidents", "show", "1").out
    for text in ("incident 1: other (closed by", "note asked the team", "reaches 0 services", "--query 'from:default/frontend"):
        assert text in shown
    assert [item["status"] for item in picket("incidents", "list", "--all", "-o", "json").json["incidents"]] == ["closed"]
    assert picket("incidents", "reopen", "1", "--reason", "it goes on").code == 0
    assert picket("incidents", "close", "9", "--reason", "x").code == 1


def test_violations_are_written_to_a_file(plane: Plane, picket: Picket, tmp_path: Path) -> None:
    plane.violate(PAY)
    plane.violate(REDIS)
    file = tmp_path / "blocked.csv"
    assert picket("violations", "export", "--format", "csv", "-q", "port:443", "--file", str(file)).code == 0
    assert len(file.read_text().splitlines()) == 2
    assert picket("violations", "export", "-q", "port:x", "--file", str(tmp_path / "none")).code == 1
    assert not (tmp_path / "none").exists()


def test_policy_objects_are_listed_and_those_that_differ(plane: Plane, picket: Picket) -> None:
    assert "the cluster has no TrafficPolicy object" in picket("policy", "objects").out
    plane.objects = (
        Standing("shop/cart", "shop/cart", own=True, state=State.CONFLICT, revision=3, reason="kubectl-edit changed it"),
        Standing("shop/pay", "shop/pay", own=False, state=State.IN_FORCE, revision=2, reason=""),
    )
    shown = lines(picket("policy", "objects").out)
    assert ["shop/cart", "shop/cart", "Picket", "conflict", "3", "kubectl-edit changed it"] in shown
    assert ["shop/pay", "shop/pay", "the cluster", "in-force", "2"] in shown
    assert [item["object"] for item in picket("policy", "objects", "--differing", "-o", "json").json["objects"]] == ["shop/cart"]
    plane.objects = plane.objects[1:]
    assert "every TrafficPolicy object is what is in force" in picket("policy", "objects", "--differing").out
