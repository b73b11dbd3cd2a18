"""One cell: its contenders proved equal, then timed in rounds, any of which may be audited."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, isclose, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

import adapters
from adapters import facts
from harness import datasets, records
from harness.machine import clock, host, memory
from harness.proof import certificate
from harness.proof.answer import Incomparable
from harness.proof.installation import NOTHING_KNOWN, installation_of
from harness.records import Build, Outcome, Result, Row, Run, When
from harness.records.done import is_done, without_overcome
from harness.records.identity import timing_key
from harness.records.run import Failed, RowMaker, shortened
from harness.records.run import maker as maker_of
from harness.records.store import Ledger
from harness.reference import coding
from harness.reference.initialise import dead_layers
from harness.spec import FLOOR, Access, Budget, Contender, Precision, Source, Timing, UsageError
from harness.speed.contender import ContenderProcess, failed_without_memory
from harness.speed.floor import Layout
from harness.speed.judge import Judge
from harness.speed.worker import First, Turn, Worker
from harness.statistics import estimate_start_variance, mean_ratio

REST_SECONDS = 10.0  # after which contenders run before they are timed: others were at work
WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
CLOSELY = 0.02  # of a version to another one of its framework, and from the third start on
DRAWN = 0.1  # of the rounds; one more is audited in any case
AUDITED = 2  # iterations whose memory an audit takes: the contender's and the reference's
# Of all votes so many may differ from the others' of its round before that turn is audited: where
# kernels sum in another order, a near-tie flips a few spikes.
OTHER_VOTES = 0.05
SAME_LOSS = 1e-3  # relative, of the loss that its votes give
# Deferred work: above this share of an iteration it is refused, below so many seconds noise.
DEFERRED, NOISE = 0.02, 0.01


@dataclass(eq=False)
class Cell:
    """A network and batch, and the contenders timed on it: read, prove, start, rounds, close."""

    case: Timing  # what the cases of the cell share; its precision is the first one's
    group: tuple[Timing, ...]
    run: Run
    ledger: Ledger
    access: Access
    budget: Budget  # of the whole run
    say: Callable[[str], None] = lambda doing: None  # reports, in words, what comes next
    number: int = 0  # of rounds
    rows: list[Row] = field(default_factory=list)  # of this cell: an earlier run's, or this one's
    was_done: bool = False  # by an earlier run
    contenders: list[ContenderProcess] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # of the processes: rounds before each
    _judge: Judge = field(init=False)
    _rest: clock.Stopwatch | None = None  # since its last round
    _source: Source | None = None
    _layouts: dict[Precision, tuple[Layout, ...]] = field(default_factory=dict)
    _compiled: TemporaryDirectory[str] | None = None  # what torch compiles for each

    def __post_init__(self) -> None:
        # each cell has orders of its own: the same ones in all would favour one that is lucky
        self._random = random.Random(repr(self.case))
        # which turns are audited nobody can know before they are over: it is the run that decides
        self._drawn = random.Random(f"{self.run.id} {self.case}")
        rounds = self.budget.rounds
        self._always_audited_round = self._drawn.randint(min(2, rounds), rounds)

    # Before the rounds

    def read(self) -> bool:
        """Read the data, lock the cell; return False if it is done or failed, as its rows say."""
        case, workload, root = self.case, self.case.workload, self.access.root
        size, seed = (workload.dataset, workload.T, workload.batch_size), workload.seed
        may = workload.dataset in self.access.download
        self.say("data")
        try:
            with failed_without_memory():
                batch = datasets.load_batch(*size, seed, root=root, download=may)
                other = datasets.load_batch(*size, seed + 1, root=root, download=may)
            self._source = batch.source
            makers = [*map(self.maker_of, self.group)]
            floors = map(self.maker_of, floor_cases(case, self.group))
            rows = self.ledger.lock_and_read(*makers, *floors)
            # one that is not installed has no seconds for which the others' are measured again
            reasons = {m.key: facts.look_up(m.case.contender.package).missing for m in makers}
            present = {key for key, reason in reasons.items() if not reason}
            if is_done(case, present or reasons.keys(), rows, self.budget):
                self.rows, self.was_done = without_overcome(rows), True
                for maker in makers:
                    if maker.key not in present | {row.key for row in rows}:
                        self._end(maker, "missing", reasons[maker.key])
                return False
            if too_large := memory.too_large(case):
                raise UsageError(too_large)
            self._judge = Judge(case, batch, other, self.ledger.store.out)
            with failed_without_memory():
                self._judge.weights(is_late=False)
        except (UsageError, Failed) as error:  # of data, or of weights that the case names
            for case in self.group:
                self._end(self.maker_of(case), "failed", str(error))
            return False
        return True

    def maker_of(self, case: Timing) -> RowMaker:
        """Return what makes the rows of a case; its key is None before `read`."""
        try:
            installation = installation_of(case)
        except adapters.Missing:  # its row has the reason
            installation = NOTHING_KNOWN
        maker, run, source = maker_of(case, self.run, installation), self.run, self._source
        if source is None:
            return maker
        key = timing_key(case, source.sha256, installation, run.machine, run.allocator or "")
        return replace(maker, data=replace(maker.data, source=source), key=key)

    def prove(self) -> None:
        """Examine adapters; contenders are those that pass or declare deviations, and floors."""
        weights, inputs = self._judge.weights(is_late=False)
        if dead := dead_layers(weights, self.case.workload.network, inputs):
            self._warn(
                self.maker_of(self.group[0]),
                f"dead layers under the {self.case.workload.initialisation} initialisation: "
                f"{', '.join(dead)}; they cannot learn: use --init calibrated or a lower threshold",
            )
        examined = [ContenderProcess(self.maker_of(case)) for case in self.group]
        self.say("exams")
        for doing in self._judge.examine([contender.maker for contender in examined]):
            self.say(doing)
        self._attempt(examined, self._prove)
        if proved := [contender for contender in examined if not contender.failed]:
            cases = floor_cases(self.case, (contender.case for contender in proved))
            floor, *floors = (ContenderProcess(self.maker_of(case)) for case in cases)
            twin = ContenderProcess(floor.maker, twin=True)
            self.contenders = [floor, twin, *floors, *proved]

    def _prove(self, contender: ContenderProcess) -> None:
        """Keep a proof as rows. Raises Incomparable if one that declares no deviation fails it."""
        maker, case = contender.maker, contender.case
        proofs = self._judge.certificates(case)
        network = self._judge.network_of(case)
        narrower = None if network == case.workload.network else str(network)
        for proof in proofs:
            for result in certificate.results_of(proof, narrower):
                self._keep(maker, result)
        failures = [failure for proof in proofs for failure in proof.failures]
        if failures and not maker.installation.deviations:
            raise Incomparable(failures[0])
        contender.part = self._judge.parts[case.contender.name]

    def start(self) -> None:
        """Start or restart the processes of all contenders.

        Each builds its timed object and runs a first iteration, audited if it claims to be equal.
        """
        for contender in self.contenders:
            contender.end()
        self.starts.append(self.number)
        self._attempt(self._running, self._start)
        self._judge.forget()

    def _start(self, contender: ContenderProcess) -> None:
        """Start a contender's process, build what it times, run and audit its first iteration."""
        judge, is_late, case = self._judge, len(self.starts) > 1, contender.case
        precision, equal = case.contender.precision, contender.claims_to_be_equal
        self.say(f"audit of {contender.name}" if equal else contender.name)
        self._make_room(contender)
        if self._compiled is None:
            self._compiled = TemporaryDirectory(prefix="snn-harness-", ignore_cleanup_errors=True)
        # is there at its second start
        contender.start(Path(self._compiled.name) / str(self.contenders.index(contender)))
        if contender.is_floor:
            if precision not in self._layouts:
                self._layouts[precision] = contender.call(Worker.layouts)
            first = contender.call(Worker.build_floor, self._layouts[precision])
        else:
            question = judge.question(case, is_late=is_late)
            first = contender.call(Worker.build, question, not is_late)
        usual = contender.maker.build
        built = Build(layout=first.layout, computed=first.computed, threads=first.threads)
        contender.maker = replace(contender.maker, build=built)
        warmup = records.WarmupResult(
            seconds=first.seconds, steps=case.workload.T, compile_seconds=first.compile_seconds
        )
        self._keep(contender.maker, warmup)
        if not is_late and not contender.is_floor:
            self._keep_memory(contender, first)
        if equal:
            self._audit(contender, "late" if is_late else "before")
        if is_late and not contender.is_floor:  # the rounds have the usual weights again
            contender.call(Worker.ask, judge.question(case))
            contender.maker = replace(contender.maker, build=usual)

    def _keep_memory(self, contender: ContenderProcess, first: First) -> None:
        """Keep a contender's peak memory as a row, or why it has none."""
        part, reason = contender.part, first.unmeasured
        if part is not None:
            reason = f"{part.samples} samples at {part.steps} steps were run, not all"
        if part is not None or first.peak_mib is None:
            result = records.UnmeasuredResult(figure="memory", reason=shortened(reason))
        else:
            result = records.MemoryResult(peak_memory_mib=round(first.peak_mib, 1))
        self._keep(contender.maker, result)

    def _make_room(self, contender: ContenderProcess | None = None, iterations: int = 1) -> None:
        """Have the largest others give memory back until so many iterations have room."""
        if self.case.device != "cpu":
            return
        # the spare holds what compiling for it takes; other free memory may be taken meanwhile
        needed = iterations * memory.case_mib(self.case) + memory.spare_mib()
        others = {one: one.held_mib for one in self._running if one.child and one is not contender}
        for other in sorted(others, key=others.__getitem__, reverse=True):
            if not other.is_lean and memory.available_mib("cpu") < needed:
                other.is_lean = True
                self._attempt([other], lambda large: large.call(Worker.release))

    def _audit(self, contender: ContenderProcess, when: When) -> None:
        """Compare the last iteration with the reference; raise Incomparable if it is not equal."""
        self._make_room(contender, AUDITED)
        number = self.number if when == "round" else None
        result = self._judge.audit(contender, when, number)
        self._keep(contender.maker, result)
        if not result.passed:
            raise Incomparable(str(result.reason))

    # The rounds

    @property
    def _running(self) -> list[ContenderProcess]:
        return [contender for contender in self.contenders if not contender.failed]

    @property
    def _floor(self) -> ContenderProcess | None:
        """The float32 floor, which all ratios are to."""
        running = (one for one in self._running if one.is_floor and one.precision == "fp32")
        return next(running, None)

    @property
    def is_comparable(self) -> bool:
        """Whether a round has anything to compare: the floor and another contender still run."""
        return self._floor is not None and not all(one.is_floor for one in self._running)

    @property
    def versions(self) -> list[tuple[ContenderProcess, ContenderProcess]]:
        """Pairs of contenders that run two versions of one framework: a later one and the first."""
        first: dict[Contender, ContenderProcess] = {}
        pairs = list[tuple[ContenderProcess, ContenderProcess]]()
        for process in self._running:
            name = replace(process.maker.case.contender, version=None)
            if not process.is_floor and first.setdefault(name, process) is not process:
                pairs.append((process, first[name]))
        return pairs

    def is_known(self, within: float = WITHIN) -> bool:
        """Return whether all ratios to the floor are known `within`, of versions within 2 %."""
        assert self._floor is not None
        spans = [*zip(self.starts, [*self.starts[1:], self.number], strict=True)]

        def ratio(one: ContenderProcess, other: ContenderProcess) -> list[list[float]]:
            ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
            return [ratios[i:j] for i, j in spans]

        to_floor = [ratio(contender, self._floor) for contender in self._running]
        moves = estimate_start_variance(to_floor)
        widths = [(starts, within) for starts in to_floor]
        widths += [(ratio(*pair), CLOSELY) for pair in self.versions]
        return all(mean_ratio(starts, moves).half_width <= width for starts, width in widths)

    def round(self) -> None:
        """Run each contender once, warm, in random order; audit some rounds, and all odd votes."""
        self.say(f"round {self.number + 1}")
        if self._rest is None or self._rest.seconds > REST_SECONDS:
            # meanwhile others worked: their memory is in the caches, and the system may have let go
            # of pages of a program's own code; one that gives memory back runs before each turn
            rested = [contender for contender in self._running if not contender.is_lean]
            self._attempt(rested, lambda contender: contender.call(Worker.turn, 0))
        if any(one.is_lean for one in self._running):  # each takes an iteration's memory anew
            self._make_room()
        self.number += 1
        self._attempt(self._random.sample(self._running, len(self._running)), self._turn)
        self._rest = clock.Stopwatch()
        # nobody knows before it is over
        self._audit_turns(self._drawn.random() < DRAWN or self.number == self._always_audited_round)

    def _audit_turns(self, drawn: bool) -> None:
        """Audit the last turn: if `drawn` of all, else of those whose votes differ from others'."""
        equal = [contender for contender in self._running if contender.claims_to_be_equal]
        audited = [contender for contender in equal if drawn or _is_odd(contender, equal)]
        self._attempt(audited, partial(self._audit, when="round"))
        self._judge.forget()

    def _turn(self, contender: ContenderProcess) -> None:
        """Have a contender run its iteration of this round, check its votes, keep its time."""
        turn = contender.call(Worker.turn, self.number)
        if contender.is_floor and turn.changed:  # all others are divided by it
            raise Failed(f"its process was changed from outside: {', '.join(turn.changed)}")
        if turn.votes is not None:
            labels = self._judge.batch.labels[: contender.case.workload.batch_size]
            contender.votes = checked(turn, labels.roll(self.number, 0))
        contender.seconds.append(turn.seconds)
        contender.deferred.append(0.0 if turn.deferred < NOISE else turn.deferred / turn.seconds)
        part = contender.part  # of an iteration, where that is not all of it
        workload = self.case.workload
        share = part and part.amount / (workload.T * workload.batch_size)
        self._keep(contender.maker, records.IterationResult(
            round=self.number, start=len(self.starts), twin=contender.twin, part=share,
            seconds=turn.seconds / (share or 1.0), loss=turn.loss,
        ))  # fmt: skip
        if changed := [text for text in turn.changed if text not in contender.settings_changed]:
            contender.settings_changed.update(changed)
            what = f"the process of {contender.name} changed: {', '.join(changed)}"
            self._warn(contender.maker, f"{what}; the others have their own")

    # After them

    def close(self) -> None:
        """Keep the end of the timing of each contender that still runs, then end all processes."""
        # there may have been no time for the round that is always audited
        if 0 < self.number < self._always_audited_round:
            self._audit_turns(drawn=True)
        self._attempt(self._running, _check_deferred)
        # without a second floor there is no A/A, so nobody has a rank: the cell is not done
        if self.is_comparable and any(contender.twin for contender in self._running):
            budget = None if self.budget.seconds == inf else self.budget.seconds
            result = records.TimedResult(
                rounds=self.number, converged=self.is_known(), budget_seconds=budget
            )
            for contender in self._running:
                if not contender.twin:
                    self._keep(contender.maker, result)
        self.end_processes()
        memory.release()

    def end_processes(self) -> None:
        """End all processes and free the cell's data and weights; rows are kept."""
        for contender in self.contenders:
            contender.end()
        self.contenders = []
        vars(self).pop("_judge", None)  # its batches and weights take memory
        if self._compiled is not None:
            self._compiled.cleanup()

    # At any time

    def _attempt(
        self, contenders: list[ContenderProcess], work: Callable[[ContenderProcess], object]
    ) -> None:
        """Call `work` on each; one that raises Failed is ended, and its reason kept as a row."""
        for contender in contenders:
            try:
                with failed_without_memory():
                    work(contender)
            except Failed as error:
                contender.failed = True
                contender.end()
                self._end(contender.maker, error.status, str(error))

    def _warn(self, maker: RowMaker, reason: str) -> None:
        self._keep(maker, records.WarningResult(reason=reason))

    def _end(self, maker: RowMaker, status: Outcome, reason: str) -> None:
        self._keep(maker, maker.ended(status, reason).result)

    def _keep(self, maker: RowMaker, result: Result) -> None:
        """Make a row of a result and write it to the ledger, at once."""
        row = maker.row(result, host.moment())
        self.ledger.keep(row)
        self.rows.append(row)


