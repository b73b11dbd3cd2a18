"""GNU Octave or MATLAB: the paper's network in their language.

One long-lived interpreter runs whole iterations by the m-files of `matlab/`; weights, batches and
results pass as MAT files. Which program: `HARNESS_OCTAVE`, else `octave-cli`, else `matlab`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from scipy.io import loadmat, savemat
from torch import Tensor

from adapters import foreign
from adapters.facts import Missing
from harness.adapter import TrainerSettings
from harness.reference import synapses
from harness.reference.precision import DTYPES
from harness.spec import SGD, Conv, Network

Form = Literal["im2col", "convn", "conv2"]  # how a convolution is written in their language
CLASSES = {"fp32": "single", "fp64": "double"}
CODE = Path(__file__).parent / "matlab"
PROGRAM = "HARNESS_OCTAVE"  # names the program, where the first on the PATH is not wanted
INSTALL = "apt-get install octave libopenblas0"


def program() -> str:
    """Return the path of the interpreter to start. Raises Missing if none is on the PATH."""
    named, what = os.environ.get(PROGRAM), "neither octave-cli nor matlab is"
    for name in (named,) if named else ("octave-cli", "matlab"):
        if path := shutil.which(name):
            return path
        what = f"{named}, which {PROGRAM} names, is not" if named else what
    raise Missing(f"octave does not load: {what} on the PATH: {INSTALL}")


def in_words(program: str, version: str, blas: str) -> str:
    """Describe an interpreter in a line: its version, its BLAS, and whether that is slow."""
    slow = f": slow, {INSTALL}" if "reference" in blas.lower() else ""
    return f"{program} {version}, BLAS {blas}{slow}"


class Interpreter:
    """A running interpreter: commands and answers are lines of text, arrays pass as MAT files."""

    def __init__(self, threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="snn-octave-")
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 it lives as long
        self.slots = count(1)
        command = program()
        quiet = ["--quiet", "--norc", "--no-history", "--no-line-editing", "--eval"]
        arguments = ["-batch"] if "matlab" in Path(command).name else quiet
        # A program that ends with us: it would go on with a command for minutes. Without setpriv,
        # of util-linux, it ends with its standard input, after the command.
        setpriv = shutil.which("setpriv")
        ending = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        # as torch has it: threads, and memory that is kept; OPENBLAS_CORETYPE may slow it by half
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        environment |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [*ending, command, *arguments, f"addpath('{CODE}'); snn_serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            errors="replace", env=environment, cwd=self.folder.name,
        )  # fmt: skip
        weakref.finalize(self, _end, self.process, self.folder, self.errors)

    def ask(self, verb: str, slot: int = 1, name: str = "-") -> float:
        """Run a command; return the loss of the slot's last step, or 0. Raises RuntimeError."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(f"{verb} {slot} {name}\n\n")
            self.process.stdin.flush()
            # MATLAB prints a greeting first
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
        """Run a command that reads these values from a MAT file."""
        path = Path(self.folder.name) / f"{verb}.mat"
        savemat(path, values)
        self.ask(verb, slot, path.name)
        path.unlink()

    def take(self, verb: str, slot: int) -> dict[str, np.ndarray]:
        """Run a command; return the values that it writes to a MAT file."""
        path = Path(self.folder.name) / f"{verb}.mat"
        self.ask(verb, slot, path.name)
        values = loadmat(path)
        path.unlink()
        return values

    def about(self) -> str:
        """Return the interpreter's version and BLAS in a line."""
        values = self.take("about", 1)
        return in_words(*(str(values[name].squeeze()) for name in ("program", "version", "blas")))

    def _obituary(self) -> str:
        """Return the ended program's exit code and the last 300 characters of its errors."""
        code = self.process.wait()
        self.errors.seek(0)
        text = " ".join(self.errors.read()[-300:].split())
        return f"{Path(program()).name} ended with exit code {code}" + (f": {text}" if text else "")


def _end(
    process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str], errors: IO[str]
) -> None:
    """Kill the interpreter and remove its folder and its file of errors."""
    process.kill()
    with suppress(BrokenPipeError):  # it died with a command in the pipe
        process.communicate()
    folder.cleanup()
    errors.close()


@cache
def interpreter(threads: int) -> Interpreter:
    """Return this process's interpreter: trainers share it, each in a slot of its own."""
    return Interpreter(threads)


