"""Violations as files of other programs."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Verdict, Violation
from controlplane.violations.exports import COLUMNS, Format, lines

EDGE = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/shop.Cart/Get")
DENIED = Violation(
    7, EDGE, Verdict.DENIED, "shop/cart", "in", 3, 1_000, 2_000, "cart.shop", "", "10.0.0.1", "deny:shop/cart@r7/egress", "rbac"
)  # fmt: skip


def written(violation: Violation, form: Format) -> str:
    return b"".join(lines([violation], form, "1.2.3")).decode()


def test_csv_has_a_header_and_a_line_each() -> None:
    header, row = csv.reader(io.StringIO(written(DENIED, Format.CSV), newline=""))
    assert tuple(header) == COLUMNS
    assert row[:7] == ["7", "1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z", "denied", "shop/web", "shop/cart", "7070"]


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(_TEXTS, _TEXTS)
def test_no_cell_is_a_formula_and_none_is_lost(path: str, host: str) -> None:
    violation = Violation(7, EDGE._replace(path=path), Verdict.DENIED, "x", "in", 1, 1, 1, host, "", "", "", "")
    _, row = csv.reader(io.StringIO(written(violation, Format.CSV), newline=""))
    found = dict(zip(COLUMNS, row, strict=True))
    for cell, text in ((found["path"], path), (found["host"], host)):
        assert cell in {text, f"'{text}"}
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_ndjson_is_an_object_a_line() -> None:
    (line,) = written(DENIED, Format.NDJSON).splitlines()
    found = json.loads(line)
    assert (found["source"], found["path"], found["count"], found["last_seen_ms"]) == ("shop/web", "/shop.Cart/Get", 3, 2_000)


def test_a_denial_is_a_refused_and_blocked_ocsf_event() -> None:
    found = json.loads(written(DENIED, Format.OCSF))
    assert (found["category_uid"], found["class_uid"], found["activity_id"], found["type_uid"]) == (4, 4001, 5, 400_105)
    assert (found["action_id"], found["disposition_id"], found["severity_id"], found["count"]) == (2, 2, 3, 3)
    assert (found["time"], found["start_time"], found["end_time"]) == (2_000, 1_000, 2_000)
    assert found["src_endpoint"] == {"svc_name": "shop/web", "ip": "10.0.0.1"}
    assert found["dst_endpoint"] == {"svc_name": "shop/cart", "port": 7070, "hostname": "cart.shop"}
    assert found["policy"] == {"name": "deny:shop/cart", "uid": "deny:shop/cart@r7/egress", "version": "7"}
    assert found["metadata"]["product"] == {"name": "Picket", "vendor_name": "Picket", "version": "1.2.3"}


def test_what_only_would_be_denied_is_traffic_that_was_detected() -> None:
    seen = Violation(8, EDGE._replace(source="ip:10.9.9.9"), Verdict.WOULD_DENY, "x", "out", 1, 5, 5, "", "", "", "", "")
    found = json.loads(written(seen, Format.OCSF))
    assert (found["activity_id"], found["action_id"], found["disposition_id"]) == (6, 1, 15)
    assert found["src_endpoint"] == {"ip": "10.9.9.9"}
    assert found["connection_info"]["direction"] == "Outbound"
    assert "policy" not in found
