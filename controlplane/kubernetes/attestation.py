"""Who a pod is, by its service-account token: the cluster's API reviews it. Trusts nothing that the pod says of itself.

The token is projected for Picket's audience and bound to one pod, so a token for something else, or one that outlived its
pod, proves nothing here. The name comes from what the API says of the token, and the pod that it is bound to has to be the one
that the cluster has now, by its uid: a pod that was made anew under an old name is another one.
Source: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable

import msgspec
import structlog

from controlplane.identity.attestation import Attested, NotAttested, Undecided
from controlplane.identity.spiffe import SpiffeError, WorkloadId
from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.objects import Pod
from controlplane.kubernetes.pods import account_of, is_finished

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
MAX_TOKEN_CHARACTERS = 16 * 1024
#: Reviews a second, and how many of them at once after a pause: a peer without identity must not wear down the cluster's API.
REVIEWS_A_SECOND = 50.0
BURST = 100.0
_ACCOUNT = "system:serviceaccount:"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_log = structlog.get_logger("picket.attestation")


class _User(msgspec.Struct):
    username: str = ""
    extra: dict[str, list[str]] | None = None


class _Status(msgspec.Struct):
    authenticated: bool = False
    audiences: list[str] | None = None
    user: _User = msgspec.field(default_factory=_User)
    error: str = ""


class _Review(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class _Claims(msgspec.Struct):
    aud: list[str] | str = ""
    exp: float = 0.0


class TokenReviews:
    """Attests pods of one cluster."""

    def __init__(
        self,
        client: Client,
        audience: str,
        pod: Callable[[str], Pod | None],
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """``pod`` finds a pod of the cluster as it is now by ``namespace/name``.

        ``clock`` gives Unix seconds, ``ticks`` seconds that only go forward.
        """
        self._client = client
        self._audience = audience
        self._pod = pod
        self._clock = clock
        self._ticks = ticks
        self._allowance = BURST
        self._counted_at = ticks()

    async def attest(self, token: str) -> Attested | NotAttested | Undecided:
        """Whose token it is. ``Attested.instance`` is the pod's name, ``uid`` the pod's."""
        hopeless = self._hopeless(token)
        if hopeless:
            return NotAttested(hopeless)
        if not self._may_ask():
            return Undecided("too many pods join at once; try again")
        body = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }  # fmt: skip
        try:
            status = (await self._client.post(PATH, body, _Review)).status
        except KubernetesError as error:
            _log.error("token not reviewed", error=str(error))
            return Undecided("the cluster's API cannot be asked now; try again")
        attested = self._read(status)
        return attested if isinstance(attested, NotAttested) else self._bound(attested)

    def _hopeless(self, token: str) -> str:
        """What is wrong with a token that the API need not be asked about; empty for others. Proves nothing."""
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            return f"the service-account token is longer than {MAX_TOKEN_CHARACTERS} characters, or not a token"
        parts = token.split(".")
        try:
            claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
        except (IndexError, binascii.Error, ValueError):
            return "the service-account token is not a JSON web token"
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            return f"the service-account token is not for the audience {self._audience}"
        return "the service-account token has expired" if claims.exp <= self._clock() else ""

    def _may_ask(self) -> bool:
        now = self._ticks()
        self._allowance = min(BURST, self._allowance + (now - self._counted_at) * REVIEWS_A_SECOND)
        self._counted_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _read(self, status: _Status) -> Attested | NotAttested:
        if not status.authenticated:
            return NotAttested(f"the cluster does not know the service-account token: {status.error[:200] or 'not authenticated'}")
        # An API that knows nothing of audiences answers without: it has not looked at them.
        if self._audience not in (status.audiences or ()):
            return NotAttested(f"the cluster did not confirm the audience {self._audience}")
        account, prefixed = status.user.username.removeprefix(_ACCOUNT), status.user.username.startswith(_ACCOUNT)
        namespace, colon, name = account.partition(":")
        if not prefixed or not colon:
            return NotAttested(f"the token is of {status.user.username[:100]!r}, which is no service account")
        extra = status.user.extra or {}
        pod, uid = extra.get(_POD_NAME, []), extra.get(_POD_UID, [])
        if len(pod) != 1 or len(uid) != 1 or not pod[0] or not uid[0]:
            return NotAttested("the service-account token is not bound to a pod; only a projected token is")
        try:
            return Attested(WorkloadId(namespace, name), pod[0], uid[0])
        except SpiffeError as error:
            return NotAttested(f"the service account {namespace[:64]}/{name[:64]} cannot be an identity: {error}")

    def _bound(self, attested: Attested) -> Attested | NotAttested | Undecided:
        """Whether the pod of a token is one that there is.

        What was heard of the cluster may be a moment behind the API, which itself knows no token of a pod that is gone: so a pod
        that is not known, or under another uid, is asked for again, and has nothing until then.
        """
        key = f"{attested.workload.namespace}/{attested.instance}"
        pod = self._pod(key)
        if pod is None:
            return Undecided(f"the pod {key[:200]} is not known yet")
        if pod.metadata.uid != attested.uid:
            _log.warning("token of another pod", pod=key[:200], known_uid=pod.metadata.uid, token_uid=attested.uid[:64])
            return Undecided(f"the pod {key[:200]} that is known is another one than the token's, by its uid")
        if account_of(pod) != str(attested.workload):
            return NotAttested(f"the pod {key[:200]} has the service account {account_of(pod)}, not the token's")
        return NotAttested(f"the pod {key[:200]} has ended") if is_finished(pod) else attested