@dataclass(eq=False)
class OctaveTrainer:
    """`Trainer` whose iterations run in the interpreter."""

    network: Network
    settings: TrainerSettings
    form: Form
    slot: int = field(init=False)
    _shapes: list[torch.Size] = field(default_factory=list)  # of the weights that were loaded

    def __post_init__(self) -> None:
        self.interpreter = interpreter(self.settings.threads)
        self.slot = next(self.interpreter.slots)
        self.interpreter.give(
            "network", self.slot, _settings(self.network, self.settings, self.form)
        )

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Give torch's parameters, in their order, to the interpreter."""
        self._shapes = [parameter.shape for parameter in parameters]
        arrays = (parameter.detach().numpy() for parameter in parameters)
        self.interpreter.give("weights", self.slot, dict(zip(self._names, arrays, strict=True)))

    def put(self, x: Tensor, labels: Tensor) -> int:
        """Send a batch to the slot, where it replaces the last one; return the slot."""
        static = synapses.is_static(x)
        values = {
            "x": (x[:1] if static else x).detach().numpy(),
            "static": float(static),
            "T": float(len(x)),
            "labels": labels.numpy().astype(float),
        }
        self.interpreter.give("batch", self.slot, values)
        return self.slot

    def step(self, batch: int) -> float:
        return self.interpreter.ask("step", batch)

    def infer(self, batch: int) -> None:
        self.interpreter.ask("infer", batch)

    def out(self) -> Tensor:
        return self._spikes(self.interpreter.take("out", self.slot)["out"])

    def gradients(self) -> list[Tensor]:
        return self._tensors("gradients")

    def parameters(self) -> list[Tensor]:
        return self._tensors("parameters")

    def spikes(self, batch: int) -> list[Tensor]:
        """Return each layer's spikes (T, B, ...) on a batch."""
        values = self.interpreter.take("spikes", batch)
        steps, samples = values["o1"].shape[:2]
        return [
            self._spikes(values[f"o{n}"].reshape(steps, samples, *stage.output_shape))
            for n, stage in enumerate(self.network.stages, 1)
        ]

    def differentiate(self, batch: int, back: Tensor) -> list[Tensor]:
        self.interpreter.give("differentiate", batch, {"back": back.numpy()})
        return self._tensors("gradients")

    def close(self) -> None:
        if self.interpreter.process.poll() is None:
            self.interpreter.ask("close", self.slot)

    @property
    def _names(self) -> list[str]:
        """Return the names of the parameters, in layer order."""
        return [
            f"{kind}{n}"
            for n, stage in enumerate(self.network.stages, 1)
            for kind in ("W", "b", *("U" if stage.neunorm_shape else ""))
        ]

    def _spikes(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(DTYPES[self.settings.precision])

    def _tensors(self, verb: str) -> list[Tensor]:
        """Return the interpreter's weights or gradients, whichever `verb` asks for, as tensors."""
        values = self.interpreter.take(verb, self.slot)
        return [
            torch.from_numpy(np.ascontiguousarray(values[name]).reshape(shape))
            for name, shape in zip(self._names, self._shapes, strict=True)
        ]


def _settings(network: Network, settings: TrainerSettings, form: Form) -> dict[str, Any]:
    """Return the network, neuron, optimiser and number type as values for a MAT file."""
    stages, neunorm, rule, lif = network.stages, network.neunorm, settings.optimiser, network.lif
    sgd = isinstance(rule, SGD)
    c = [neunorm.scale(s.output_shape[0]) if neunorm and s.neunorm_shape else 0.0 for s in stages]
    return {
        "conv": np.array([float(isinstance(stage.synapse, Conv)) for stage in stages]),
        "pool": np.array([float(stage.pool.size if stage.pool else 1) for stage in stages]),
        "c": np.array(c),
        "lif": np.array([lif.k_tau, lif.v_th, lif.a]),
        "k_tau2": neunorm.k_tau2 if neunorm else 0.0,
        "classes": float(network.classes),
        "population": float(network.population),
        "class": CLASSES[settings.precision],
        "form": form,
        "optimiser": "sgd" if sgd else "adam",
        "rate": rule.lr,
        "decay": np.array([rule.momentum] if sgd else rule.betas),
    }


def _make(network: Network, settings: TrainerSettings, *, form: Form) -> OctaveTrainer:
    foreign.check(network, settings.precision)
    return OctaveTrainer(network, settings, form)


program()  # raises Missing
NEURON = "ours"
DEVIATIONS: tuple[str, ...] = ()
trainer = partial(_make, form="im2col")
build = foreign.built_of(trainer)
VARIANTS = {
    "convn": foreign.variant(partial(_make, form="convn")),
    "conv2": foreign.variant(partial(_make, form="conv2")),
}


@cache
def version() -> str:
    """Return the version of the interpreter and of its BLAS, which computes the products."""
    return Interpreter(torch.get_num_threads()).about()


def implementation(device: str) -> str:
    """Return what computes, in words: the interpreter's version and its BLAS."""
    return version()
