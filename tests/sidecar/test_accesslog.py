"""What lines of Envoy's access log mean. `test_accesslog_envoy` has a real Envoy write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds.chains import LOG_INTERVAL_SECONDS
from sidecar import accesslog
from sidecar.accesslog import ALLOWED, DENIED, INBOUND, OUTBOUND, WOULD_DENY, UnreadableError, Use, key_of, read_lines
from tests.sidecar.envoylines import (
    ALERT,
    FOREIGN,
    NAME_NOT_LISTED,
    NO_CERTIFICATE,
    NOT_TLS,
    conn,
    http,
    http_out,
    tcp,
    tcp_out,
)

DENY = "deny:shop/cart@r7"
WEB = "spiffe://picket.test/ns/shop/sa/web"
EVIL = "spiffe://picket.test/ns/shop/sa/evil"


def use(line: bytes) -> Use | None:
    (read,), lost = read_lines(line)
    assert lost == 0
    key = key_of(read)
    return None if key is None else Use(*key)


def sure(line: bytes) -> Use:
    found = use(line)
    assert found is not None
    return found


def test_an_allowed_request_is_an_edge_without_its_host() -> None:
    assert use(http(path="/cart/17", host="cart.shop")) == Use(
        INBOUND, ALLOWED, WEB, "10.1.2.3", "shop/cart", "", 8080, "http", "GET", "/cart/17", "", "", "", ""
    )


def test_a_grpc_call_keeps_its_path_which_names_a_method() -> None:
    found = sure(http(method="POST", path="/shop.Cart/Add", ctype="application/grpc+proto"))
    assert (found.protocol, found.method, found.path) == ("grpc", "POST", "/shop.Cart/Add")


@pytest.mark.parametrize("deny_id", [DENY, "deny:shop/cart@r7/quarantine"])
def test_a_request_that_the_allow_list_denied_keeps_everything(deny_id: str) -> None:
    detail = f"rbac_access_denied_matched_policy[{deny_id}]"
    found = sure(http(method="POST", path="/admin", detail=detail, code=403, peer=EVIL))
    assert found == Use(
        INBOUND, DENIED, EVIL, "10.1.2.3", "shop/cart", "", 8080, "http", "POST", "/admin", "cart", "", deny_id, detail
    )


def test_a_denied_grpc_call_is_known_by_its_details_and_not_by_its_status() -> None:
    found = sure(http(code=200, ctype="application/grpc", detail=f"rbac_access_denied_matched_policy[{DENY}]"))
    assert (found.verdict, found.protocol) == (DENIED, "grpc")


def test_a_denial_without_a_name_is_a_denial() -> None:
    found = sure(http(detail="rbac_access_denied_matched_policy[none]"))
    assert (found.verdict, found.deny_id, found.reason) == (DENIED, "", "rbac_access_denied_matched_policy[none]")


@pytest.mark.parametrize("line", [http, tcp])
def test_what_only_the_shadow_list_denied_would_be_denied(line: Callable[..., bytes]) -> None:
    found = sure(line(shadow=DENY, shadow_result="denied"))
    assert (found.verdict, found.deny_id) == (WOULD_DENY, DENY)
    assert sure(line(shadow="allow", shadow_result="allowed")).verdict == ALLOWED


def test_an_enforced_denial_outranks_a_shadow_one() -> None:
    found = sure(tcp(shadow=DENY, shadow_result="denied", term="rbac_access_denied_matched_policy[deny:shop/cart@r7/quarantine]"))
    assert (found.verdict, found.deny_id) == (DENIED, "deny:shop/cart@r7/quarantine")


@pytest.mark.parametrize("detail", ["http1.codec_error", "missing_host_header", "path_normalization_failed"])
def test_a_request_that_envoy_could_not_read_used_no_edge(detail: str) -> None:
    assert use(http(cluster=None, detail=detail, code=400)) is None
    assert use(http(cluster=None, detail=detail, code=400, method=None, path=None, host=None)) is None


def test_a_request_whose_upstream_was_taken_away_was_denied() -> None:
    """On a connection from before a revocation: its old chain is there for as long as it drains, and names no denial."""
    found = sure(http_out(chain="shop/cart/80/http", cluster=None, detail="cluster_not_found", code=503, flags="NC"))
    assert (found.direction, found.verdict, found.deny_id, found.reason) == (OUTBOUND, DENIED, "", "cluster_not_found")
    assert (found.method, found.path, found.dialled_address, found.port) == ("GET", "/x/1", "10.9.9.9", 80)
    assert use(http(cluster=None, detail="cluster_not_found", code=503, flags="NC")) is None


@pytest.mark.parametrize(
    ("method", "path", "cluster", "detail"),
    [
        ("CONNECT", None, None, "route_not_found"),
        ("OPTIONS", "*", None, "absolute_path_rejected"),
        ("GET", "/x", "app|8080", "upgrade_failed"),
    ],
)
def test_what_envoy_never_passes_on_used_no_edge_and_was_denied(
    method: str, path: str | None, cluster: str | None, detail: str
) -> None:
    found = sure(http(method=method, path=path, cluster=cluster, detail=detail, code=404))
    assert (found.direction, found.verdict, found.deny_id, found.reason) == (INBOUND, DENIED, "", detail)
    assert (found.peer_id, found.method, found.path) == (WEB, method, path or "")
    assert sure(http_out(method=method, path=path, cluster=cluster, detail=detail, code=404)).verdict == DENIED


def test_a_request_whose_application_is_down_used_its_edge() -> None:
    assert sure(http(code=503, flags="UF", detail="upstream_reset_before_response_started")).verdict == ALLOWED


def test_a_long_path_is_cut() -> None:
    assert len(sure(http(path="/" + "x" * 5000, detail=f"rbac_access_denied_matched_policy[{DENY}]")).path) == 1024


def test_an_allowed_connection_is_an_edge() -> None:
    assert use(tcp()) == Use(INBOUND, ALLOWED, WEB, "10.1.2.3", "shop/cart", "", 6379, "tcp", "", "", "", "", "", "")


def test_a_connection_with_the_applications_own_tls_is_tls() -> None:
    assert sure(tcp(chain="6379/plaintext/tcp", sni="cart.shop", peer=None)).protocol == "tls"


def test_a_probe_is_known_by_its_name_also_where_it_came_through() -> None:
    """So that the control plane does not learn it; no other name of an allowed peer is told."""
    name = f"{'0af9' * 8}.probe.picket.invalid"
    assert sure(http(sni=name)).server_name == name
    assert sure(tcp(sni=name)).server_name == name
    assert sure(http(sni="cart.shop")).server_name == ""


def test_a_port_that_nobody_declared_is_the_one_that_was_called() -> None:
    found = sure(tcp(chain="undeclared", cluster="passthrough", port=0, peer=None, local="[fd00::7]:9999"))
    assert (found.port, found.verdict) == (9999, ALLOWED)


def test_the_inspectors_complaint_about_plaintext_is_no_failed_handshake() -> None:
    assert sure(tcp(chain="6379/plaintext/tcp", peer=None, fail=NOT_TLS)).verdict == ALLOWED


def test_plaintext_that_is_refused_when_accepted_is_denied_under_the_chains_name() -> None:
    found = sure(tcp(chain=DENY, cluster="blackhole", port=0, peer=None, fail=NOT_TLS, flags="UH"))
    assert found == Use(INBOUND, DENIED, "", "10.1.2.3", "shop/cart", "", 6379, "tcp", "", "", "", "", DENY, "no mesh TLS")
    assert use(conn(chain=DENY, fail=NOT_TLS, flags="UH")) is None, "the tcp line tells it already"


def test_a_peer_that_is_not_on_the_handshake_list_is_denied_by_its_proven_name() -> None:
    found = sure(tcp(cluster=None, peer=EVIL, fail=NAME_NOT_LISTED))
    assert (found.verdict, found.peer_id, found.port, found.protocol, found.deny_id) == (DENIED, EVIL, 6379, "tls", "")
    assert found.reason.startswith("CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher")
    assert use(conn(chain="6379/mtls/tcp", peer=EVIL, fail=NAME_NOT_LISTED)) is None, "the tcp line tells it already"


def test_the_older_wording_of_a_name_that_is_not_listed_is_known_too() -> None:
    fail = NAME_NOT_LISTED.replace("SAN_matcher,", "verify_SAN_list,")
    assert sure(tcp(cluster=None, peer=EVIL, fail=fail)).peer_id == EVIL


def test_a_name_in_a_foreign_certificate_is_a_claim_and_not_an_identity() -> None:
    """Otherwise anybody could put another workload's name into the violation log."""
    found = sure(tcp(cluster=None, peer=WEB, fail=FOREIGN))
    assert (found.verdict, found.peer_id) == (DENIED, "")
    assert found.reason.endswith(f"; it called itself {WEB}")


