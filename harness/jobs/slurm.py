"""Trainings as jobs of a Slurm cluster whose machines share the result folder's file system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import sleep

import submitit
import torch

from harness.jobs import Trained, worker
from harness.jobs.local import Local
from harness.records import Store
from harness.records.ledger import Say
from harness.spec import Case, UsageError
from harness.speed import schedule
from harness.speed.schedule import Measured
from harness.training import trial

POLL = 1.0  # seconds between two looks at what is done
MINUTES = 24 * 60  # that a job may take; one that was ended goes on with the next command


@dataclass(frozen=True)
class Slurm:
    """The cluster that this machine submits to; without one, processes of this machine."""

    silence: float = worker.SILENCE
    cluster: str | None = None  # None: Slurm where there is one

    def train(
        self, cases: tuple[Case, ...], store: Store, plan: trial.Plan, say: Say
    ) -> Iterator[Trained]:
        out = store.out.resolve()
        threads = torch.get_num_threads()
        submit = submitit.AutoExecutor(folder=out / "slurm", cluster=self.cluster)
        submit.update_parameters(
            timeout_min=MINUTES,
            cpus_per_task=threads,
            gpus_per_node=int(cases[0].device != "cpu"),
            slurm_job_name="harness",
        )
        threads = torch.get_num_threads()
        with submit.batch():
            jobs = [
                submit.submit(train_one, case, store, plan, self.silence, threads) for case in cases
            ]
        waiting = dict(enumerate(jobs))
        try:
            while waiting:
                for number in [n for n, job in waiting.items() if job.done()]:
                    yield _ended(waiting.pop(number))
                say(1 - len(waiting) / len(jobs), f"{len(waiting)} jobs are not done")
                sleep(POLL)
        finally:
            for job in waiting.values():
                job.cancel()

    def measure(
        self, cases: tuple[Case, ...], store: Store, plan: schedule.Plan, say: Say
    ) -> Iterator[Measured]:
        raise UsageError(
            "--executor slurm trains: time with --executor local in a job that has its machine "
            "for itself (sbatch --exclusive)"
        )


def train_one(case: Case, store: Store, plan: trial.Plan, silence: float, threads: int) -> Trained:
    """What a job does: one case, as `--executor local` does it."""
    torch.set_num_threads(threads)
    (ended,) = Local(silence).train((case,), store, plan, lambda fraction, doing: None)
    return ended


def _ended(job: submitit.Job[Trained]) -> Trained:
    """What a job came to. Raises UsageError where it did not start or was lost."""
    error = job.exception()
    if error is not None:
        raise UsageError(
            f"job {job.job_id} was lost ({str(error).splitlines()[-1]}): the same command goes on "
            f"with it; its log is {job.paths.stderr}"
        )
    return job.result()
