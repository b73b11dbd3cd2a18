"""The seconds of a cell's contenders, round by round, in each run that timed it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import nan, sqrt

from harness.analysis.frame import Frames, grouped
from harness.records import IterationResult, Row, has
from harness.records.current import current
from harness.spec import FLOOR, Contender
from harness.statistics import Ratio, StartVariance, estimate_start_variance, mean_ratio

Seconds = dict[int, float]  # of each round
# Every ratio to the floor is to this one; the floor in bf16 is a line of its own.
THE_FLOOR = Contender(FLOOR)
UNKNOWN = Ratio(nan, nan, nan, "none", 0)  # of no rounds
UNLIKE = 1.5  # seconds that differ by this factor from those of a run that is replaced are named


@dataclass(frozen=True)
class Rounds:
    """The seconds of each contender, round by round, in one run of a cell.

    The floor runs twice a round; its seconds are the geometric mean, less noisy than either. A
    round in which it ran once is none of its.
    """

    seconds: Mapping[Contender, Seconds]
    again: Seconds  # A/A, round by round: the second instance of the floor over the first
    starts: Mapping[int, int]  # of the processes, by round
    data: frozenset[str]  # hashes

    def ratio(self, numerator: Contender, denominator: Contender) -> Ratio:
        """Return the mean ratio of two contenders' seconds in the rounds of both, with interval."""
        quotients = _divided(self.seconds.get(numerator, {}), self.seconds.get(denominator, {}))
        if quotients and numerator == denominator:
            return Ratio(1.0, 1.0, 1.0, "none", len(quotients))
        return self._mean(quotients)

    @cached_property
    def noise(self) -> Ratio:
        """The A/A ratio: the floor's second instance over its first, with interval."""
        return self._mean(self.again)

    @property
    def offset(self) -> float:
        """The factor, 1 or more, by which A/A is off where its interval leaves out 1; else 1."""
        noise = self.noise
        is_off = noise.low > 1 or noise.high < 1
        return max(noise.value, 1 / noise.value) if is_off else 1.0

    @property
    def doubt(self) -> str:
        """What an A/A that is off means for differences, in a sentence; "" where it is not."""
        if self.offset == 1:
            return ""
        noise, least = self.noise, 100 * (self.offset - 1)
        ratio = f"{noise.value:.3f} [{noise.low:.3f}, {noise.high:.3f}]"
        return f"A/A, {ratio}, leaves out 1: a difference counts only beyond {least:.1f} %"

    def factor(self, contender: Contender, earlier: Rounds) -> float | None:
        """Return how many times its seconds in an earlier run a contender takes, if UNLIKE.

        None where they are alike: within UNLIKE, or with intervals that overlap.
        """
        new, old = (run._mean(run.seconds.get(contender, {})) for run in (self, earlier))
        is_apart = new.low > old.high or new.high < old.low
        factor = new.value / old.value
        return factor if is_apart and not 1 / UNLIKE <= factor <= UNLIKE else None

    def _mean(self, ratios: Seconds) -> Ratio:
        return mean_ratio(self._by_start(ratios), self._start_variance) if ratios else UNKNOWN

    def _by_start(self, ratios: Seconds) -> list[list[float]]:
        starts = grouped(sorted(ratios), lambda n: self.starts[n])
        return [[ratios[n] for n in numbers] for numbers in starts.values()]

    @cached_property
    def _start_variance(self) -> StartVariance:
        """Estimate how much a contender's ratios differ from start to start of its process."""
        floor = self.seconds.get(THE_FLOOR, {})
        quotients = [
            _divided(seconds, floor)
            for contender, seconds in self.seconds.items()
            if contender.framework != FLOOR
        ]
        return estimate_start_variance(map(self._by_start, (*quotients, self.again)))


def _divided(numerators: Seconds, denominators: Seconds) -> Seconds:
    both = sorted(numerators.keys() & denominators.keys())
    return {n: numerators[n] / denominators[n] for n in both}


@lru_cache(maxsize=4)
def rounds(frames: Frames) -> dict[tuple[int, str], Rounds]:
    """Return the rounds by cell (its number) and run, also those that do not count."""
    rows = zip(frames.cells, frames.rows, strict=True)
    timed = [(cell, row) for cell, row in rows if has(row, IterationResult) and row.result.seconds]
    by_run = grouped(timed, lambda entry: (entry[0], entry[1].run.id))
    return {key: _of_run([row for _, row in entries]) for key, entries in by_run.items()}


def _of_run(timed: Sequence[Row[IterationResult]]) -> Rounds:
    """Return the rounds of one run's rows; the A/A test's two processes count as their mean."""
    times = defaultdict[tuple[Contender, bool], Seconds](dict)
    for row in timed:
        times[row.contender, row.result.twin][row.result.round] = row.result.seconds
    seconds = {contender: times[contender, twin] for contender, twin in times if not twin}
    again = Seconds()
    for contender in [contender for contender, is_twin in times if is_twin]:
        first, second = seconds.get(contender, {}), times[contender, True]
        again = _divided(second, first)
        seconds[contender] = {n: sqrt(first[n] * second[n]) for n in again}
    data = frozenset(row.data.source.sha256 for row in timed if row.data.source)
    return Rounds(seconds, again, {row.result.round: row.result.start for row in timed}, data)


@lru_cache(maxsize=4)
def replaced(frames: Frames) -> dict[tuple[int, str], list[str]]:
    """Return by cell and precision the runs that do not count because a later one replaced them."""
    hidden = grouped(
        (
            (cell, row)
            for cell, row, counts in zip(frames.cells, frames.rows, frames.counts, strict=True)
            if has(row, IterationResult) and not counts
        ),
        lambda entry: (entry[0], entry[1].contender.precision, entry[1].run.id),
    )
    runs = defaultdict[tuple[int, str], list[str]](list)
    for (cell, precision, run), entries in hidden.items():
        if all(current([row for _, row in entries]).counts):  # by itself it would
            runs[cell, precision].append(run)
    return runs


def notes_on(frames: Frames, cell: int, contender: Contender, run: str) -> Iterator[str]:
    """Yield in what a contender's times in a run are unlike those that they replaced.

    Of the floor also that A/A is off.
    """
    times = rounds(frames)
    if (of_run := times.get((cell, run))) is None:
        return
    if contender == THE_FLOOR and of_run.offset > 1:
        yield of_run.doubt
    for name in replaced(frames).get((cell, contender.precision), ()):
        earlier = times[cell, name]
        if factor := of_run.factor(contender, earlier):
            yield f"takes {factor:.2g} times as long as in run {name}, which a later one replaced"
        if of_run.data != earlier.data:
            yield f"was timed on other data than in run {name}, which a later one replaced"
