"""Lines as a real Envoy 1.40 wrote them, to be varied by tests."""

from __future__ import annotations

import json

_PLACE: dict[str, object] = {
    "dir": "in", "dur": 2, "flags": "-", "id": 1, "local": "127.77.0.1:8080", "remote": "10.1.2.3", "peer": None, "sni": None,
    "svc": "shop/cart", "t": "1795573722028",
}  # fmt: skip
_HTTP: dict[str, object] = _PLACE | {
    "k": "http", "type": "DownstreamEnd", "chain": "8080/mtls/http", "cluster": "app|8080", "code": 200, "ctype": None,
    "detail": "via_upstream", "host": "cart", "method": "GET", "path": "/x/1", "port": 8080, "proto": "HTTP/1.1", "route": None,
    "peer": "spiffe://picket.test/ns/shop/sa/web", "shadow": None, "shadow_result": None,
}  # fmt: skip
_TCP: dict[str, object] = _PLACE | {
    "k": "tcp", "type": "TcpConnectionEnd", "chain": "6379/mtls/tcp", "cluster": "app|6379", "fail": None, "port": 6379,
    "local": "127.77.0.1:6379", "peer": "spiffe://picket.test/ns/shop/sa/web", "shadow": None, "shadow_result": None, "term": None,
}  # fmt: skip
_CONN: dict[str, object] = _PLACE | {"k": "conn", "type": "NotSet", "chain": "8080/mtls/http", "fail": None, "port": 0}
_OUT: dict[str, object] = {"dir": "out", "svc": "", "port": 0, "peer": None, "remote": "127.0.0.1", "local": "10.9.9.9:443"}

_OPENSSL = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:"
NAME_NOT_LISTED = (
    f"{_OPENSSL}CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,"
    "_certificate_SANs_are_[spiffe://picket.test/ns/shop/sa/evil]:TLS_error_end"
)
FOREIGN = (
    f"{_OPENSSL}CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:"
    "_certificate_verification_error_at_depth_0:_unable_to_get_local_issuer_certificate:TLS_error_end"
)
NO_CERTIFICATE = (
    "TLS_error:|268435648:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:"
    "peer_did_not_provide_required_client_certificate:TLS_error_end"
)
NOT_TLS = "TLS_error|error:100000f7:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
ALERT = "TLS_error:|268436502:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN:TLS_error_end"


def http(**changes: object) -> bytes:
    """A request, allowed unless changed."""
    return _line(_HTTP | changes)


def http_out(**changes: object) -> bytes:
    """A request that the application sent."""
    return _line(_HTTP | _OUT | {"local": "10.9.9.9:80", "chain": "egress/80", "cluster": "passthrough"} | changes)


def tcp(**changes: object) -> bytes:
    """A connection, allowed unless changed."""
    return _line(_TCP | changes)


def tcp_out(**changes: object) -> bytes:
    """A connection that the application opened."""
    return _line(_TCP | _OUT | {"chain": "unknown", "cluster": "passthrough"} | changes)


def conn(**changes: object) -> bytes:
    """The listener's line of a connection."""
    return _line(_CONN | changes)


def _line(keys: dict[str, object]) -> bytes:
    return json.dumps(keys, sort_keys=True, separators=(",", ":")).encode() + b"\n"
