"""An identity provider, asked: its addresses and keys, a code turned into claims that it signed. Knows no browser and no role.

Only the issuer that the settings name is believed, and only over TLS or on this machine; redirects are not followed.
Source: https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from controlplane.httpcall import CallError, call, is_safe
from controlplane.web.oidc.document import OidcSettings

#: Clocks of others differ.
LEEWAY_SECONDS = 60
#: Signatures by keys that are nobody's secret here.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_KEEP_MS = 3_600_000
#: An unknown key is looked for again, but not as often as anybody can make one up.
_AGAIN_MS = 10_000
Shape = TypeVar("Shape")


class ProviderError(Exception):
    """The provider cannot be asked, or answers what it must not; the message says which, and holds no secret."""


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


@dataclass(frozen=True, slots=True)
class NotProven:
    """Why what came back proves nobody."""

    reason: str


class Provider:
    """The provider of the settings. Safe to use from several threads."""

    def __init__(self, settings: OidcSettings, clock_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._metadata: tuple[int, _Metadata] | None = None
        self._keys: tuple[int, KeySet] | None = None

    def address(self, state: str, nonce: str, verifier: str) -> str:
        """Where a browser asks the provider to sign somebody in.

        Raises:
            ProviderError: it cannot be asked.
        """
        settings = self._settings
        made: str = prepare_grant_uri(
            self._known().authorization_endpoint, settings.client_id, "code", settings.back, list(settings.scopes), state,
            nonce=nonce, code_challenge=create_s256_code_challenge(verifier), code_challenge_method="S256",
        )  # fmt: skip
        return made

    def leaving(self) -> str | None:
        """Where a browser signs out of the provider too, if it has such a place.

        Raises:
            ProviderError: it cannot be asked.
        """
        place = self._known().end_session_endpoint
        if place is None or not is_safe(place):
            return None
        query = urlencode({"client_id": self._settings.client_id, "post_logout_redirect_uri": f"{self._settings.console}/sign-in"})
        return f"{place}{'&' if '?' in place else '?'}{query}"

    def claims(self, code: str, verifier: str, nonce: str) -> Mapping[str, Any] | NotProven:
        """What the provider signs about whoever brought this code.

        Raises:
            ProviderError: it cannot be asked.
        """
        tokens = self._redeem(code, verifier)
        if isinstance(tokens, NotProven):
            return tokens
        try:
            signed = jwt.decode(tokens.id_token, self._key_set(), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            try:
                signed = jwt.decode(tokens.id_token, self._key_set(newer=True), algorithms=list(ALGORITHMS))
            except (JoseError, ValueError):
                return NotProven("the token is not signed by a key of the provider")
        expected = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
        }
        given = {"nonce": nonce, "client_id": self._settings.client_id, "access_token": tokens.access_token}
        found = CodeIDToken(signed.claims, signed.header, expected, given)
        try:
            found.validate(now=self._clock_ms() // 1000, leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            return NotProven(f"the token is not for this sign-in: {error}")
        return dict(signed.claims)

    def _redeem(self, code: str, verifier: str) -> _Tokens | NotProven:
        settings, place = self._settings, self._known()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": settings.back, "code_verifier": verifier}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if settings.client_secret is None or "client_secret_basic" not in place.token_endpoint_auth_methods_supported:
            form["client_id"] = settings.client_id
            if settings.client_secret is not None:
                form["client_secret"] = settings.client_secret
        else:
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        status, body = self._ask(place.token_endpoint, "POST", urlencode(form).encode(), headers)
        if status in {400, 401}:
            return NotProven("the provider does not take the code, or not from this client")
        if status != 200:
            raise ProviderError(f"{place.token_endpoint} answered with HTTP status {status}")
        return _decoded(body, _Tokens, place.token_endpoint)

    def _known(self) -> _Metadata:
        with self._lock:
            if self._metadata is not None and self._clock_ms() - self._metadata[0] < _KEEP_MS:
                return self._metadata[1]
        address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = _decoded(self._get(address), _Metadata, address)
        if found.issuer != self._settings.issuer:
            raise ProviderError(f"{address} is of another issuer")
        for place in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if not is_safe(place):
                raise ProviderError(f"{address} names an address without TLS")
        with self._lock:
            self._metadata = self._clock_ms(), found
        return found

    def _key_set(self, *, newer: bool = False) -> KeySet:
        with self._lock:
            kept_ms = _AGAIN_MS if newer else _KEEP_MS
            if self._keys is not None and self._clock_ms() - self._keys[0] < kept_ms:
                return self._keys[1]
        address = self._known().jwks_uri
        try:
            keys = KeySet.import_key_set(_decoded(self._get(address), dict[str, Any], address))  # type: ignore[arg-type]  # it checks that
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise ProviderError(f"{address} holds no keys") from error
        with self._lock:
            self._keys = self._clock_ms(), keys
        return keys

    def _get(self, address: str) -> bytes:
        status, body = self._ask(address, "GET", None, {})
        if status != 200:
            raise ProviderError(f"{address} answered with HTTP status {status}")
        return body

    def _ask(self, address: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            found = call(address, method, body, {"Accept": "application/json", **headers}, self._settings.ca_file)
        except CallError as error:
            raise ProviderError(str(error)) from error
        return found.status, found.body


def _decoded(body: bytes, shape: type[Shape], address: str) -> Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProviderError(f"{address} answers with something else than was asked for") from error
