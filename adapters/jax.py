"""JAX: the paper's network in plain JAX; XLA compiles a whole training iteration as one program.

The steps are folded into the batch of every convolution and product; only the neurons, and those of
NeuNorm, are scanned over time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from itertools import islice
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax import lax
from torch import Tensor

from adapters import foreign
from harness.adapter import MakeTrainer, TrainerSettings
from harness.reference import synapses
from harness.spec import LIF, SGD, Conv, Network, Stage

Array = jax.Array
LAYOUT = "NHWC", "HWIO", "NHWC"  # of maps, kernels, maps: channels last


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def fire(distance: Array, a: float) -> Array:
    """Return spikes, eq. (6): 1 where `distance` = u - V_th >= 0; its gradient is eq. (14)."""
    return (distance >= 0).astype(distance.dtype)


def _fire_forward(distance: Array, a: float) -> tuple[Array, Array]:
    return fire(distance, a), distance


def _fire_backward(a: float, distance: Array, back: Array) -> tuple[Array]:
    return (back * (jnp.abs(distance) < a / 2).astype(back.dtype) / a,)  # eq. (14)


fire.defvjp(_fire_forward, _fire_backward)

# One step of a layer's neurons: (u, o, current, lif) -> (u, o), arrays of one shape (B, ...). The
# layer's last potentials and spikes are 0 at first; `lif` has k_tau, v_th and a.
Neuron = Callable[[Array, Array, Array, LIF], tuple[Array, Array]]


def neuron(u: Array, o: Array, current: Array, lif: LIF) -> tuple[Array, Array]:
    """Compute the paper's next potentials and spikes; an adapter of a JAX framework has its own."""
    u = lif.k_tau * u * (1 - o) + current  # eq. (5)
    return u, cast(Array, fire(u - lif.v_th, lif.a))  # eq. (6); JAX does not annotate it


class Weights(NamedTuple):
    """A layer's parameters as JAX arrays, channels last."""

    weight: Array
    bias: Array
    U: Array | None


