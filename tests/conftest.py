"""What holds for all tests: examples may take as long as a busy machine needs, for no test asserts a time. One image for all."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.image.builder import Builder, lacking

settings.register_profile("picket", deadline=None)
#: The same examples each time: whether a change is let in does not hang on luck. Other runs look for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("picket")


@pytest.fixture(scope="session")
def builder() -> Iterator[Builder]:
    """With the image built, once for all tests that start something of it."""
    if missing := lacking():
        pytest.skip(f"building the image needs {missing}")
    with tempfile.TemporaryDirectory(prefix="picket-image-", ignore_cleanup_errors=True) as directory:
        made = Builder(Path(directory))
        try:
            made.import_base()
            made.build()
            yield made
        finally:
            subprocess.run(made.command("rmi", "--all", "--force"), capture_output=True, check=False)
