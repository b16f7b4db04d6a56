"""TokenReview over real HTTP: the name comes from what the API says of a token, and everything else proves nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.attestation import Attested, NotAttested, Undecided
from controlplane.identity.spiffe import WorkloadId
from controlplane.kubernetes import attestation
from controlplane.kubernetes.attestation import TokenReviews
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.objects import Pod
from tests.harness.kubeapi import KubernetesApi
from tests.harness.kubeobjects import pod

NOW = 1_900_000_000.0


def token(audience: str | list[str] = "picket", expires: float = NOW + 600, more: Mapping[str, object] | None = None) -> str:
    """A token of the right shape; who signed it only the API knows."""

    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return ".".join((part({"alg": "RS256"}), part({"aud": audience, "exp": expires, **(more or {})}), "c2lnbmVk"))


def known(
    username: str = "system:serviceaccount:shop:cart", of: tuple[str, str] = ("cart-7c9", "0f-11"), **changed: object
) -> dict[str, Any]:
    """What the API says of a good token; ``of`` is its pod's name and uid."""
    extra = {
        "authentication.kubernetes.io/pod-name": [of[0]], "authentication.kubernetes.io/pod-uid": [of[1]],
        "authentication.kubernetes.io/node-name": ["node-1"],
    }  # fmt: skip
    return {"authenticated": True, "audiences": ["picket"], "user": {"username": username, "uid": "x", "extra": extra}} | changed


def found(namespace: str = "shop", account: str = "cart", uid: str = "0f-11", phase: str = "Running") -> Pod:
    """A pod as a watch has it."""
    made = pod("cart-7c9", "10.1.0.1", account, phase=phase)
    return msgspec.convert({**made, "metadata": {**made["metadata"], "namespace": namespace, "uid": uid}}, Pod)


@pytest.fixture
def pods() -> dict[str, Pod]:
    """What is known of the cluster."""
    return {f"{space}/cart-7c9": found(space) for space in ("shop", "other")}


@pytest.fixture
async def reviews(api: KubernetesApi, pods: dict[str, Pod]) -> AsyncIterator[TokenReviews]:
    async with Client(api.config()) as client:
        yield TokenReviews(client, "picket", pods.get, clock=lambda: NOW)


async def test_a_pods_token_proves_its_namespace_and_account(api: KubernetesApi, reviews: TokenReviews) -> None:
    api.tokens[token()] = known()
    assert await reviews.attest(token()) == Attested(WorkloadId("shop", "cart"), "cart-7c9", "0f-11")
    assert api.reviews == [{"token": token(), "audiences": ["picket"]}]


async def test_the_name_is_the_apis_word_and_not_what_the_token_says_of_itself(api: KubernetesApi, reviews: TokenReviews) -> None:
    claiming = token(more={"sub": "system:serviceaccount:bank:vault", "kubernetes.io": {"namespace": "bank"}})
    api.tokens[claiming] = known("system:serviceaccount:other:cart")
    assert await reviews.attest(claiming) == Attested(WorkloadId("other", "cart"), "cart-7c9", "0f-11")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"authenticated": False, "error": "token has expired"}, "token has expired"),
        ({}, "not authenticated"),
        (known(audiences=["https://kubernetes.default.svc"]), "did not confirm the audience"),
        (known(audiences=None), "did not confirm the audience"),
        (known(audiences=[]), "did not confirm the audience"),
        (known("system:node:node-1"), "no service account"),
        (known("system:serviceaccount:shop"), "no service account"),
        (known(user={"username": "system:serviceaccount:shop:cart"}), "not bound to a pod"),
        (known(user={"username": "system:serviceaccount:shop:cart", "extra": {"authentication.kubernetes.io/pod-name": ["x"]}}),
         "not bound to a pod"),
        (known(user={"username": "system:serviceaccount:shop:cart", "extra": {
            "authentication.kubernetes.io/pod-name": ["x"], "authentication.kubernetes.io/pod-uid": [""]}}), "not bound to a pod"),
        (known("system:serviceaccount:shop:../admin"), "cannot be an identity"),
        (known("system:serviceaccount:shop:a:b"), "cannot be an identity"),
    ],
)  # fmt: skip
async def test_whom_the_api_does_not_vouch_for_as_a_pod_gets_nothing(
    api: KubernetesApi, reviews: TokenReviews, status: dict[str, Any], told: str
) -> None:
    api.tokens[token()] = status
    answer = await reviews.attest(token())
    assert isinstance(answer, NotAttested)
    assert told in answer.reason


@pytest.mark.parametrize(
    ("known_pod", "answer", "told"),
    [
        (None, Undecided, "not known yet"),
        (found(uid="0f-12"), Undecided, "another one"),
        (found(uid=""), Undecided, "another one"),
        (found(account="pay"), NotAttested, "service account shop/pay"),
        (found(phase="Failed"), NotAttested, "has ended"),
        (found(phase="Pending"), Attested, ""),
    ],
)
async def test_the_pod_of_a_token_is_the_one_that_there_is(
    api: KubernetesApi, reviews: TokenReviews, pods: dict[str, Pod], known_pod: Pod | None, answer: type, told: str
) -> None:
    """One that was deleted and made anew under its name is another one, whatever the API has in its caches."""
    del pods["shop/cart-7c9"]
    if known_pod is not None:
        pods["shop/cart-7c9"] = known_pod
    api.tokens[token()] = known()
    got = await reviews.attest(token())
    assert type(got) is answer
    assert told in getattr(got, "reason", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (token("https://kubernetes.default.svc"), "not for the audience picket"),
        (token(["vault", "picke"]), "not for the audience picket"),
        (token(expires=NOW - 1), "has expired"),
        ("", "not a JSON web token"),
        ("a.b.c", "not a JSON web token"),
        ("picket-join-abc", "not a JSON web token"),
        ("x" * 17_000, "longer than"),
    ],
)
async def test_what_is_hopeless_is_not_asked_about(api: KubernetesApi, reviews: TokenReviews, text: str, told: str) -> None:
    answer = await reviews.attest(text)
    assert isinstance(answer, NotAttested)
    assert told in answer.reason
    assert api.reviews == []


@given(st.text() | st.binary().map(lambda body: "h." + base64.urlsafe_b64encode(body).decode() + ".s"))
def test_any_text_is_looked_at_without_an_error(text: str) -> None:
    looking = TokenReviews.__new__(TokenReviews)
    looking._audience, looking._clock = "picket", lambda: NOW
    assert isinstance(looking._hopeless(text), str)


async def test_an_api_that_cannot_be_asked_decides_nothing(api: KubernetesApi, reviews: TokenReviews) -> None:
    api.refuse["tokenreviews"] = 500
    assert isinstance(await reviews.attest(token()), Undecided)
    api.refuse["tokenreviews"] = 403
    assert isinstance(await reviews.attest(token()), Undecided)


async def test_reviews_are_bounded_and_come_back_with_time(
    api: KubernetesApi, pods: dict[str, Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attestation, "BURST", 2.0)
    api.tokens[token()] = known()
    now = 0.0
    async with Client(api.config()) as client:
        reviews = TokenReviews(client, "picket", pods.get, clock=lambda: NOW, ticks=lambda: now)
        answers = [await reviews.attest(token()) for _ in range(3)]
        assert [type(answer) for answer in answers] == [Attested, Attested, Undecided]
        now = 1 / attestation.REVIEWS_A_SECOND
        assert [type(await reviews.attest(token())) for _ in range(2)] == [Attested, Undecided]
    assert len(api.reviews) == 3
