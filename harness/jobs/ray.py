"""Cases on the machines of a Ray cluster; rows and checkpoints come back to one folder here.

Each training is a task with the CPUs, or the GPU, that it needs. One whose machine is lost goes on
elsewhere from its last checkpoint. Timings are one task that has a machine for itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.jobs import Trained
from harness.jobs.desk import KEPT, Desk
from harness.jobs.local import Measure, Timings, Train, outcome
from harness.jobs.worker import Died
from harness.records import Record, Store, build
from harness.records.ledger import Busy, Ledger, Say, StoreLedger
from harness.records.manifest import Manifest
from harness.spec import Case, UsageError
from harness.speed import schedule
from harness.speed.schedule import Measured
from harness.system.files import write_whole
from harness.training import trial

RETRIES = 3  # after a machine or its process was lost
POLL = 0.2  # seconds between two looks at what is done
LOST = (NodeDiedError, WorkerCrashedError, OutOfMemoryError, TaskCancelledError)


@dataclass(eq=False)
class Remote:
    """The desk as a task sees it. Its files go there before the row that tells of them."""

    desk: Any  # the actor's handle
    case: int
    out: Path  # of the task's own files
    sent: dict[Path, int] = field(default_factory=dict)  # when each had changed, in ns

    def begin(self, *rows_: Record) -> list[Record]:
        told = ray.get(self.desk.begin.remote(self.case, [row.to_json() for row in rows_]))
        if isinstance(told, str):
            raise Busy(told)
        name = f"{rows_[0].key}.pt"
        content: Any = ray.get(self.desk.get.remote(name))
        if content is not None:
            path = self.out / "checkpoints" / name
            write_whole(path, lambda part: part.write_bytes(content))
            self.sent[path] = path.stat().st_mtime_ns
        return [Record.of_json(line) for line in told]

    def keep(self, *rows_: Record) -> None:
        for path in (path for folder in KEPT for path in (self.out / folder).glob("*")):
            changed = path.stat().st_mtime_ns
            if self.sent.get(path) != changed:
                name = path.relative_to(self.out).as_posix()
                ray.get(self.desk.put.remote(name, path.read_bytes()))
                self.sent[path] = changed
        refused = ray.get(self.desk.keep.remote(self.case, [row.to_json() for row in rows_]))
        if refused is not None:
            raise UsageError(refused)

    def attempt(self, row: Record, patience: float = 0.0) -> None:
        ray.get(self.desk.attempt.remote(self.case, row.to_json(), patience))

    def say(self, fraction: float, doing: str) -> None:
        self.desk.say.remote(self.case, fraction, doing)


def train_one(desk: Any, number: int, work: Train) -> list[list[Any]]:
    """What a task does: one training, with files of its own."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        out = Path(folder)
        own = replace(work, plan=replace(work.plan, out=out))
        remote: Ledger = Remote(desk, number, out)
        return _ended(own(remote, iter([[number]])))