def floor_cases(cell: Timing, cases: Iterable[Timing]) -> list[Timing]:
    """Return the floor's cases: in the cell's own precision, float32 and the cases' others.

    The first is of the cell's own precision. Reported ratios are to float32's.
    """
    others: set[Precision] = {"fp32", *(case.contender.precision for case in cases)}
    precisions: list[Precision] = [cell.contender.precision]
    precisions += sorted(others - {cell.contender.precision})
    return [replace(cell, contender=Contender(FLOOR, precision=name)) for name in precisions]


def _is_odd(contender: ContenderProcess, contenders: Sequence[ContenderProcess]) -> bool:
    """Return whether its votes of a round differ from the median of its precision's contenders."""
    if contender.votes is None or contender.part is not None:
        return False
    usual = torch.stack([
        one.votes
        for one in contenders
        if one.votes is not None and one.part is None and one.precision == contender.precision
    ]).median(0).values  # fmt: skip
    distance = (contender.votes - usual).abs().sum() / usual.abs().sum().clamp(min=1e-12)
    return float(distance) > OTHER_VOTES


def _check_deferred(contender: ContenderProcess) -> None:
    """Raise Incomparable if work was deferred in every round; a busy machine delays only some."""
    if (deferred := min(contender.deferred, default=0.0)) > DEFERRED:
        raise Incomparable(
            f"{deferred:.0%} of an iteration's time was left when the clock stopped: "
            "reading its gradients took so long"
        )


def checked(turn: Turn, labels: Tensor) -> Tensor:
    """Return a turn's votes (B, classes).

    Raises Incomparable if they are not finite, not one a label, or do not give the turn's loss.
    """
    votes, loss, reason = torch.tensor(turn.votes, dtype=torch.float64), turn.loss, ""
    if not votes.isfinite().all() or not isfinite(loss or 0.0):
        reason = "gave numbers that are not finite"
    elif len(votes) != len(labels):
        reason = f"gave votes of {len(votes)} samples, not of {len(labels)}"
    elif loss is not None:
        expected = float(coding.loss(votes, labels))
        if not isclose(expected, loss, rel_tol=SAME_LOSS):
            reason = f"gave a loss of {loss:.4g}; that of its votes is {expected:.4g}"
    if reason:
        raise Incomparable(f"a timed iteration {reason}")
    return votes
