"""One figure with its goal, and how a run's figures are shown and written. Never measures."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import msgspec
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Measurement:
    """``goal`` is a bound in the same unit, ``at_least`` its side; ``raw`` is the same work without Picket, where that exists."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False
    raw: float | None = None
    detail: dict[str, float | str] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; ``None`` where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def median(values: Sequence[float]) -> float:
    """The middle."""
    return percentile(values, 0.5)


def to_json(measurements: Sequence[Measurement]) -> bytes:
    """The run's file."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    rows = [asdict(m) | {"reached": m.reached} for m in measurements]
    return msgspec.json.format(msgspec.json.encode({"machine": machine, "measurements": rows}), indent=2) + b"\n"


def show(measurements: Sequence[Measurement], console: Console) -> None:
    """A table for people."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "what", "figure", "goal", "raw limit", "detail"):
        justify = "right" if name in {"figure", "goal", "raw limit"} else "left"
        table.add_column(name, justify=justify, no_wrap=name != "detail")  # type: ignore[arg-type]  # literals of JustifyMethod
    for m in measurements:
        mark = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: " "}[m.reached]
        goal = "" if m.goal is None else f"{'≥' if m.at_least else '≤'} {_short(m.goal)}"
        raw = "" if m.raw is None else _short(m.raw)
        detail = ", ".join(f"{key} {value if isinstance(value, str) else _short(value)}" for key, value in m.detail.items())
        table.add_row(mark, m.name, f"{_short(m.value)} {m.unit}", goal, raw, detail)
    console.print(table)


def _short(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
