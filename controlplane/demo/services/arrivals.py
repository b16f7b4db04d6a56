"""Counts what reached an application. This, and no status code, is what the demo calls delivered."""

from __future__ import annotations

from controlplane.demo.services.messages import Received


class Arrivals:
    """Calls by marker; what came without one by port. Lives on one event loop."""

    def __init__(self) -> None:
        self._marked: dict[str, int] = {}
        self._unmarked: dict[int, int] = {}

    def add(self, port: int, marker: str) -> None:
        """Something arrived at a port; an empty marker means that it carried none."""
        if marker:
            self._marked[marker] = self._marked.get(marker, 0) + 1
        else:
            self._unmarked[port] = self._unmarked.get(port, 0) + 1

    def identify(self, port: int, marker: str) -> None:
        """What was added without a marker has shown one."""
        self._unmarked[port] -= 1
        self.add(port, marker)

    def answer(self, number: int) -> Received:
        """Everything so far, as an answer to an order."""
        return Received(number, dict(self._marked), {port: count for port, count in self._unmarked.items() if count})
