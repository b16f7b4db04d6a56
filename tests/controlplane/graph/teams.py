"""A mesh as companies have them: teams with services of their own, and a few that everyone calls. Seeded."""

from __future__ import annotations

import random

PLATFORM = [f"platform/{name}" for name in ("auth", "logs", "metrics", "flags", "mail")]


def mesh(teams: int, services: int, seed: int = 1) -> list[tuple[str, str]]:
    """Calls within teams, from each service to some of those behind it, and to the platform. The last two call nobody."""
    chance = random.Random(seed)
    calls: set[tuple[str, str]] = set()
    for team in range(teams):
        names = [f"t{team}/s{number}" for number in range(services)]
        for place, name in enumerate(names[:-2]):
            behind = names[place + 1 :]
            calls.update((name, other) for other in chance.sample(behind, min(len(behind), chance.randint(2, 4))))
            calls.update((name, other) for other in chance.sample(PLATFORM, chance.randint(1, 4)))
    return sorted(calls)


def intrusions(teams: int, services: int, count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Calls from one team's service to what another team has at its very back."""
    chance = random.Random(seed)
    found: set[tuple[str, str]] = set()
    while len(found) < count:
        ours, theirs = chance.sample(range(teams), 2)
        found.add((f"t{ours}/s{chance.randrange(services - 2)}", f"t{theirs}/s{services - 1}"))
    return sorted(found)
