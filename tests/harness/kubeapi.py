"""A small HTTP server that speaks what Picket asks of the Kubernetes API: list, watch, TokenReview, and objects to write or apply.

It behaves as the real one where that is unpleasant: pages, bookmarks, connections that end, 410 Gone, conflicts. Tests may also
have it send what they like. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonpatch
from lightkube import KubeConfig

from tests.harness.applying import applied, generation, updated
from tests.harness.serving import serving

Json = dict[str, Any]
BEARER = "the-control-planes-own-token"
_ONCE = sys.maxsize
_WRITABLE = frozenset({"configmaps", "secrets"})


@dataclass
class KubernetesApi:
    """What the server holds. ``requests`` remembers method and path of each request; ``refuse`` gives paths an HTTP status."""

    url: str = ""
    tokens: dict[str, Json] = field(default_factory=dict)
    reviews: list[Json] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)
    page: int = 500
    objects: dict[str, dict[str, Json]] = field(default_factory=dict)
    version: int = 100
    oldest: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    closing: bool = False
    _events: list[tuple[int, str, bytes]] = field(default_factory=list)
    _generation: int = 0

    def config(self) -> KubeConfig:
        """How to reach it."""
        return KubeConfig.from_dict({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "picket-system"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": BEARER}}],
        })  # fmt: skip

    # -- what tests do -----------------------------------------------------------------------------------------------

    def put(self, plural: str, name: str, body: Mapping[str, Any], namespace: str = "", uid: str = "") -> Json:
        """Make or replace an object, as somebody else would."""
        with self.changed:
            kept = self.objects.setdefault(plural, {})
            key = f"{namespace}/{name}"
            kind = "MODIFIED" if key in kept else "ADDED"
            self.version += 1
            given = {"uid": uid or f"uid-{key}", **body.get("metadata", {})}
            metadata = {**given, "name": name, "resourceVersion": str(self.version)}
            if namespace:
                metadata["namespace"] = namespace
            kept[key] = {**body, "metadata": metadata}
            self._say(plural, kind, kept[key])
            return kept[key]

    def edit(self, plural: str, name: str, body: Mapping[str, Any], namespace: str, manager: str) -> Json:
        """Write an object as somebody does who has a name: what they change is theirs from now on."""
        with self.changed:
            held = self.objects.get(plural, {}).get(f"{namespace}/{name}")
            made = updated(held, dict(body), manager)
            made["metadata"]["generation"] = generation(held, made)
            return self.put(plural, name, made | {"status": (held or {}).get("status", {})}, namespace)

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        """Remove an object."""
        with self.changed:
            gone = self.objects[plural].pop(f"{namespace}/{name}")
            self.version += 1
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._say(plural, "DELETED", gone)

    def bookmark(self, plural: str) -> None:
        """Tell watchers how far they are."""
        with self.changed:
            self.version += 1
            self._say(plural, "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def say(self, plural: str, line: bytes) -> None:
        """Send any line, once, to the watcher that there is or that comes next."""
        with self.changed:
            self._events.append((_ONCE, plural, line))
            self.changed.notify_all()

    def forget(self) -> None:
        """Whoever asks for what was before now is told 410 Gone."""
        with self.changed:
            self.oldest = self.version + 1
            self.version += 1

    def drop(self) -> None:
        """End every watch in the middle."""
        with self.changed:
            self._generation += 1
            self.changed.notify_all()

    def close(self) -> None:
        """Let go of all watchers."""
        self.closing = True
        self.drop()

    def asked(self, part: str) -> int:
        """How many requests had this in their path and query."""
        return sum(part in path for _, path in self.requests)

    def _say(self, plural: str, kind: str, body: Json) -> None:
        self._events.append((self.version, plural, json.dumps({"type": kind, "object": body}).encode() + b"\n"))
        self.changed.notify_all()

    # -- what the server answers -------------------------------------------------------------------------------------

    def list(self, plural: str, query: Mapping[str, str]) -> Json:
        """A page of a collection."""
        with self.changed:
            held = self.objects.get(plural, {})
            name = query.get("fieldSelector", "").removeprefix("metadata.name=")
            every = [held[key] for key in sorted(held) if name in {"", held[key]["metadata"]["name"]}]
            start, size = int(query.get("continue", "0")), min(self.page, int(query.get("limit", "500")))
            metadata: Json = {"resourceVersion": str(self.version)}
            if start + size < len(every):
                metadata["continue"] = str(start + size)
            return {"kind": "List", "metadata": metadata, "items": every[start : start + size]}

    def began(self, method: str, path: str) -> int:
        """Remember a request. What is dropped from now on includes it: by the number that this gives."""
        with self.changed:
            self.requests.append((method, path))
            return self._generation

    def watch(self, plural: str, since: int, generation: int) -> Iterator[bytes]:
        """Lines of a watch, until it is dropped."""
        position = 0
        with self.changed:
            if since < self.oldest:
                told = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}
                yield json.dumps({"type": "ERROR", "object": told}).encode() + b"\n"
                return
        while True:
            with self.changed:
                while generation == self._generation and position == len(self._events):
                    self.changed.wait()
                if generation != self._generation:
                    return
                found = []
                for number in range(position, len(self._events)):
                    version, of, line = self._events[number]
                    if of == plural and version > since:
                        found.append(line)
                    if of == plural and version == _ONCE:
                        self._events[number] = (0, plural, line)
                position = len(self._events)
            yield from found


class _Server(ThreadingHTTPServer):
    """Holds what its handlers answer with."""

    daemon_threads = True

    def __init__(self, api: KubernetesApi) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what went wrong here, and not of a client that had left before it was answered."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Server
    generation = 0

    def _answer(self, status: int, body: object) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _fail(self, status: int, reason: str, message: str = "") -> None:
        self._answer(status, {"kind": "Status", "code": status, "reason": reason, "message": message or f"{reason} by the test"})

    def _begin(self) -> tuple[list[str], dict[str, str], Json] | None:
        """The path's words, the query and the body, unless the request is refused."""
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        self.generation = self.server.api.began(self.command, self.path)
        status = next((status for path, status in self.server.api.refuse.items() if path in self.path), 0)
        if self.headers.get("Authorization") != f"Bearer {BEARER}":
            status = 401
        if status:
            self._fail(status, "Refused")
            return None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return parts.path.strip("/").split("/"), query, body

    def do_GET(self) -> None:
        if (begun := self._begin()) is None:
            return
        words, query, _ = begun
        if words[-2] == "mutatingwebhookconfigurations":
            found = self.server.api.objects.get(words[-2], {}).get(f"/{words[-1]}")
            self._answer(200, found) if found is not None else self._fail(404, "NotFound")
        elif "namespaces" in words[:-1]:
            namespace, plural, name = words[-3:]
            found = self.server.api.objects.get(plural, {}).get(f"{namespace}/{name}")
            self._answer(200, found) if found is not None else self._fail(404, "NotFound")
        elif query.get("watch") == "true":
            self._stream(words[-1], int(query.get("resourceVersion", "0")))
        else:
            self._answer(200, self.server.api.list(words[-1], query))

    def _stream(self, plural: str, since: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in self.server.api.watch(plural, since, self.generation):
                half = len(line) // 2  # a line may come in pieces
                for part in (line[:half], line[half:]):
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        except ConnectionError:
            pass
        self.close_connection = True  # broken off, without the last chunk

    def do_POST(self) -> None:
        if (begun := self._begin()) is None:
            return
        words, _, body = begun
        if words[-1] == "tokenreviews":
            self.server.api.reviews.append(body["spec"])
            unknown = {"authenticated": False, "error": "invalid bearer token"}
            self._answer(201, {**body, "status": self.server.api.tokens.get(body["spec"]["token"], unknown)})
        elif f"{words[-2]}/{body['metadata']['name']}" in self.server.api.objects.get(words[-1], {}):
            self._fail(409, "AlreadyExists")
        else:
            self._answer(201, self.server.api.put(words[-1], body["metadata"]["name"], body, words[-2]))

    def do_PATCH(self) -> None:
        if (begun := self._begin()) is None:
            return
        words, query, changes = begun
        if self.headers["Content-Type"] == "application/apply-patch+yaml":
            self._apply(words, query, changes)
            return
        plural, key = (words[-3], f"{words[-4]}/{words[-2]}") if words[-1] == "status" else (words[-2], f"/{words[-1]}")
        held = self.server.api.objects.get(plural, {}).get(key)
        if held is None or self.headers["Content-Type"] != "application/json-patch+json":
            self._fail(404, "NotFound")
            return
        try:
            changed = jsonpatch.JsonPatch.from_string(json.dumps(changes)).apply(held)
            self._answer(200, self.server.api.put(plural, changed["metadata"]["name"], changed, key.partition("/")[0]))
        except jsonpatch.JsonPatchException:
            self._fail(422, "Invalid")

    def _apply(self, words: list[str], query: dict[str, str], body: Json) -> None:
        namespace, plural, name = words[-3:]
        api = self.server.api
        assert query["force"] == "false"
        with api.changed:
            held = api.objects.get(plural, {}).get(f"{namespace}/{name}")
            made = applied(held, body, query["fieldManager"])
            if isinstance(made, str):
                self._fail(409, "Conflict", made)
                return
            if held is None:
                api.began("POST", self.path.rpartition("/")[0])  # RBAC is asked whether it may be made, too
            elif made == held:
                self._answer(200, held)
                return
            made["metadata"]["generation"] = generation(held, made)
            kept = api.put(plural, name, made, namespace)
        self._answer(201 if held is None else 200, kept)

    def do_DELETE(self) -> None:
        if (begun := self._begin()) is None:
            return
        words, _, options = begun
        plural, name = words[-2:]
        namespace = words[-3] if "namespaces" in words[:-1] else ""
        with self.server.api.changed:
            held = self.server.api.objects.get(plural, {}).get(f"{namespace}/{name}")
            if held is None:
                self._fail(404, "NotFound")
            elif any(held["metadata"][key] != value for key, value in options.get("preconditions", {}).items()):
                self._fail(409, "Conflict")
            else:
                self.server.api.delete(plural, name, namespace)
                self._answer(200, {"kind": "Status", "status": "Success"})

    def do_PUT(self) -> None:
        if (begun := self._begin()) is None:
            return
        words, _, body = begun
        namespace, plural, name = words[-3:]
        held = self.server.api.objects.get(plural, {}).get(f"{namespace}/{name}")
        if held is None or plural not in _WRITABLE:
            self._fail(404, "NotFound")
        elif body["metadata"].get("resourceVersion") not in {None, held["metadata"]["resourceVersion"]}:
            self._fail(409, "Conflict")
        else:
            self._answer(200, self.server.api.put(plural, name, body, namespace))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


@contextmanager
def running_api() -> Iterator[KubernetesApi]:
    """A server on loopback, ended afterwards."""
    api = KubernetesApi()
    server = _Server(api)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server, api.close):
        yield api