def test_a_peer_without_a_certificate_is_denied() -> None:
    found = sure(tcp(cluster=None, peer=None, fail=NO_CERTIFICATE))
    assert (found.verdict, found.peer_id, found.peer_address) == (DENIED, "", "10.1.2.3")
    assert found.reason.startswith("PEER_DID_NOT_RETURN_A_CERTIFICATE")


@pytest.mark.parametrize(("peer", "fail"), [(None, NO_CERTIFICATE), (WEB, FOREIGN)])
def test_a_handshake_that_failed_before_http_shows_in_the_listeners_line(peer: str | None, fail: str) -> None:
    found = sure(conn(peer=peer, fail=fail))
    assert (found.verdict, found.port, found.service, found.peer_id) == (DENIED, 8080, "shop/cart", "")


def test_who_hangs_up_or_does_not_trust_this_side_was_not_denied() -> None:
    assert use(conn(chain=None, id=0)) is None, "a port scan"
    assert use(tcp(cluster=None, peer=None)) is None, "hung up within the handshake"
    assert use(tcp(cluster=None, peer=None, fail=ALERT)) is None, "the client refused the server"
    assert use(conn(peer=None, fail=ALERT)) is None


def test_a_tls_error_after_the_handshake_denies_nobody() -> None:
    fail = "TLS_error:|268435703:SSL_routines:OPENSSL_internal:DECRYPTION_FAILED_OR_BAD_RECORD_MAC:TLS_error_end"
    assert use(conn(peer=WEB, fail=fail)) is None
    assert sure(tcp(peer=WEB, fail=fail)).verdict == ALLOWED