def measure_all(desk: Any, work: Measure) -> list[list[Any]]:
    """What the task of timings does."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        return _ended(work(Remote(desk, 0, Path(folder)), iter([])))


def _ended(messages: Iterator[list[Any]]) -> list[list[Any]]:
    try:
        return list(messages)
    except UsageError as error:
        return [["usage", str(error)]]


@dataclass(frozen=True)
class Ray:
    """A cluster, or this machine where no address is given."""

    address: str | None
    silence: float

    def train(
        self, cases: tuple[Case, ...], store: Store, plan: trial.Plan, say: Say
    ) -> Iterator[Trained]:
        with _connected(self.address):
            manifest = Manifest.now(cases[0].device, build.now())
            ledger = StoreLedger(store, say, plan.fresh, manifest=manifest)
            yield from Sweep(cases, plan, ledger, self.silence).run()

    def measure(
        self, cases: tuple[Case, ...], store: Store, plan: schedule.Plan, say: Say
    ) -> Iterator[Measured]:
        with _connected(self.address):
            manifest = Manifest.now(cases[0].device, build.now())
            ledger = StoreLedger(store, say, plan.fresh, patient=True, manifest=manifest)
            yield from Alone(cases, plan, ledger, self.silence).run()


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connects to the cluster unless somebody has, and ends what it began."""
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"cannot reach Ray at {address or 'this machine'} ({error}): start it with "
            "`ray start --head`, or give its address with --ray-address"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _here() -> NodeAffinitySchedulingStrategy:
    """The machine that asks: what it lends the desk is its file system."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _desk(ledger: StoreLedger) -> Any:
    made = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=_here())
    return made.remote(Store(ledger.store.out.resolve()), ledger.fresh, ledger.runs, ledger.patient)


def _row(line: Any) -> Record | None:
    return None if line is None else Record.of_json(line)


@dataclass(eq=False)
class Sweep:
    """Trainings of one command, spread over the cluster."""

    cases: tuple[Case, ...]
    plan: trial.Plan
    ledger: StoreLedger
    silence: float
    run_id: str = field(default_factory=build.new_run)
    lost: dict[int, int] = field(default_factory=dict)  # how often each case was

    def run(self) -> Iterator[Trained]:
        """All cases, as they end."""
        self.ledger.start(self.run_id)
        desk = _desk(self.ledger)
        running = {self._start(desk, number): number for number in range(len(self.cases))}
        weights = [trial.weight(case) for case in self.cases]
        done = 0.0
        try:
            while running:
                ended, _ = ray.wait(list(running), timeout=POLL)
                news: Any = ray.get(desk.news.remote())
                for task in ended:
                    number = running.pop(task)
                    again = self._outcome(desk, number, task)
                    if again is not None:
                        running[again] = number
                        continue
                    done += weights[number]
                    yield self._trained(desk, number)
                for task, number in running.items():
                    if number in news and news[number][2] > self.silence:
                        self.lost[number] = RETRIES  # who hangs once hangs again
                        ray.cancel(task, force=True)
                self._tell(news, weights, done)
        finally:
            for task in running:
                ray.cancel(task, force=True)
            ray.kill(desk)

    def _start(self, desk: Any, number: int) -> Any:
        case = self.cases[number]
        most = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
        work = Train(self.cases, self.plan, self.run_id)
        options = {"num_cpus": min(work.threads, most), "num_gpus": int(case.device != "cpu")}
        return ray.remote(train_one).options(max_retries=0, **options).remote(desk, number, work)

    def _outcome(self, desk: Any, number: int, task: Any) -> Any:
        """What a task came to: None where the case is over, else the task that goes on with it."""
        try:
            (message,) = ray.get(task)
            if outcome(message) == "busy":
                return self._start(desk, number)
        except LOST as error:
            self.lost[number] = self.lost.get(number, 0) + 1
            if self.lost[number] <= RETRIES:
                return self._start(desk, number)
            reason = f"its machine or process was lost: {type(error).__name__}"
            self._failed(desk, number, reason)
        except RayError as error:
            self._failed(desk, number, f"{type(error).__name__}: {str(error).splitlines()[-1]}")
        return None

    def _failed(self, desk: Any, number: int, reason: str) -> None:
        case = self.cases[number]
        row = build.of_case(build.of_cell(case, self.run_id, schedule.here("cpu"), "system"), case)
        ray.get(desk.fail.remote(number, row.to_json(), reason))

    def _trained(self, desk: Any, number: int) -> Trained:
        kept, found = ray.get(desk.end.remote(number))
        case = self.cases[number]
        own = [Record.of_json(line) for line in kept]
        self.ledger.note(own)
        if own:
            return Trained(case, tuple(own))
        there = [row for row in map(Record.of_json, found) if row.suite == case.suite]
        return Trained(case, tuple(there), before=True)

    def _tell(
        self, news: dict[int, tuple[float, str, float]], weights: list[float], done: float
    ) -> None:
        if news:
            now = sum(weights[number] * told[0] for number, told in news.items())
            last = max(news, key=lambda number: -news[number][2])
            doing = f"{len(news)} at work; {news[last][1]}"
            self.ledger.say(min(1.0, (done + now) / sum(weights)), doing)


@dataclass(eq=False)
class Alone(Timings):
    """Timings on one machine of the cluster, of which they take all CPUs and, if any, a GPU."""

    def _process(
        self, cases: tuple[Case, ...], plan: schedule.Plan, run_id: str
    ) -> Iterator[Measured]:
        desk = _desk(self.ledger)
        gpu = int(cases[0].device != "cpu")
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = max(
            (each.get("CPU", 1) for each in nodes if each.get("GPU", 0) >= gpu), default=None
        )
        if cpus is None:
            raise UsageError("no machine of the cluster has a GPU: use --device cpu")
        task = ray.remote(measure_all).options(max_retries=0, num_cpus=cpus, num_gpus=gpu)
        running = task.remote(desk, Measure(cases, plan, run_id))
        try:
            while not ray.wait([running], timeout=POLL)[0]:
                self._listen(desk, running)
            messages = ray.get(running)
        except RayError as error:
            raise Died(f"its machine or process was lost: {type(error).__name__}") from None
        finally:
            kept, found = (list(map(Record.of_json, ls)) for ls in ray.get(desk.end.remote(0)))
            self.ledger.kept += kept
            self.ledger.note(kept)
            self.ledger.found += found
            self.ledger.attempted = _row(ray.get(desk.last.remote(0)))
            ray.kill(desk)
        for message in messages:
            if outcome(message) == "measured":
                yield self._measured(list(schedule.cells(cases)), message, run_id)

    def _listen(self, desk: Any, running: Any) -> None:
        """Says how far the task is; ends it where it hangs."""
        news: Any = ray.get(desk.news.remote())
        for fraction, doing, silent in news.values():
            self.ledger.say(fraction, doing)
            if silent > self.silence:
                ray.cancel(running, force=True)
