"""The mesh's certificate authority in a Secret: read, made there on first use, rotated there. Never on disk, never in a log.

Of several control planes that begin at once one makes it, and the others take that one; of several that take a step one does. An
authority that is there is never replaced by one that was not trusted before: that would be another mesh.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from cryptography import x509

from controlplane.identity.authority import CA_LIFETIME, AuthorityError, new_authority, private_pem
from controlplane.identity.custody import CERTIFICATE, ENTRIES, KEY, CustodyError, Kept, Overtaken, decode, encode, is_complete
from controlplane.identity.generations import Generations
from controlplane.kubernetes.client import Client, KubernetesError

_NOT_FOUND, _CONFLICT = 404, 409
#: cert-manager writes it on each Secret that it keeps: https://cert-manager.io/docs/usage/certificate/
_CERT_MANAGER = "cert-manager.io/certificate-name"
_Secret = dict[str, Any]
_log = structlog.get_logger("picket.authority")


class AuthoritySecret:
    """Implements `identity.custody.Custody` with a Secret of the client's own namespace."""

    def __init__(
        self,
        client: Client,
        name: str,
        trust_domain: str,
        lifetime: timedelta = CA_LIFETIME,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``lifetime`` is how long an authority that has to be made is valid."""
        self._client = client
        self._name = name
        self._trust_domain = trust_domain
        self._lifetime = lifetime
        self._clock = clock
        self._collection = f"/api/v1/namespaces/{client.namespace}/secrets"
        self._where = f"the Secret {client.namespace}/{name}"

    async def load(self) -> Kept:
        """See `identity.custody.Custody`."""
        try:
            found = await self._found() or await self._made()
        except KubernetesError as error:
            raise CustodyError(f"{self._where}: {error}") from error
        return self._kept(found)

    async def save(self, generations: Generations, before: Kept) -> Kept | Overtaken:
        """See `identity.custody.Custody`. What else is in the Secret stays."""
        assert isinstance(before.source, dict)  # from `load` or from here
        held = before.source["data"]
        kept = {key: value for key, value in held.items() if key not in ENTRIES}
        written = _encoded(encode(generations))
        if x509.load_pem_x509_certificate(base64.b64decode(held[CERTIFICATE])) == generations.active.certificate:
            # Whoever else keeps it may have written the same in another way.
            written |= {key: held[key] for key in (CERTIFICATE, KEY)}
        body = {**before.source, "data": kept | written}
        try:
            return self._kept(await self._client.put(f"{self._collection}/{self._name}", body, _Secret))
        except KubernetesError as error:
            if error.status == _CONFLICT:
                return Overtaken()
            raise CustodyError(f"{self._where}: {error}") from error

    async def _found(self) -> _Secret | None:
        try:
            return await self._client.get(f"{self._collection}/{self._name}", _Secret)
        except KubernetesError as error:
            if error.status != _NOT_FOUND:
                raise
            return None

    async def _made(self) -> _Secret:
        """A new authority, or the one that somebody else made meanwhile."""
        authority = new_authority(self._trust_domain, self._clock(), self._lifetime)
        body = {
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": self._name},
            "data": _encoded({CERTIFICATE: authority.bundle_pem, KEY: private_pem(authority.key)}),
        }  # fmt: skip
        try:
            made = await self._client.post(self._collection, body, _Secret)
        except KubernetesError as error:
            if error.status != _CONFLICT:
                raise
            return await self._client.get(f"{self._collection}/{self._name}", _Secret)
        _log.info("authority made", secret=self._name, namespace=self._client.namespace)
        return made

    def _kept(self, secret: _Secret) -> Kept:
        try:
            metadata = secret["metadata"]
            entries = {key: base64.b64decode(value, validate=True) for key, value in (secret.get("data") or {}).items()}
            version, annotations = str(metadata["resourceVersion"]), metadata.get("annotations") or {}
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise AuthorityError(f"{self._where}: {CERTIFICATE} and {KEY} are not both in it, or no base64") from error
        generations = decode(entries, self._trust_domain, self._clock(), self._where)
        keeper = "cert-manager" if _CERT_MANAGER in annotations else ""
        return Kept(generations, version, is_complete(entries, generations), keeper, secret)


def _encoded(entries: dict[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in entries.items()}
