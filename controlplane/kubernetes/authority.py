"""The mesh's certificate authority in a Secret: read, or made there on first use. Never on disk, never in a log.

Of several control planes that begin at once one makes it, and the others take that one. An authority that is there is never
replaced: that would be another mesh.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

import msgspec
import structlog

from controlplane.identity.authority import AuthorityError, CertificateAuthority, new_authority, read_authority
from controlplane.kubernetes.client import Client, KubernetesError

_CERTIFICATE, _KEY = "tls.crt", "tls.key"
_NOT_FOUND, _EXISTS = 404, 409
_log = structlog.get_logger("picket.authority")


class _Secret(msgspec.Struct):
    data: dict[str, str] | None = None


async def secret_authority(client: Client, name: str, trust_domain: str, now: datetime) -> CertificateAuthority:
    """The authority in a Secret of the client's own namespace.

    Raises:
        KubernetesError: the Secret can be neither read nor made.
        AuthorityError: what is in it cannot be used.
    """
    collection = f"/api/v1/namespaces/{client.namespace}/secrets"
    path = f"{collection}/{name}"
    try:
        found = await client.get(path, _Secret)
    except KubernetesError as error:
        if error.status != _NOT_FOUND:
            raise
        found = await _made(client, collection, name, trust_domain, now)
    where = f"the Secret {client.namespace}/{name}"
    try:
        held = {key: base64.b64decode(value, validate=True) for key, value in (found.data or {}).items()}
        return read_authority(held[_CERTIFICATE], held[_KEY], trust_domain, now, where)
    except (KeyError, binascii.Error) as error:
        raise AuthorityError(f"{where}: {_CERTIFICATE} and {_KEY} are not both in it, or no base64") from error


async def _made(client: Client, collection: str, name: str, trust_domain: str, now: datetime) -> _Secret:
    """A new authority, or the one that somebody else made meanwhile."""
    pair = zip((_CERTIFICATE, _KEY), new_authority(trust_domain, now), strict=True)
    body = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
        "data": {key: base64.b64encode(value).decode() for key, value in pair},
    }  # fmt: skip
    try:
        made = await client.post(collection, body, _Secret)
    except KubernetesError as error:
        if error.status != _EXISTS:
            raise
        return await client.get(f"{collection}/{name}", _Secret)
    _log.info("authority made", secret=name, namespace=client.namespace)
    return made
