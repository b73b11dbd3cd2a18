"""JAX: the paper's network in plain JAX; XLA compiles a whole training iteration as one program."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import Tensor

from adapters import foreign
from adapters.foreign.xla import Array, Layout, Weights, layers_of, loss_of, passed
from harness.adapter import TrainerSettings
from harness.reference import synapses
from harness.spec import SGD, Network


class Batch(NamedTuple):
    """What was laid where XLA finds it."""

    x: Array  # (T, B, maps), or (1, B, maps) of a static image
    labels: Array  # (B,)
    steps: int

    @property
    def sizes(self) -> tuple[tuple[int, ...], int]:
        """What a program is compiled for."""
        return self.x.shape, self.steps


@dataclass(eq=False)
class JaxTrainer:
    """Whole iterations by XLA."""

    network: Network
    settings: TrainerSettings
    layout: Layout
    weights: list[Weights] = field(default_factory=list)
    _state: Any = None  # the optimiser's
    _out: Array | None = None
    _gradients: list[Weights] = field(default_factory=list)
    _programs: dict[object, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = layers_of(self.network, self.layout)
        self.optimiser = _optimiser(self.settings)

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Sets the weights. What the optimiser has gathered stays."""
        rest = iter([each.detach().numpy() for each in parameters])
        counts = [3 if layer.stage.neunorm_shape else 2 for layer in self.layers]
        self.weights = [
            layer.given([next(rest) for _ in range(count)])
            for layer, count in zip(self.layers, counts, strict=True)
        ]

    def put(self, x: Tensor, labels: Tensor) -> Batch:
        """Lays a batch out, and compiles for its size where that was not yet done."""
        steps = len(x)
        given = (x[:1] if synapses.is_static(x) else x).detach().numpy()
        if self.layout == "NHWC":
            given = np.transpose(given, (0, 1, 3, 4, 2))
        batch = Batch(jnp.array(given), jnp.array(labels.numpy().astype(np.int32)), steps)
        if self.settings.mode == "training":
            self._training(batch)
        else:
            self._inference(batch)
        return batch

    def _training(self, batch: Batch) -> Any:
        return self._compiled("step", self._step, self.weights, self._first(), batch)

    def _inference(self, batch: Batch) -> Any:
        return self._compiled("infer", self._infer, self.weights, batch)

    def step(self, batch: Batch) -> float:
        """One iteration; its loss."""
        came = self._training(batch)(self.weights, self._first(), batch.x, batch.labels)
        self.weights, self._state, loss, self._out, self._gradients = came
        jax.block_until_ready(came)
        return float(loss)

    def infer(self, batch: Batch) -> None:
        """The forward pass alone."""
        self._out = self._inference(batch)(self.weights, batch.x, batch.labels)
        jax.block_until_ready(self._out)

    def out(self) -> Tensor:
        """The voting layer's spikes (T, B, N) in the last step or inference."""
        assert self._out is not None
        return torch.from_numpy(np.array(self._out))

    def gradients(self) -> list[Tensor]:
        """Of the last step's loss."""
        return self._tensors(self._gradients)

    def parameters(self) -> list[Tensor]:
        """The weights as they are now."""
        return self._tensors(self.weights)

    def spikes(self, batch: Batch) -> list[Tensor]:
        """All layers' spikes on a batch."""
        program = self._compiled("spikes", self._spikes, self.weights, batch)
        found = [np.array(each) for each in program(self.weights, batch.x, batch.labels)]
        maps_last = self.layout == "NHWC"
        return [
            torch.from_numpy(np.moveaxis(each, -1, 2) if maps_last and each.ndim == 5 else each)
            for each in found
        ]

    def differentiate(self, batch: Batch, back: Tensor) -> list[Tensor]:
        """The gradients of the sum of the voting layer's spikes times `back` (T, B, N)."""
        weighed = batch._replace(labels=jnp.array(back.numpy()))
        program = self._compiled("differentiate", self._differentiate, self.weights, weighed)
        return self._tensors(program(self.weights, weighed.x, weighed.labels))

    def close(self) -> None:
        """It is not asked again."""
        self._programs.clear()
        self.weights, self._state, self._out, self._gradients = [], None, None, []

    def _first(self) -> Any:
        return self.optimiser.init(self.weights) if self._state is None else self._state

    def _tensors(self, weights: list[Weights]) -> list[Tensor]:
        pairs = zip(self.layers, weights, strict=True)
        arrays = [array for layer, each in pairs for array in layer.taken(each)]
        return [torch.from_numpy(np.array(each, order="C")) for each in arrays]

    def _compiled(self, name: str, make: Callable[..., Any], *given: Any) -> Any:
        """A program for arguments of these sizes; the last is the batch."""
        *first, batch = given
        key = name, batch.sizes
        if key not in self._programs:
            donated = (0, 1) if name == "step" else ()  # their memory takes the new ones
            program = jax.jit(partial(make, batch.steps), donate_argnums=donated)
            self._programs[key] = program.lower(*first, batch.x, batch.labels).compile()
        return self._programs[key]

    def _step(
        self, steps: int, weights: list[Weights], state: Any, x: Array, labels: Array
    ) -> tuple[Any, ...]:
        def objective(weights: list[Weights]) -> tuple[Array, Array]:
            out = passed(self.layers, weights, x, steps)[-1]
            return loss_of(out, labels, self.network.classes), out

        (loss, out), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        changes, state = self.optimiser.update(gradients, state, weights)
        whole: Any = weights  # optax's annotations admit no list of tuples
        return optax.apply_updates(whole, changes), state, loss, out, gradients

    def _infer(self, steps: int, weights: list[Weights], x: Array, labels: Array) -> Array:
        return passed(self.layers, weights, x, steps)[-1]

    def _spikes(self, steps: int, weights: list[Weights], x: Array, labels: Array) -> list[Array]:
        return passed(self.layers, weights, x, steps)

    def _differentiate(
        self, steps: int, weights: list[Weights], x: Array, back: Array
    ) -> list[Weights]:
        def weighed(weights: list[Weights]) -> Array:
            return (passed(self.layers, weights, x, steps)[-1] * back).sum()

        return jax.grad(weighed)(weights)


def _optimiser(settings: TrainerSettings) -> Any:
    chosen = settings.optimiser
    if isinstance(chosen, SGD):
        return optax.sgd(chosen.lr, momentum=chosen.momentum)
    return optax.adam(chosen.lr, *chosen.betas)


def _made(network: Network, settings: TrainerSettings, *, layout: Layout) -> JaxTrainer:
    foreign.check(network, settings.precision)
    # XLA asks for it when its first program is made, and has a pool of threads of its own
    os.environ.setdefault("NPROC", str(settings.threads))
    if settings.precision == "fp64":
        jax.config.update("jax_enable_x64", True)
    return JaxTrainer(network, settings, layout)


DEVIATIONS: tuple[str, ...] = ()
PACKAGES = ("jax", "jaxlib", "optax")
trainer = partial(_made, layout="NHWC")
build = foreign.built_of(trainer)
VARIANTS = {"nchw": foreign.variant(partial(_made, layout="NCHW"))}


def implementation(device: str) -> str:
    """Who computes."""
    return f"XLA of jaxlib {metadata.version('jaxlib')} on a {device}"
