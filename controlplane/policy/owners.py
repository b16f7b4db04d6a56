"""The owners file: who has to agree to an edge toward a service, like a repository's CODEOWNERS. Reads it; decides nothing.

    # teams first, then services; the last line that fits a service counts
    @platform:      carol erin
    @shop-team:     alice bob
    *               @platform
    shop/*          @shop-team
    shop/payments*  dora

Any one of a line's owners is enough; a line without owners asks for nobody. ``*`` stands for any characters of a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 1 << 20
MAX_LINES = 20_000
MAX_OWNERS = 200
_USER = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_TEAM = re.compile(r"@[a-z0-9][a-z0-9._-]{0,63}")
_PATTERN = re.compile(r"\*|[a-z0-9_.*-]{1,253}/[a-z0-9_.*-]{1,253}")
#: A name with many stars would make a search slow.
_MAX_STARS = 4


class OwnersError(ValueError):
    """A file that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class OwnedServices:
    """One line: the services that a pattern fits, and the users of whom one has to agree. A plain name has no ``fits``."""

    pattern: str
    owners: tuple[str, ...]
    line: int
    fits: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Owners:
    """All lines in their order; without any, nobody has to agree."""

    lines: tuple[OwnedServices, ...] = ()
    _named: Mapping[str, OwnedServices] = field(init=False, repr=False, compare=False)
    _wide: tuple[OwnedServices, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the lines: a mesh of thousands of services may have a line for each."""
        object.__setattr__(self, "_named", {line.pattern: line for line in self.lines if line.fits is None})
        object.__setattr__(self, "_wide", tuple(line for line in reversed(self.lines) if line.fits is not None))

    def of(self, name: str) -> tuple[str, ...]:
        """The owners of a service or workload ("namespace/name"), by the last line that fits; empty where nobody is."""
        found = self._line(name)
        return () if found is None else found.owners

    def of_each(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The same of several, each looked for once."""
        return {name: self.of(name) for name in set(names)}

    def assigned(self, names: Iterable[str]) -> dict[int, tuple[str, ...]]:
        """By the number of a line, those of some services that it is about."""
        found: dict[int, list[str]] = {}
        for name in names:
            if (line := self._line(name)) is not None:
                found.setdefault(line.line, []).append(name)
        return {number: tuple(fitting) for number, fitting in found.items()}

    def _line(self, name: str) -> OwnedServices | None:
        named = self._named.get(name)
        for line in self._wide:
            if named is not None and line.line < named.line:
                break
            if line.fits is not None and line.fits.fullmatch(name):
                return line
        return named


def read_owners(path: Path) -> Owners:
    """Read a file.

    Raises:
        OwnersError: it cannot be read or is no owners file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return parse_owners(content.decode())
    except OSError as error:
        raise OwnersError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, OwnersError) as error:
        raise OwnersError(f"{path}: {error}") from error


def parse_owners(text: str) -> Owners:
    """Read a text.

    Raises:
        OwnersError: which line is wrong, and why.
    """
    if len(text) > MAX_BYTES:
        raise OwnersError(f"more than {MAX_BYTES} bytes")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise OwnersError(f"more than {MAX_LINES} lines")
    teams: dict[str, tuple[str, ...]] = {}
    owned = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if words[0].startswith("@"):
                name, members = _team(words)
                if name in teams:
                    raise OwnersError(f"there is a team {name} already")
                teams[name] = _members(members)
            else:
                owned.append(OwnedServices(words[0], _users(words[1:], teams), number, _fits(words[0])))
        except OwnersError as error:
            raise OwnersError(f"line {number}: {error}") from error
    return Owners(tuple(owned))


def _team(words: list[str]) -> tuple[str, list[str]]:
    name = words[0].removesuffix(":")
    if not words[0].endswith(":") or not _TEAM.fullmatch(name):
        raise OwnersError(f"{words[0][:80]!r} begins no team: write @name: and its members")
    if not words[1:]:
        raise OwnersError(f"the team {name} has no members")
    return name, words[1:]


def _members(words: Iterable[str]) -> tuple[str, ...]:
    inner = next((word for word in words if word.startswith("@")), None)
    if inner is not None:
        raise OwnersError(f"{inner[:80]} is a team: a team's members are users")
    return _users(words, {})


def _users(words: Iterable[str], teams: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Names with the teams among them opened, each once, in their order."""
    found: dict[str, None] = {}
    for word in words:
        if word.startswith("@"):
            if word not in teams:
                raise OwnersError(f"there is no team {word[:80]} above this line")
            found.update(dict.fromkeys(teams[word]))
        elif _USER.fullmatch(word):
            found[word] = None
        else:
            raise OwnersError(f"{word[:80]!r} is no user's name: 1 to 64 of a-z, 0-9 and ._@-")
    if len(found) > MAX_OWNERS:
        raise OwnersError(f"more than {MAX_OWNERS} owners")
    return tuple(found)


def _fits(pattern: str) -> re.Pattern[str] | None:
    if not _PATTERN.fullmatch(pattern):
        raise OwnersError(f"{pattern[:80]!r} is neither * nor namespace/name")
    if pattern.count("*") > _MAX_STARS:
        raise OwnersError(f"{pattern[:80]!r} has more than {_MAX_STARS} stars")
    if "*" not in pattern:
        return None
    if pattern == "*":
        return re.compile(".*")
    return re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