def test_the_listeners_line_of_a_good_connection_says_nothing() -> None:
    assert use(conn(peer=WEB)) is None


def test_what_passed_to_another_sidecar_is_its_to_report() -> None:
    assert use(http_out(cluster="mesh|shop/api|80", chain="shop/api/80/http")) is None
    assert use(tcp_out(cluster="mesh|shop/db|5432", chain="shop/db/5432")) is None


def test_a_host_outside_the_mesh_is_reported_by_the_source() -> None:
    found = sure(tcp_out(cluster="external|external/api.test|443", chain="external/api.test/443", sni="api.test"))
    assert found == Use(OUTBOUND, ALLOWED, "", "", "", "10.9.9.9", 443, "tls", "", "", "", "api.test", "", "")
    request = sure(http_out(host="api.test", path="/private/17"))
    assert (request.dialled_address, request.port, request.host, request.path) == ("10.9.9.9", 80, "api.test", "/private/17")


def test_an_ipv6_address_loses_its_brackets() -> None:
    assert sure(tcp_out(local="[2001:db8::1]:443")).dialled_address == "2001:db8::1"


def test_unknown_hosts_in_audit_would_be_denied_under_the_chains_or_the_routes_name() -> None:
    name = "deny:shop/cart@r3/egress"
    by_chain = sure(tcp_out(chain=f"would-{name}"))
    by_route = sure(http_out(route=f"would-{name}", host="new.test", path="/p"))
    assert [(u.verdict, u.deny_id) for u in (by_chain, by_route)] == [(WOULD_DENY, name)] * 2


def test_upstreams_that_are_not_approved_are_denied_under_the_chains_or_the_routes_name() -> None:
    name = "deny:shop/cart@r3/egress"
    by_chain = sure(tcp_out(chain=name, cluster="blackhole", flags="UH"))
    by_route = sure(http_out(route=name, cluster=None, code=403, detail="direct_response", host="new.test", path="/p"))
    assert [(u.direction, u.verdict, u.deny_id) for u in (by_chain, by_route)] == [(OUTBOUND, DENIED, name)] * 2
    assert (by_route.path, by_route.host, by_route.reason) == ("/p", "new.test", "direct_response")


@pytest.mark.parametrize("local", ["/run/a.sock", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0.1:x", "10.0.0.1:²", ""])
def test_a_flow_without_a_port_is_unreadable(local: str) -> None:
    (line,), _ = read_lines(tcp(chain=DENY, port=0, local=local))
    with pytest.raises(UnreadableError):
        key_of(line)


def test_unreadable_lines_are_counted_and_cost_no_others() -> None:
    lines, lost = read_lines(http(id=1) + b"garbage\n" + b'{"t":1}\n' + b"\xff\xfe\n\n" + tcp(id=2))
    assert ([line.id for line in lines], lost) == ([1, 2], 3)


def test_the_line_behind_one_that_a_crash_cut_off_is_read() -> None:
    lines, lost = read_lines(http(id=1)[:100] + http(id=2) + http(id=3))
    assert ([line.id for line in lines], lost) == ([2, 3], 1)


def test_a_value_cannot_pass_for_the_beginning_of_a_line() -> None:
    path = '/{"chain":' + http(id=9).decode()
    lines, lost = read_lines(b"x" + http(id=1, path=path) + b"broken" + b'{"chain":1}\n')
    assert ([line.id for line in lines], lost) == ([1], 2)


def test_periods_are_those_that_the_control_plane_configures() -> None:
    assert accesslog.PERIOD_MS == LOG_INTERVAL_SECONDS * 1000


@given(st.binary(max_size=2000))
def test_any_bytes_are_survived(chunk: bytes) -> None:
    lines, lost = read_lines(chunk)
    assert len(lines) + lost >= sum(bool(piece.strip()) for piece in chunk.split(b"\n"))
