"""A process that does nothing but report: `python -m tests.sidecar.reporting DIRECTORY`. Tests kill it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sidecar.reporter import Reporter
from sidecar.spool import Spool

CUT_BYTES = 40_000


async def report(directory: Path) -> None:
    """Follow ``access.log`` until killed; ask for a new one by making the file ``reopen``."""
    spool = Spool.open(directory / "spool", instance="cart-1", owner="shop/cart")

    async def reopen() -> None:
        (directory / "reopen").touch()

    async def none() -> int:
        return 0

    reporter = Reporter(
        directory / "access.log", spool, workload="shop/cart", reopen=reopen, failed_writes=none, interval_seconds=0.02,
        cut_bytes=CUT_BYTES,
    )  # fmt: skip
    await reporter.run()


if __name__ == "__main__":
    asyncio.run(report(Path(sys.argv[1])))
