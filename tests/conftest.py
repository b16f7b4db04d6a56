"""What holds for all tests: examples may take as long as a busy machine needs, because no test asserts a time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("picket", deadline=None)
settings.load_profile("picket")
