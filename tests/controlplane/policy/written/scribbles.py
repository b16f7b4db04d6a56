"""Random YAML as people might write it: any style, any indentation, comments and empty lines in every place that allows them."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = [
    "a", "shop/cart", "80", "true", "no", "~", "", "{id}", "/x/{y}/*", "a: b", "a #b", "- x", "'q'", '"', "2026-12-31", "x  y",
    "é", "#",
]  # fmt: skip
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
TEXTS = st.sampled_from([*WORDS, LONG, "two\nlines", "three\n\nlines\n", " led", "tab\there", "end\n\n", "\x07"])
COMMENTS = st.sampled_from(["# note", "# - x: y", "#tight", "# 'quote", "# {"])


class Scribbler:
    """Draws one document's lines."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._keys = 0

    def document(self) -> str:
        lines = [*self._interlude(0), *self._block(0, 3), *self._interlude(0)]
        return "".join(f"{line}\n" for line in lines)

    def _interlude(self, column: int) -> list[str]:
        kinds = self._draw(st.lists(st.sampled_from(["", "comment", "odd"]), max_size=2))
        made = []
        for kind in kinds:
            if not kind:
                made.append("")
            else:
                indent = column if kind == "comment" else self._draw(st.integers(0, column + 3))
                made.append(" " * indent + self._draw(COMMENTS))
        return made

    def _behind(self) -> str:
        if self._draw(st.integers(0, 3)):
            return ""
        return " " * self._draw(st.integers(1, 3)) + self._draw(COMMENTS)

    def _key(self) -> str:
        self._keys += 1
        return f"k{self._keys}"

    def _block(self, column: int, depth: int) -> list[str]:
        is_list = self._draw(st.booleans())
        lines: list[str] = []
        for _ in range(self._draw(st.integers(1, 3))):
            lines += self._interlude(column)
            lead = " " * column + ("-" if is_list else f"{self._key()}:")
            lines += self._value(lead, column, depth, is_list=is_list)
        return lines

    def _value(self, lead: str, column: int, depth: int, *, is_list: bool) -> list[str]:
        kind = self._draw(st.sampled_from(["plain", "quoted", "literal", "flow", "block"] if depth else ["plain", "quoted"]))
        if kind == "block":
            deeper = column + self._draw(st.integers(1, 4))
            return [f"{lead}{self._behind()}", *self._block(deeper, depth - 1)]
        if kind == "literal":
            mark = self._draw(st.sampled_from(["|", "|-", "|+", ">", ">-", ">+"]))
            body = self._draw(st.lists(st.sampled_from(["text", "# no comment", "", "  more"]), min_size=1, max_size=3))
            return [f"{lead} {mark}{self._behind()}", " " * (column + 2) + "x", *(" " * (column + 2) + line for line in body)]
        if kind == "flow":
            return [f"{lead} {self._flow(column + 2, depth - 1)}{self._behind()}"]
        return [f"{lead} {self._scalar(quoted=kind == 'quoted')}{self._behind()}"]

    def _scalar(self, *, quoted: bool) -> str:
        text = self._draw(TEXTS)
        if not quoted and text.replace("/", "").replace("-", "").isalnum() and text.isascii():
            return text
        if text.isprintable() and self._draw(st.booleans()):
            return "'" + text.replace("'", "''") + "'"
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\x07", "\\a")
        return f'"{escaped}"'

    def _flow(self, column: int, depth: int) -> str:
        is_list = self._draw(st.booleans())
        made = []
        for _ in range(self._draw(st.integers(0, 3))):
            value = self._flow(column, depth - 1) if depth > 0 and self._draw(st.booleans()) else self._scalar(quoted=True)
            made.append(value if is_list else f"{self._key()}: {value}")
        breaks = [self._break(column) for _ in made]
        inside = "".join(f"{text},{gap}" for text, gap in zip(made, breaks, strict=True))
        opening = self._break(column)
        return f"[{opening}{inside}]" if is_list else f"{{{opening}{inside}}}"

    def _break(self, column: int) -> str:
        if self._draw(st.integers(0, 2)):
            return " "
        note = self._behind()
        lines = [note, *self._interlude(column)]
        return "\n".join(lines) + "\n" + " " * column


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file of up to three documents."""
    documents = [Scribbler(draw).document() for _ in range(draw(st.integers(1, 3)))]
    return draw(st.sampled_from(["", "---\n", "# head\n---\n"])) + "---\n".join(documents)
