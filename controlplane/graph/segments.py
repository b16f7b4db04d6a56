"""What one segment of a path looks like: a word, or an identifier of some kind. Pure; sees one segment at a time.

The shape of a segment does not depend on what else was seen, so it is the same in every order. A word stays as it is.
A parameter stands for one or more characters within the segment, as in `policy.rules.HttpMatch`: ``{id}``, ``item-{id}.json``.
"""

from __future__ import annotations

import re

#: What people call a segment; longer ones are made by machines.
MAX_WORD = 64
MAX_PARAMETERS = 4

_HASH = re.compile(r"(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\Z|[a-fA-F]{16,}\Z")
#: The kinds that a whole segment may be, in this order.
_WHOLE = (
    ("uuid", re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\Z")),
    ("date", re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9](?:[T_][0-9:.,]{2,15}(?:Z|[+-][0-9:]{2,6})?)?\Z")),
    ("id", re.compile(r"-?[0-9]+\Z")),
    ("address", re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")),
    ("version", re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){1,3}\Z")),
    ("hash", _HASH),
    ("email", re.compile(r"[^@]{1,64}(?:@|%40)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}\Z")),
)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_PIECES = re.compile(r"([-_.~,;:=+@!$'()&]+)")
_DATED = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}[-_][01][0-9][-_][0-3][0-9](?![0-9])")
_NUMBERED = re.compile(r"([A-Za-z]+)[0-9]{4,}\Z")
_NUMBERED_FILE = re.compile(r"[0-9]+(\.[a-z]{2,5})\Z")
#: As in ``cus_9s6XKzkNRiz8i3``.
_PREFIX = re.compile(r"[a-z]{2,12}[_-]")
_CAPITALS = re.compile(r"(?=[A-Z0-9]*[0-9][A-Z])[A-Z0-9]{8,}\Z")
_DIGIT_TURNS = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
_CASE_TURNS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[a-z])")


def shape(segment: str) -> str:
    """The segment as a pattern of one segment; the same text when it is a word.

    ``segment`` is not empty and has neither ``/`` nor what patterns are made of (``{``, ``}``, ``*``).
    """
    if len(segment) < 16 and segment.isascii() and segment.isalpha():
        return segment
    for kind, form in _WHOLE:
        if form.match(segment):
            return f"{{{kind}}}"
    plain = _ESCAPED.sub("x", segment)
    prefix = _PREFIX.match(plain)
    if prefix and _is_random(plain[prefix.end() :]):
        return prefix[0] + "{token}"
    if _is_random(plain):
        return "{token}"
    pattern = _in_pieces(segment) if plain == segment else segment
    return pattern if len(pattern) <= MAX_WORD else "{token}"


def _is_random(text: str) -> bool:
    """Whether all of it is base64 or the like, whose own characters include ``-`` and ``_``."""
    return _looks_random(text.replace("-", "").replace("_", "")) and _alternates(text)


def _in_pieces(segment: str) -> str:
    """The segment with its machine-made pieces as parameters."""
    numbered_file = _NUMBERED_FILE.match(segment)
    if numbered_file:
        return "{id}" + numbered_file[1]
    date = _DATED.search(segment)
    if date:
        return "{date}".join(_in_pieces(part) if part else "" for part in (segment[: date.start()], segment[date.end() :]))
    pieces = _PIECES.split(segment)
    for place in range(0, len(pieces), 2):
        pieces[place] = _piece(pieces[place])
    pattern = "".join(pieces)
    return pattern if pattern.count("{") <= MAX_PARAMETERS else "{token}"


def _piece(piece: str) -> str:
    if piece.isascii() and piece.isdigit():
        return "{id}" if len(piece) >= 3 else piece
    if _HASH.match(piece):
        return "{hash}"
    if _CAPITALS.match(piece) or _looks_random(piece):
        return "{token}"
    numbered = _NUMBERED.match(piece)
    return numbered[1] + "{id}" if numbered else piece


def _looks_random(piece: str) -> bool:
    """Whether letters and digits alternate as nobody writes them; words have a number or two (``sha256``, ``OAuth2TokenV2``)."""
    size = len(piece)
    turns = len(_DIGIT_TURNS.findall(piece))
    return (size >= 10 and turns >= 4) or (10 <= size < 16 and turns >= 3) or (size >= 16 and _alternates(piece))


def _alternates(text: str) -> bool:
    """Whether every second character or so is of another class than the one before; in camel case it is every third to sixth."""
    return len(_DIGIT_TURNS.findall(text)) + len(_CASE_TURNS.findall(text)) >= 0.5 * len(text)
