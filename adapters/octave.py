"""GNU Octave or MATLAB: the paper's network in their language.

One long-lived interpreter runs whole iterations by the m-files of `matlab/`; weights, batches and
results pass as MAT files. Which program: `HARNESS_OCTAVE`, else `octave-cli`, else `matlab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from adapters import foreign
from adapters.foreign.interpreter import About, Engine, engine, program
from harness.adapter import TrainerSettings
from harness.reference import synapses
from harness.reference.precision import DTYPES
from harness.spec import SGD, Conv, Network

Form = Literal["im2col", "convn", "conv2"]
CLASSES = {"fp32": "single", "fp64": "double"}


@dataclass(eq=False)
class OctaveTrainer:
    """Whole iterations in the interpreter."""

    network: Network
    settings: TrainerSettings
    form: Form
    slot: int = field(init=False)
    _shapes: list[torch.Size] = field(default_factory=list)  # of the weights that were loaded

    def __post_init__(self) -> None:
        self.engine = engine(self.settings.threads)
        self.slot = next(self.engine.slots)
        self.engine.give("network", self.slot, _described(self.network, self.settings, self.form))

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Sets the weights. What the optimiser has gathered stays."""
        self._shapes = [each.shape for each in parameters]
        arrays = (each.detach().numpy() for each in parameters)
        self.engine.give("weights", self.slot, dict(zip(self._names, arrays, strict=True)))

    def put(self, x: Tensor, labels: Tensor) -> int:
        """Lays a batch into the slot: there is one at a time."""
        static = synapses.is_static(x)
        values = {
            "x": (x[:1] if static else x).detach().numpy(),
            "static": float(static),
            "T": float(len(x)),
            "labels": labels.numpy().astype(float),
        }
        self.engine.give("batch", self.slot, values)
        return self.slot

    def step(self, batch: int) -> float:
        """One iteration; its loss."""
        return self.engine.ask("step", batch)

    def infer(self, batch: int) -> None:
        """The forward pass alone."""
        self.engine.ask("infer", batch)

    def out(self) -> Tensor:
        """The voting layer's spikes (T, B, N) in the last step or inference."""
        return self._spikes(self.engine.take("out", self.slot)["out"])

    def gradients(self) -> list[Tensor]:
        """Of the last step's loss."""
        return self._tensors("gradients")

    def parameters(self) -> list[Tensor]:
        """The weights as they are now."""
        return self._tensors("parameters")

    def spikes(self, batch: int) -> list[Tensor]:
        """All layers' spikes on a batch."""
        found = self.engine.take("spikes", batch)
        steps, samples = found["o1"].shape[:2]
        return [
            self._spikes(found[f"o{n}"].reshape(steps, samples, *stage.output_shape))
            for n, stage in enumerate(self.network.stages, 1)
        ]

    def differentiate(self, batch: int, back: Tensor) -> list[Tensor]:
        """The gradients of the sum of the voting layer's spikes times `back` (T, B, N)."""
        self.engine.give("differentiate", batch, {"back": back.numpy()})
        return self._tensors("gradients")

    def close(self) -> None:
        """The slot is emptied."""
        if self.engine.process.poll() is None:
            self.engine.ask("close", self.slot)

    @property
    def _names(self) -> list[str]:
        """Of the parameters, in layer order."""
        return [
            f"{kind}{n}"
            for n, stage in enumerate(self.network.stages, 1)
            for kind in ("W", "b", *("U" if stage.neunorm_shape else ""))
        ]

    def _spikes(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(DTYPES[self.settings.precision])

    def _tensors(self, verb: str) -> list[Tensor]:
        found = self.engine.take(verb, self.slot)
        return [
            torch.from_numpy(np.ascontiguousarray(found[name]).reshape(shape))
            for name, shape in zip(self._names, self._shapes, strict=True)
        ]


def _described(network: Network, settings: TrainerSettings, form: Form) -> dict[str, Any]:
    """The network as `snn_network.m` reads it."""
    stages, neunorm, optimiser = network.stages, network.neunorm, settings.optimiser
    sgd = isinstance(optimiser, SGD)
    scales = [
        neunorm.scale(stage.output_shape[0]) if neunorm and stage.neunorm_shape else 0.0
        for stage in stages
    ]
    return {
        "conv": np.array([float(isinstance(stage.synapse, Conv)) for stage in stages]),
        "pool": np.array([float(stage.pool.size if stage.pool else 1) for stage in stages]),
        "c": np.array(scales),
        "lif": np.array([network.lif.k_tau, network.lif.v_th, network.lif.a]),
        "k_tau2": neunorm.k_tau2 if neunorm else 0.0,
        "classes": float(network.classes),
        "population": float(network.population),
        "class": CLASSES[settings.precision],
        "form": form,
        "optimiser": "sgd" if sgd else "adam",
        "rate": optimiser.lr,
        "decay": np.array([optimiser.momentum] if sgd else optimiser.betas),
    }


def _made(network: Network, settings: TrainerSettings, *, form: Form) -> OctaveTrainer:
    foreign.check(network, settings.precision)
    return OctaveTrainer(network, settings, form)


program()  # raises Missing
DEVIATIONS: tuple[str, ...] = ()
trainer = partial(_made, form="im2col")
build = foreign.built_of(trainer)
VARIANTS = {
    "convn": foreign.variant(partial(_made, form="convn")),
    "conv2": foreign.variant(partial(_made, form="conv2")),
}


@cache
def _about() -> About:
    return Engine(torch.get_num_threads()).about()


def version() -> str:
    """Of the interpreter and its BLAS, which computes the products."""
    return str(_about())


def implementation(device: str) -> str:
    """Who computes."""
    return str(_about())
