"""A long-lived interpreter of Matlab code: Octave or MATLAB, whichever is there or is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy.io import loadmat, savemat

from adapters.facts import Missing

CODE = Path(__file__).parents[1] / "matlab"
PROGRAM = "HARNESS_OCTAVE"  # names the program, where the first on the PATH is not wanted
INSTALL = "apt-get install octave libopenblas0"


def program() -> str:
    """The interpreter that is started. Raises Missing."""
    named = os.environ.get(PROGRAM)
    for name in (named,) if named else ("octave-cli", "matlab"):
        found = shutil.which(name)
        if found:
            return found
    what = (
        f"{named}, which {PROGRAM} names, is not" if named else "neither octave-cli nor matlab is"
    )
    raise Missing(f"octave does not load: {what} on the PATH: {INSTALL}")


@dataclass(frozen=True)
class About:
    """What the interpreter says of itself."""

    program: str
    version: str
    blas: str

    def __str__(self) -> str:
        slow = "" if "reference" not in self.blas.lower() else f": slow, {INSTALL}"
        return f"{self.program} {self.version}, BLAS {self.blas}{slow}"


class Engine:
    """One interpreter: a command goes in on a line, an answer comes out on a line."""

    def __init__(self, threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="snn-octave-")
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 it lives as long
        self.slots = count(1)
        started = program()
        serve = f"addpath('{CODE}'); snn_serve"
        quiet = ["--quiet", "--norc", "--no-history", "--no-line-editing", "--eval"]
        arguments = ["-batch"] if "matlab" in Path(started).name else quiet
        self.process = subprocess.Popen(
            [*_ending_with_owner(), started, *arguments, serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            errors="replace",
            env=_environment(threads),
            cwd=self.folder.name,
        )
        weakref.finalize(self, _end, self.process, self.folder, self.errors)

    def ask(self, verb: str, slot: int = 1, name: str = "-") -> float:
        """Has a command done: the loss of the slot's last step. Raises RuntimeError."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(f"{verb} {slot} {name}\n\n")
            self.process.stdin.flush()
            # MATLAB says hello first
            while not (line := self.process.stdout.readline()).startswith('{"ok": '):
                if not line:
                    raise RuntimeError(self._obituary())
        except BrokenPipeError:
            raise RuntimeError(self._obituary()) from None
        answer = json.loads(line)
        if not answer["ok"]:
            raise RuntimeError(f"{verb}: {answer['error']}")
        return float(answer["loss"])

    def give(self, verb: str, slot: int, values: dict[str, Any]) -> None:
        """Has a command done on values that it reads."""
        path = Path(self.folder.name) / f"{verb}.mat"
        savemat(path, values)
        self.ask(verb, slot, path.name)
        path.unlink()

    def take(self, verb: str, slot: int) -> dict[str, np.ndarray]:
        """The values that a command writes."""
        path = Path(self.folder.name) / f"{verb}.mat"
        self.ask(verb, slot, path.name)
        found = loadmat(path)
        path.unlink()
        return found

    def about(self) -> About:
        """What it says of itself."""
        found = self.take("about", 1)
        return About(*(str(found[name].squeeze()) for name in ("program", "version", "blas")))

    def _obituary(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        said = " ".join(self.errors.read()[-300:].split())
        return f"{Path(program()).name} ended with exit code {code}" + (f": {said}" if said else "")


def _environment(threads: int) -> dict[str, str]:
    """As torch has it: threads, and memory that is kept. OPENBLAS_CORETYPE may slow it by half."""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
    ours = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return {**environment, **kept, **ours}


def _ending_with_owner() -> list[str]:
    """What starts a program that ends with us: it would go on with a command for minutes.

    Without it, it ends with its standard input, after the command.
    """
    found = shutil.which("setpriv")  # of util-linux
    return [found, "--pdeathsig", "KILL", "--"] if found else []


def _end(
    process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str], errors: IO[str]
) -> None:
    process.kill()
    with suppress(BrokenPipeError):  # it died with a command in the pipe
        process.communicate()
    folder.cleanup()
    errors.close()


@cache
def engine(threads: int) -> Engine:
    """This process's interpreter: networks share it, each in a slot of its own."""
    return Engine(threads)
