"""Trainings as jobs of a Slurm cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import sleep

import submitit
import torch

from harness.jobs import Timed, Trained
from harness.jobs.task import Parcel, Task, shared
from harness.jobs.worker import SILENCE
from harness.records import Store
from harness.spec import Access, Budget, Case, Say, UsageError

POLL = 1.0  # seconds between two looks at what is done
MINUTES = 24 * 60  # that a job may take; one that was ended goes on with the next command


@dataclass(frozen=True)
class Slurm:
    """The cluster that this machine submits to; without one, processes of this machine."""

    silence: float = SILENCE
    cluster: str | None = None  # None: Slurm where there is one

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[Trained]:
        """Trains each case as a job of its own; see `Executor`."""
        threads = torch.get_num_threads()
        submit = submitit.AutoExecutor(folder=store.out.resolve() / "slurm", cluster=self.cluster)
        submit.update_parameters(
            timeout_min=MINUTES,
            cpus_per_task=threads,
            gpus_per_node=int(cases[0].device != "cpu"),
            slurm_job_name="harness",
        )
        with shared(store) as share:
            task = Task(share, access, self.silence, threads)
            with submit.batch():
                jobs = [submit.submit(task.train, case, Parcel.of(store, case)) for case in cases]
            yield from _ended(jobs, store, say)

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Timed]:
        """Raises UsageError, which says how to time on a cluster."""
        raise UsageError(
            "--executor slurm trains: time with --executor local in a job that has its machine "
            "for itself (sbatch --exclusive)"
        )


Job = submitit.Job[tuple[Trained, Parcel]]


def _ended(jobs: list[Job], store: Store, say: Say) -> Iterator[Trained]:
    """What the jobs come to, as they end."""
    waiting = dict(enumerate(jobs))
    try:
        while waiting:
            for number in [n for n, job in waiting.items() if job.done()]:
                trained, parcel = _result(waiting.pop(number))
                parcel.unpack(store)
                yield trained
            say(1 - len(waiting) / len(jobs), f"{len(waiting)} jobs are not done")
            sleep(POLL)
    finally:
        for job in waiting.values():
            job.cancel()


def _result(job: Job) -> tuple[Trained, Parcel]:
    """What a job came to. Raises UsageError where it did not start or was lost."""
    error = job.exception()
    if error is not None:
        raise UsageError(
            f"job {job.job_id} was lost ({str(error).splitlines()[-1]}): the same command goes on "
            f"with it; its log is {job.paths.stderr}"
        )
    return job.result()
