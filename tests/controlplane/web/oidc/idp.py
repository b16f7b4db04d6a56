"""A small identity provider on loopback: real HTTP, real signatures, and what a bad or broken one would do instead."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.harness.serving import serving

CLIENT, SECRET = "picket", "the-clients-own-secret"


@dataclass
class Idp:
    """What it knows, and what it is to say. ``claims`` are put over the right ones, those that are ``None`` are left out."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    signs_with: RSAKey | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize", "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys", "end_session_endpoint": f"{self.issuer}/out",
        } | self.metadata  # fmt: skip

    def authorize(self, query: dict[str, str]) -> str:
        """Sign ann in, and send her back."""
        assert (query["client_id"], query["response_type"], query["code_challenge_method"]) == (CLIENT, "code", "S256")
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def redeem(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The token of a code, once, for the client that has its verifier and the secret."""
        given = b64decode(authorization.removeprefix("Basic ")).decode()
        begun = self.codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if begun is None or given != f"{CLIENT}:{SECRET}" or begun["code_challenge"] != challenge:
            return None
        if begun["redirect_uri"] != form["redirect_uri"]:
            return None
        now = int(time.time())
        right = {
            "iss": self.issuer, "aud": CLIENT, "sub": "17", "iat": now, "exp": now + 300, "nonce": begun["nonce"],
            "email": "Ann@example.org", "email_verified": True, "groups": ["shop-developers", "everybody"],
        }  # fmt: skip
        said = {name: value for name, value in (right | self.claims).items() if value is not None}
        key = self.signs_with or self.key
        return {"id_token": jwt.encode({"alg": "RS256", "kid": "one"}, said, key), "access_token": "a", "token_type": "Bearer"}


@contextmanager
def running() -> Iterator[Idp]:
    """The provider, at its own address."""
    idp = Idp()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            idp.asked.append(parts.path)
            if parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self._send(302, b"", Location=idp.authorize(query))
            elif parts.path == "/keys":
                self._send(200, json.dumps({"keys": [idp.key.as_dict(private=False)]}).encode())
            elif parts.path == "/.well-known/openid-configuration":
                self._send(200, json.dumps(idp.described()).encode())
            else:
                self._send(404, b"")

        def do_POST(self) -> None:
            idp.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            made = idp.redeem(form, self.headers.get("Authorization", ""))
            self._send(400 if made is None else 200, json.dumps(made or {"error": "invalid_grant"}).encode())

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    idp.issuer = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield idp
