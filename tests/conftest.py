"""What holds for all tests: examples may take as long as a busy machine needs, because no test asserts a time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("picket", deadline=None)
#: The same examples each time: whether a change is let in does not hang on luck. Other runs look for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("picket")