@dataclass(frozen=True)
class JaxLayer:
    """One layer of neurons: what it computes, and how its weights lie in memory."""

    stage: Stage
    network: Network
    neuron: Neuron
    maps: tuple[int, ...] | None = None  # (C, H, W) that a product flattens

    def from_torch(self, parameters: Sequence[Any]) -> Weights:
        """Convert weight, bias and, with NeuNorm, U from torch's shapes."""
        weight, bias, U = (*parameters, None)[:3]
        weight, U = self._transposed(weight, U, back=False)
        return Weights(jnp.array(weight), jnp.array(bias), None if U is None else jnp.array(U))

    def to_torch(self, weights: Weights) -> list[np.ndarray]:
        """Convert to torch's shapes: weight, bias and, with NeuNorm, U."""
        bias: Any
        weight, bias, U = (None if array is None else np.asarray(array) for array in weights)
        weight, U = self._transposed(weight, U, back=True)
        return [weight, bias] if U is None else [weight, bias, U]

    def _transposed(self, weight: Any, U: Any, *, back: bool) -> tuple[Any, Any]:
        """Convert from torch's layout to channels last, or back."""
        orders = [(2, 3, 1, 0), (0, 2, 3, 1), (1, 2, 0)]
        conv, flat, maps = map(np.argsort, orders) if back else orders
        if isinstance(self.stage.synapse, Conv):
            weight = np.transpose(weight, conv)
        elif self.maps is not None:
            channels, *sides = self.maps
            shape = (*sides, channels) if back else self.maps
            unfolded = np.transpose(np.reshape(weight, (-1, *shape)), flat)
            weight = np.reshape(unfolded, np.shape(weight))
        return weight, None if U is None else np.transpose(U, maps)

    def current(self, weights: Weights, x: Array) -> Array:  # (N, ...) -> (N, ...)
        """Compute the current, eq. (8): a convolution of images, or a product of flattened ones."""
        if not isinstance(self.stage.synapse, Conv):
            return x.reshape(len(x), -1) @ weights.weight.T + weights.bias
        margin = self.stage.synapse.kernel // 2
        margins = [(margin, margin)] * 2
        y = lax.conv_general_dilated(x, weights.weight, (1, 1), margins, dimension_numbers=LAYOUT)
        return y + weights.bias

    def pool(self, spikes: Array) -> Array:  # (N, maps) -> (N, smaller maps)
        """Average spikes over the pool's windows; what does not fill one is dropped."""
        if self.stage.pool is None:
            return spikes
        size = self.stage.pool.size
        height, width = (n // size for n in spikes.shape[1:3])
        whole = spikes[:, : height * size, : width * size]
        return whole.reshape(len(spikes), height, size, width, size, -1).sum((2, 4)) / size**2

    def normalise(self, U: Array, spikes: Array) -> Array:  # (T, B, maps) -> the same
        """Return pooled spikes less U x, NeuNorm's eqs. (9) and (10), over all steps."""
        neunorm = self.network.neunorm
        assert neunorm is not None
        c, k_tau2 = neunorm.scale(self.stage.output_shape[0]), neunorm.k_tau2

        def step(x: Array, out: Array) -> tuple[Array, Array]:
            x = k_tau2 * x + c * out.sum(-1, keepdims=True)  # eq. (9)
            return x, out - U * x  # eq. (10)

        zeros = jnp.zeros_like(spikes[0].sum(-1, keepdims=True))
        return lax.scan(step, zeros, spikes)[1]

    def spikes(self, current: Array) -> Array:  # (T, B, ...) -> the same
        """Compute the neurons' spikes over all steps, eqs. (5) and (6), from zero state."""

        def step(state: tuple[Array, Array], current: Array) -> tuple[tuple[Array, Array], Array]:
            u, o = self.neuron(*state, current, self.network.lif)
            return (u, o), o

        zeros = jnp.zeros_like(current[0])
        return lax.scan(step, (zeros, zeros), current)[1]


def layers_of(network: Network, neuron: Neuron) -> list[JaxLayer]:
    """Return the network's layers of neurons, in order."""
    layers: list[JaxLayer] = []
    for below, stage in zip((None, *network.stages), network.stages, strict=False):
        maps = None
        if below and isinstance(below.synapse, Conv) and not isinstance(stage.synapse, Conv):
            channels, height, width = below.output_shape
            size = below.pool.size if below.pool else 1
            maps = (channels, height // size, width // size)
        layers.append(JaxLayer(stage, network, neuron, maps))
    return layers


def loss_of(out: Array, labels: Array, classes: int) -> Array:  # (T, B, N), (B,) -> ()
    """Count the votes; return their mean squared error from one-hot labels, eq. (11)."""
    votes = out.mean(0).reshape(len(labels), classes, -1).mean(2)
    return ((votes - jax.nn.one_hot(labels, classes, dtype=votes.dtype)) ** 2).mean()


class JaxBatch(NamedTuple):
    """Inputs and labels in XLA's memory."""

    x: Array  # (T, B, maps), or (1, B, maps) of a static image
    labels: Array  # (B,)
    steps: int


@dataclass(eq=False)
class JaxTrainer:
    """`Trainer` whose iterations are XLA programs, one for each size of a batch."""

    network: Network
    settings: TrainerSettings
    neuron: Neuron
    weights: list[Weights] = field(default_factory=list)
    _state: Any = None  # the optimiser's
    _out: Array | None = None
    _gradients: list[Weights] = field(default_factory=list)
    _programs: dict[object, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = layers_of(self.network, self.neuron)
        rule = self.settings.optimiser
        sgd = isinstance(rule, SGD)
        self.optimiser: Any = (
            optax.sgd(rule.lr, rule.momentum) if sgd else optax.adam(rule.lr, *rule.betas)
        )

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Take torch's parameters, in their order, as the layers' weights."""
        arrays = iter([parameter.detach().numpy() for parameter in parameters])
        counts = [3 if layer.stage.neunorm_shape else 2 for layer in self.layers]
        pairs = zip(self.layers, counts, strict=True)
        self.weights = [layer.from_torch([*islice(arrays, count)]) for layer, count in pairs]

    def put(self, x: Tensor, labels: Tensor) -> JaxBatch:
        """Return a batch in JAX's memory, channels last, for which the program is compiled here."""
        steps = len(x)
        inputs = np.moveaxis((x[:1] if synapses.is_static(x) else x).detach().numpy(), 2, -1)
        batch = JaxBatch(jnp.array(inputs), jnp.array(labels.numpy().astype(np.int32)), steps)
        self._compile("step" if self.settings.mode == "training" else "infer", batch)
        return batch

    def step(self, batch: JaxBatch) -> float:
        """Run one training step, wait for its end, and return the loss."""
        program = self._compile("step", batch)
        results = program(self.weights, self._first(), batch.x, batch.labels)
        self.weights, self._state, loss, self._out, self._gradients = results
        jax.block_until_ready(results)
        return float(loss)

    def infer(self, batch: JaxBatch) -> None:
        self._out = self._compile("infer", batch)(self.weights, batch.x, batch.labels)
        jax.block_until_ready(self._out)

    def out(self) -> Tensor:
        assert self._out is not None
        return torch.from_numpy(np.array(self._out))

    def gradients(self) -> list[Tensor]:
        return self._tensors(self._gradients)

    def parameters(self) -> list[Tensor]:
        return self._tensors(self.weights)

    def spikes(self, batch: JaxBatch) -> list[Tensor]:
        """Return each layer's spikes of a batch, (T, B, C, H, W) or (T, B, N)."""
        program = self._compile("spikes", batch)
        layers = [np.array(spikes) for spikes in program(self.weights, batch.x, batch.labels)]
        layers = [np.moveaxis(maps, -1, 2) if maps.ndim == 5 else maps for maps in layers]
        return [torch.from_numpy(spikes) for spikes in layers]

    def differentiate(self, batch: JaxBatch, back: Tensor) -> list[Tensor]:
        """Return the gradients of the parameters, given the loss's by the output."""
        weighed = batch._replace(labels=jnp.array(back.numpy()))
        program = self._compile("differentiate", weighed)
        return self._tensors(program(self.weights, weighed.x, weighed.labels))

    def close(self) -> None:
        self._programs.clear()
        self.weights, self._state, self._out, self._gradients = [], None, None, []

    def _first(self) -> Any:
        return self.optimiser.init(self.weights) if self._state is None else self._state

    def _tensors(self, weights: list[Weights]) -> list[Tensor]:
        """Return the layers' weights as torch's parameters, in their order."""
        pairs = zip(self.layers, weights, strict=True)
        arrays = [array for layer, of_layer in pairs for array in layer.to_torch(of_layer)]
        return [torch.from_numpy(np.array(array, order="C")) for array in arrays]

    def _compile(self, name: str, batch: JaxBatch) -> Any:
        """Return the program of the method `_name` for batches of this size."""
        key = name, batch.x.shape, batch.steps
        if key not in self._programs:
            state = (self.weights, self._first()) if name == "step" else (self.weights,)
            donated = (0, 1) if name == "step" else ()  # their memory takes the new ones
            make = partial(getattr(self, f"_{name}"), batch.steps)
            program = jax.jit(make, donate_argnums=donated)
            self._programs[key] = program.lower(*state, batch.x, batch.labels).compile()
        return self._programs[key]

    def _spikes(self, steps: int, weights: list[Weights], x: Array, _: Array) -> list[Array]:
        """Compute each layer's spikes (T, B, ...) on x (T, B, maps), T = 1 if static."""
        layers: list[Array] = []
        sent = x
        for layer, of_layer in zip(self.layers, weights, strict=True):
            current = layer.current(of_layer, sent.reshape(-1, *sent.shape[2:]))
            current = current.reshape(*sent.shape[:2], *current.shape[1:])
            # a static image has the same current at every step: it is computed once, as by all
            spikes = layer.spikes(jnp.broadcast_to(current, (steps, *current.shape[1:])))
            layers.append(spikes)
            pooled = layer.pool(spikes.reshape(-1, *spikes.shape[2:]))
            sent = pooled.reshape(*spikes.shape[:2], *pooled.shape[1:])
            if of_layer.U is not None:
                sent = layer.normalise(of_layer.U, sent)
        return layers

    def _infer(self, steps: int, weights: list[Weights], x: Array, labels: Array) -> Array:
        return self._spikes(steps, weights, x, labels)[-1]

    def _step(
        self, steps: int, weights: list[Weights], state: Any, x: Array, labels: Array
    ) -> tuple[Any, ...]:
        """Compute a training step: weights, optimiser's state after it, loss, output, gradients."""

        def objective(weights: list[Weights]) -> tuple[Array, Array]:
            out = self._infer(steps, weights, x, labels)
            return loss_of(out, labels, self.network.classes), out

        (loss, out), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        changes, state = self.optimiser.update(gradients, state, weights)
        whole: Any = weights  # optax's annotations admit no list of tuples
        return optax.apply_updates(whole, changes), state, loss, out, gradients

    def _differentiate(
        self, steps: int, weights: list[Weights], x: Array, back: Array
    ) -> list[Weights]:
        """Return the weights' gradients of the output weighed by `back`."""
        return jax.grad(lambda w: (self._infer(steps, w, x, back) * back).sum())(weights)


def _make(network: Network, settings: TrainerSettings, *, neuron: Neuron) -> JaxTrainer:
    """Return a trainer whose layers have this neuron, with JAX set to its precision and threads."""
    foreign.check(network, settings.precision)
    # XLA asks for it when its first program is made, and has a pool of threads of its own
    os.environ.setdefault("NPROC", str(settings.threads))
    if settings.precision == "fp64":
        jax.config.update("jax_enable_x64", True)
    return JaxTrainer(network, settings, neuron)


def trainer_around(neuron: Neuron) -> MakeTrainer:
    """Return the `trainer` of an adapter whose neuron is this one, and all else plain JAX."""
    return partial(_make, neuron=neuron)


NEURON = "ours"
DEVIATIONS: tuple[str, ...] = ()
PACKAGES = ("jax", "jaxlib", "optax")
trainer = trainer_around(neuron)
build = foreign.built_of(trainer)


def implementation(device: str) -> str:
    """Return what computes, in words: XLA and optax, their versions, and the device."""
    version = metadata.version
    return f"XLA of jaxlib {version('jaxlib')}, optax {version('optax')}, on a {device}"
