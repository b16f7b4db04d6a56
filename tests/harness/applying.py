"""Whose fields are whose, as the API server keeps it for server-side apply: labels, annotations and whole fields of `spec`.

The lists of a custom resource are taken or left whole, as where its schema says nothing else.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]
_ROOTS = (("metadata", "labels"), ("metadata", "annotations"), ("spec",))


def applied(held: Json | None, body: Json, manager: str) -> Json | str:
    """An object after somebody applied a part of it without force, or the conflicts that are in the way."""
    made = copy.deepcopy(held or {"metadata": {}})
    wanted = dict(_fields(body))
    others = [entry for entry in _managed(made) if not _is(entry, manager, "Apply")]
    before = next((_paths(entry) for entry in _managed(made) if _is(entry, manager, "Apply")), set())
    now = dict(_fields(made))
    conflicts = [
        f'conflict with "{entry["manager"]}" using picket.dev/v1alpha1: .{".".join(path)}'
        for entry in others
        for path in sorted(_paths(entry) & wanted.keys())
        if now.get(path) != wanted[path]
    ]
    if conflicts:
        return f"Apply failed with {len(conflicts)} conflict: {'; '.join(conflicts)}"
    theirs = {path for entry in others for path in _paths(entry)}
    for path in before - wanted.keys() - theirs:
        _set(made, path, None)
    for path, value in wanted.items():
        _set(made, path, value)
    made["metadata"] |= {key: body["metadata"][key] for key in ("name", "namespace")}
    made["metadata"]["managedFields"] = [*others, _entry(manager, "Apply", wanted)]
    return made | {key: body[key] for key in ("apiVersion", "kind")}


def updated(held: Json | None, body: Json, manager: str) -> Json:
    """An object that somebody wrote whole: what they changed is theirs from now on, and nobody else's."""
    made = copy.deepcopy(body)
    before, now = dict(_fields(held or {})), dict(_fields(made))
    changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    kept = [(entry, (_paths(entry) - changed) & now.keys()) for entry in _managed(held or {})]
    entries = [_entry(entry["manager"], entry["operation"], left) for entry, left in kept if left]
    if own := changed & now.keys():
        entries.append(_entry(manager, "Update", own))
    made.setdefault("metadata", {})["managedFields"] = entries
    return made


def generation(held: Json | None, made: Json) -> int:
    """Which one it is: another one where `spec` is."""
    if held is None:
        return 1
    return int(held["metadata"].get("generation", 1)) + (held.get("spec") != made.get("spec"))


def _fields(body: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for root in _ROOTS:
        found: Any = body
        for name in root:
            found = (found or {}).get(name)
        for key, value in (found or {}).items():
            yield (*root, key), value


def _set(body: Json, path: Path, value: Any) -> None:
    for name in path[:-1]:
        body = body.setdefault(name, {})
    if value is None:
        body.pop(path[-1], None)
    else:
        body[path[-1]] = value


def _managed(body: Json) -> list[Json]:
    found: list[Json] = (body.get("metadata") or {}).get("managedFields") or []
    return found


def _is(entry: Json, manager: str, operation: str) -> bool:
    return (entry["manager"], entry["operation"]) == (manager, operation)


def _entry(manager: str, operation: str, paths: Any) -> Json:
    fields: Json = {}
    for path in sorted(paths):
        inner = fields
        for name in path:
            inner = inner.setdefault(f"f:{name}", {})
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields}


def _paths(entry: Json) -> set[Path]:
    def walk(fields: Json, above: Path) -> Iterator[Path]:
        for key, inner in fields.items():
            path = (*above, key.removeprefix("f:"))
            yield from walk(inner, path) if inner else (path,)

    return set(walk(entry["fieldsV1"], ()))
