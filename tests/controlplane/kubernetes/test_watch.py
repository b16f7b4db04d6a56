"""Watches over real HTTP, with an API that is as unpleasant as the real one can be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

from controlplane.kubernetes import client as client_module
from controlplane.kubernetes import watch as watch_module
from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.objects import Namespace, Pod
from controlplane.kubernetes.watch import Watch
from tests.harness.kubeapi import KubernetesApi
from tests.harness.kubeobjects import pod
from tests.harness.mesh import until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a pause."""
    monkeypatch.setattr(watch_module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(watch_module, "LONGEST_PAUSE_SECONDS", 0.01)


@asynccontextmanager
async def watching(api: KubernetesApi, ticks: Callable[[], float] = lambda: 0.0) -> AsyncIterator[tuple[Watch[Pod], asyncio.Event]]:
    """A watch of pods that runs, and what it wakes."""
    changed = asyncio.Event()
    async with Client(api.config()) as client:
        made = Watch(client, "/api/v1/pods", Pod, changed.set, ticks)
        running = asyncio.create_task(made.run())
        try:
            async with asyncio.timeout(20):
                await made.synced.wait()
            yield made, changed
        finally:
            running.cancel()
            await asyncio.wait({running})


def names(made: Watch[Pod]) -> list[str]:
    return sorted(made.objects)


async def test_everything_is_listed_page_by_page_and_then_followed(api: KubernetesApi) -> None:
    api.page = 2
    for number in range(5):
        api.put("pods", f"p{number}", pod("p", "10.0.0.1"), "shop")
    async with watching(api) as (made, changed):
        assert names(made) == [f"shop/p{number}" for number in range(5)]
        assert api.asked("continue=") == 2
        changed.clear()
        api.put("pods", "p5", pod("p", "10.0.0.9"), "shop")
        api.delete("pods", "p0", "shop")
        await until(lambda: names(made) == [f"shop/p{number}" for number in range(1, 6)])
        assert changed.is_set()
        assert api.asked("resourceVersion=105") == 1


async def test_a_watch_that_breaks_off_goes_on_where_it_was(api: KubernetesApi) -> None:
    async with watching(api) as (made, _):
        api.put("pods", "a", pod("a", "10.0.0.1"), "shop")
        await until(lambda: names(made) == ["shop/a"])
        api.drop()
        api.put("pods", "b", pod("b", "10.0.0.2"), "shop")
        await until(lambda: names(made) == ["shop/a", "shop/b"])
        assert api.asked("limit=") == 1  # nothing was listed anew
        assert api.asked("resourceVersion=101") == 1


async def test_watches_that_break_off_after_they_followed_are_taken_up_soon(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that ends each of them after a minute does not make what is known older and older."""
    failures: list[int] = []
    pause = Watch._pause_seconds

    def noted(made: Watch[Pod], count: int) -> float:
        failures.append(count)
        return pause(made, count)

    monkeypatch.setattr(Watch, "_pause_seconds", noted)
    async with watching(api) as (made, _):

        async def cut_off(name: str) -> None:
            cuts = len(failures)
            api.put("pods", name, pod("p", "10.0.0.1"), "shop")
            await until(lambda: f"shop/{name}" in made.objects)
            api.say("pods", b"not JSON\n")
            await until(lambda: len(failures) > cuts)

        for name in "abcd":
            await cut_off(name)
    assert failures == [1, 1, 1, 1]


async def test_an_api_that_only_forgets_is_asked_more_and_more_slowly(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the whole cluster would be listed anew."""
    failures: list[int] = []

    def noted(_: Watch[Pod], count: int) -> float:
        failures.append(count)
        return 0.001

    monkeypatch.setattr(Watch, "_pause_seconds", noted)
    api.refuse["watch=true"] = 410
    async with watching(api):
        await until(lambda: len(failures) >= 3)
    assert failures[:3] == [1, 2, 3]


async def test_a_token_that_cannot_be_read_is_no_end(api: KubernetesApi, tmp_path: Path) -> None:
    """Of a stream as little as of a question: whoever asks tries again."""
    config = KubeConfig.from_one(cluster=Cluster(server=api.url), user=User(token_file=str(tmp_path / "none")))
    async with Client(config) as client:
        with pytest.raises(KubernetesError, match="Token file"):
            await client.get("/api/v1/pods", Pod)
        with pytest.raises(KubernetesError, match="Token file"):
            await anext(client.lines("/api/v1/pods", {}))


async def test_a_bookmark_says_from_where_to_go_on(api: KubernetesApi) -> None:
    async with watching(api) as (made, changed):
        changed.clear()
        for _ in range(3):
            api.bookmark("pods")
        api.put("pods", "a", pod("a", "10.0.0.1"), "shop")
        await until(lambda: names(made) == ["shop/a"])
        api.bookmark("pods")
        api.put("services", "s", {}, "shop")
        await until(lambda: api.version == 106 and made._version == "105")
        api.drop()
        await until(lambda: api.asked("resourceVersion=105") == 1)


async def test_what_is_forgotten_is_listed_anew_and_only_differences_are_told(api: KubernetesApi) -> None:
    api.put("pods", "a", pod("a", "10.0.0.1"), "shop")
    async with watching(api) as (made, changed):
        await until(lambda: api.asked("watch=true") == 1)
        changed.clear()
        api.forget()
        api.drop()
        await until(lambda: api.asked("limit=") == 2)
        await until(lambda: api.asked("watch=true") >= 3)
        assert not changed.is_set()
        api.refuse["watch=true"] = 503
        api.drop()
        api.delete("pods", "a", "shop")
        api.forget()
        del api.refuse["watch=true"]
        await until(lambda: names(made) == [])
        assert changed.is_set()


def line(kind: str, name: str, version: int | str, ip: str = "10.0.0.1") -> bytes:
    body: dict[str, Any] = pod(name, ip)
    body["metadata"] |= {"namespace": "shop", "resourceVersion": str(version)}
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


async def test_repetitions_and_what_comes_too_late_are_passed_over(api: KubernetesApi) -> None:
    async with watching(api) as (made, changed):
        api.say("pods", line("ADDED", "a", 104) + line("MODIFIED", "a", 106, "10.0.0.6"))
        await until(lambda: bool(made.objects) and made.objects["shop/a"].status.pod_ip == "10.0.0.6")
        changed.clear()
        late = (line("ADDED", "a", 104), line("MODIFIED", "a", 106, "10.0.0.7"), line("DELETED", "a", 105), line("ADDED", "b", 103))
        api.say("pods", b"".join(late) + line("MODIFIED", "a", 107, "10.0.0.6"))  # nothing in it is another
        api.say("pods", line("ADDED", "c", 108))
        await until(lambda: names(made) == ["shop/a", "shop/c"])
        assert made.objects["shop/a"].status.pod_ip == "10.0.0.6"
        api.say("pods", line("DELETED", "c", 109) + line("DELETED", "c", 110) + line("DELETED", "never", 111))
        await until(lambda: names(made) == ["shop/a"])


@pytest.mark.parametrize(
    "said",
    [
        b"not JSON\n",
        b'{"type":"ADDED","object":{"spec":[]}}\n',
        b'{"type":"ERROR","object":{"code":500,"message":"etcd"}}\n',
        b'{"type":"MODIFIED"}\n',
        b"x" * 9_000 + b"\n",
    ],
)
async def test_what_does_not_read_ends_the_watch_and_it_goes_on_after_it(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(client_module, "MAX_LINE_BYTES", 4_000)
    async with watching(api) as (made, _):
        api.say("pods", said)
        await until(lambda: api.asked("watch=true") >= 2)
        api.put("pods", "a", pod("a", "10.0.0.1"), "shop")
        await until(lambda: names(made) == ["shop/a"])


async def test_events_of_kinds_to_come_and_empty_lines_say_nothing(api: KubernetesApi) -> None:
    async with watching(api) as (made, _):
        api.say("pods", b'\r\n{"type":"LATER","object":{"anything":1}}\n')
        api.put("pods", "a", pod("a", "10.0.0.1"), "shop")
        await until(lambda: names(made) == ["shop/a"])
        assert api.asked("watch=true") == 1


async def test_an_api_that_refuses_is_asked_again_until_it_does_not(api: KubernetesApi) -> None:
    api.put("pods", "a", pod("a", "10.0.0.1"), "shop")
    api.refuse["/pods"] = 403
    changed = asyncio.Event()
    async with Client(api.config()) as client:
        made = Watch(client, "/api/v1/pods", Pod, changed.set)
        running = asyncio.create_task(made.run())
        await until(lambda: api.asked("/pods") >= 3)
        assert not made.synced.is_set()
        assert not changed.is_set()
        del api.refuse["/pods"]
        await until(made.synced.is_set)
        assert names(made) == ["shop/a"]
        running.cancel()
        await asyncio.wait({running})


async def test_once_in_a_while_everything_is_listed_anew(api: KubernetesApi) -> None:
    """What a watch missed to say is found that way."""
    now = 0.0
    async with watching(api, lambda: now) as (made, _):
        await until(lambda: api.asked("watch=true") == 1)
        with api.changed:
            silent = {"name": "silent", "namespace": "shop"}
            api.objects["pods"] = {"shop/silent": {**pod("silent", "10.0.0.1"), "metadata": silent}}
        api.drop()
        await until(lambda: api.asked("watch=true") >= 2)
        assert names(made) == []
        now = watch_module.RESYNC_SECONDS + 1
        api.drop()
        await until(lambda: names(made) == ["shop/silent"])


async def test_a_cluster_that_is_too_large_is_not_half_known(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "MAX_OBJECTS", 2)
    for number in range(3):
        api.put("namespaces", f"n{number}", {})
    async with Client(api.config()) as client:
        made = Watch(client, "/api/v1/namespaces", Namespace, lambda: None)
        with pytest.raises(KubernetesError, match="more than 2 objects"):
            await made._relist()
        assert made.objects == {}


EVENTS = st.tuples(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), st.sampled_from("abc"), st.integers(1, 9))


@given(st.lists(EVENTS, max_size=20))
def test_events_in_any_order_leave_what_the_newest_say(events: list[tuple[str, str, int]]) -> None:
    """A model that keeps only what is newer than all before."""
    made = Watch.__new__(Watch)
    made._objects, made._version, made._changed, made._kind, made._path = {}, "0", lambda: None, Pod, "/pods"
    newest, kept = 0, set[str]()
    for kind, name, version in events:
        made._heard(line(kind, name, version))
        if version > newest:
            newest = version
            kept = kept - {name} if kind == "DELETED" else kept | {name}
    assert names(made) == sorted(f"shop/{name}" for name in kept)


def test_without_a_cluster_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubernetesError, match="KUBECONFIG"):
        Client()
