"""How much was not seen yet: statistics of kinds seen in units of time. Pure numbers; knows no edges.

A unit is a day or an hour; a kind (an edge) is in a unit or not, however often. What the kinds that were in exactly one unit
and in exactly two say about those in none:

* Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40 (1953);
  Robbins, "Estimating the total probability of the unobserved outcomes of an experiment", Ann. Math. Statist. 39 (1968).
* Chao, "Estimating the population size for capture-recapture data with unequal catchability", Biometrics 43 (1987): a lower
  bound for the kinds not seen (Chao2), and its interval. Colwell et al., "Models and estimators linking individual-based and
  sample-based rarefaction, extrapolation and comparison of assemblages", J. Plant Ecol. 5 (2012).
* Chao, Jost, "Coverage-based rarefaction and extrapolation", Ecology 93 (2012): the share of occurrences that seen kinds hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_SHARE = 0.95
_Z = NormalDist().inv_cdf((1 + _SHARE) / 2)
#: Beyond this mean, a distribution of counts is close enough to a normal one.
_LARGE = 2000.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and from where to where it holds in 95 of 100 cases."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True)
class Incidence:
    """``kinds`` were seen in ``units``: ``once`` of them in exactly one, ``twice`` in exactly two, ``occurrences`` summed up.

    ``spread`` is the variance of `once` between units, divided by its mean: 1 when kinds come independently of each other,
    more when they come together.
    """

    units: int
    kinds: int
    once: int
    twice: int
    occurrences: int
    spread: float = 1.0


def incidence(occurrences: Iterable[int], units: int) -> Incidence:
    """Count. Each kind is a number whose bits are the units in which it was, counted from 0; kinds in none do not count."""
    kinds = once = twice = total = 0
    alone: dict[int, int] = {}
    for bits in occurrences:
        count = bits.bit_count()
        kinds += count > 0
        total += count
        if count == 1:
            once += 1
            unit = bits.bit_length()
            alone[unit] = alone.get(unit, 0) + 1
        twice += count == 2
    return Incidence(units, kinds, once, twice, total, _spread(alone.values(), once, units))


def _spread(alone: Iterable[int], once: int, units: int) -> float:
    if units < 2 or once < 2:
        return 1.0
    mean = once / units
    variance = (sum(count * count for count in alone) - units * mean * mean) / (units - 1)
    return max(1.0, variance / mean)


def new_kinds(seen: Incidence, ahead: float) -> Interval:
    """How many kinds not seen so far will be seen in the next units, ``ahead`` of them and not more than were watched.

    A kind that is in one unit of all is as likely in any of them, so of those still to come there are about `once` for each
    of the units watched; rather fewer, as some kinds that were in two units were among them. The interval is that of a count,
    as uncertain as `once` itself is and as uneven as kinds came so far.

    Raises:
        ValueError: nothing was watched, or less than what lies ahead.
    """
    if not 0 < ahead <= seen.units:
        raise ValueError(f"{seen.units} units say nothing about the next {ahead}")
    ratio = ahead / seen.units
    # Half a kind more than was seen: Jeffreys' prior, so that nothing seen once does not mean that nothing will come.
    mean = (seen.once + 0.5) * ratio
    variance = mean * (1 + ratio) * seen.spread + 2 * seen.twice * ratio * ratio
    tail = (1 - _SHARE) / 2
    return Interval(_quantile(mean, variance, tail), seen.once * ratio, _quantile(mean, variance, 1 - tail))


def unseen_kinds(seen: Incidence) -> Interval:
    """How many kinds there are at least that were not seen (Chao2), with Chao's interval of this bound."""
    share = (seen.units - 1) / seen.units if seen.units else 0.0
    q1, q2 = seen.once, seen.twice
    if q2 > 0:
        estimate = share * q1 * q1 / (2 * q2)
        ratio = q1 / q2
        variance = q2 * (share / 2 * ratio**2 + share**2 * ratio**3 + share**2 / 4 * ratio**4)
    else:
        estimate = share * q1 * (q1 - 1) / 2
        whole = seen.kinds + estimate
        variance = share * q1 * (q1 - 1) / 2 + share**2 * q1 * (2 * q1 - 1) ** 2 / 4
        variance -= share**2 * q1**4 / (4 * whole) if whole else 0.0
    if estimate <= 0:
        return Interval(0.0, 0.0, 0.0)
    factor = math.exp(_Z * math.sqrt(math.log(1 + max(0.0, variance) * seen.spread / estimate**2)))
    return Interval(estimate / factor, estimate, estimate * factor)


def completeness(seen: Incidence) -> float:
    """The share of all occurrences, seen or not, that belong to kinds that were seen: 0 to 1."""
    if not seen.occurrences or seen.units < 2:
        return 0.0
    weighted = (seen.units - 1) * seen.once
    missing = weighted / (weighted + 2 * seen.twice) if weighted or seen.twice else 0.0
    return 1 - seen.once / seen.occurrences * missing


def _quantile(mean: float, variance: float, share: float) -> float:
    """A point of the negative binomial distribution of this mean and larger variance."""
    if mean > _LARGE:
        return max(0.0, float(round(mean + NormalDist().inv_cdf(share) * math.sqrt(variance))))
    size = mean * mean / (variance - mean)
    chance = mean / variance
    term = size * math.log(chance)
    count, below = 0, math.exp(term)
    while below < share:
        count += 1
        term += math.log((size + count - 1) / count * (1 - chance))
        below += math.exp(term)
    return float(count)
