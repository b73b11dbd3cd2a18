"""What an operation and a moved bit cost, in pJ, and what an inference comes to with memory.

Prices: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, Fig.
1.1.9: 45 nm, 0.9 V. The model of what is moved is ours, after the idea of Z. Yan, Z. Bai, W.-F.
Wong, "Reconsidering the energy efficiency of spiking neural networks", arXiv 2409.08290: the rival
of a network over T steps is one without spikes whose activations have ceil(log2(T + 1)) bits.
docs/energy.md has it in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil, log2, prod

from harness.spec import Stage
from harness.spec.fanout import dense


@dataclass(frozen=True)
class Arithmetic:
    """Energies of one kind of number, pJ."""

    name: str
    mac: float  # a multiply and an add
    ac: float  # an add


FLOAT32 = Arithmetic("float32", mac=4.6, ac=0.9)  # multiply 3.7, add 0.9
INT8 = Arithmetic("int8", mac=0.23, ac=0.03)  # multiply 0.2, add 0.03

# Reading or writing 64 bits of a memory of that many bytes: 10, 20 and 100 pJ.
SRAM = ((8 * 1024, 10 / 64), (32 * 1024, 20 / 64), (1024 * 1024, 100 / 64))  # bytes, pJ a bit
DRAM = 1300 / 64  # pJ a bit; 1.3 to 2.6 nJ for 64 bits, the lower end

# Widths are assumptions of ours: eight bits are usual, and sums of thousands of them need more.
WEIGHT_BITS = 8
STATE_BITS = 16  # of a potential
PIXEL_BITS = 8  # of an input: a pixel, or the events of a pixel and step


def bit_price(bits: float) -> float:
    """pJ a bit of the smallest memory that holds so many; more than 1 MiB lies in such banks."""
    return next((price for size, price in SRAM if bits <= 8 * size), SRAM[-1][1])


def activation_bits(T: int) -> int:
    """Bits that hold as many values as a neuron's spikes over T steps can count."""
    return ceil(log2(T + 1))


def quantised_mac(bits: int) -> float:
    """pJ of a multiply-accumulate of an 8-bit weight and an activation of so many bits.

    An array multiplier has a row of adders for each bit: in proportion to Horowitz's 8 by 8.
    """
    return (INT8.mac - INT8.ac) * bits / 8 + INT8.ac


@dataclass(frozen=True)
class Moved:
    """pJ of one sample, by what they go to."""

    arithmetic: float = 0.0
    weights: float = 0.0
    states: float = 0.0
    activations: float = 0.0  # spikes, or values

    @property
    def total(self) -> float:
        """Of all."""
        return sum(getattr(self, each.name) for each in fields(self))

    def __add__(self, other: Moved) -> Moved:
        return Moved(
            self.arithmetic + other.arithmetic,
            self.weights + other.weights,
            self.states + other.states,
            self.activations + other.activations,
        )


@dataclass(frozen=True)
class LayerMeans:
    """A layer's counts, the mean over samples, in a network over all its steps."""

    stage: Stage
    before: Stage | None  # the layer that feeds it; None: the input does
    sent: float  # spikes of the layer before
    spikes: float  # its own
    events: float
    operations: float
    accumulates: float
    multiplies: float

    @property
    def by_value_is_product(self) -> bool:
        """Whether what enters is no spike: real values, or what a pool or NeuNorm made."""
        return self.before is None or bool(self.before.pool or self.before.neunorm_shape)


@dataclass(frozen=True)
class Spiking:
    """A spiking network with memory: what it takes at any spike rate, and what grows with that."""

    fixed: Moved
    by_spikes: Moved

    @property
    def whole(self) -> Moved:
        """At the spike rate that was counted."""
        return self.fixed + self.by_spikes

    def factor(self, rival: float) -> float:
        """The factor of all spike rates at which it takes as much as the rival (pJ); 0: at none."""
        if self.by_spikes.total <= 0:
            return 0.0
        return max(0.0, (rival - self.fixed.total) / self.by_spikes.total)


def spiking(layers: Sequence[LayerMeans], T: int, *, static: bool) -> Spiking:
    """The network event by event, in the folded reading, layer by layer.

    Each operation reads its weight. A potential is read and written once a step. A spike is written
    once and read once, as the address of its neuron. The current of a static image is kept.
    """
    fixed, by_spikes = Moved(), Moved()
    for each in layers:
        neurons = each.stage.neurons
        states = neurons + _auxiliary(each.stage)
        price = bit_price(states * STATE_BITS)
        updates = Moved(
            arithmetic=neurons * T * INT8.mac, states=2 * T * states * STATE_BITS * price
        )
        kept = (1 + T) * neurons * STATE_BITS * price if static and each.before is None else 0.0
        fixed += updates + Moved(states=kept) + _products(each)
        by_spikes += _of_spikes(each, T)
    return Spiking(fixed, by_spikes)


def _auxiliary(stage: Stage) -> int:
    """NeuNorm's auxiliary neurons behind a layer: one a pixel."""
    return prod(stage.neunorm_shape[1:]) if stage.neunorm_shape else 0


def _weight_price(each: LayerMeans) -> float:
    """pJ of reading a weight of a layer; behind NeuNorm it has V's beside its own."""
    weights = each.stage.weights
    if each.before is not None and each.before.neunorm_shape:
        channels, height, width = each.before.neunorm_shape
        weights += weights // channels * height * width
    return _price_of_one(weights)


def _price_of_one(weights: int) -> float:
    """pJ of reading one of so many weights."""
    return WEIGHT_BITS * bit_price(weights * WEIGHT_BITS)


def _products(each: LayerMeans) -> Moved:
    """What stays a product: of the input, and of NeuNorm's auxiliary neurons."""
    entering = 0.0
    if each.before is None:
        size = prod(each.stage.input_shape) * PIXEL_BITS
        entering = each.events * PIXEL_BITS * bit_price(size)
    return Moved(
        arithmetic=each.multiplies * INT8.mac,
        weights=each.multiplies * _weight_price(each),
        activations=entering,
    )


def _of_spikes(each: LayerMeans, T: int) -> Moved:
    """What the spikes that enter a layer cost; those that left a layer are those before a pool."""
    if each.before is None:
        return Moved()
    senders = each.before.neurons
    address = ceil(log2(max(2, senders)))
    return Moved(
        arithmetic=each.accumulates * INT8.ac,
        weights=each.accumulates * _weight_price(each),
        activations=2 * each.sent * address * bit_price(senders * T),
    )


def quantised(layers: Sequence[LayerMeans], bits: int, *, skips: bool) -> Moved:
    """The network without spikes: one pass, activations of so many bits.

    Each operation reads its weight, as above; an activation is written once and read once; sums
    stay in registers. `skips`: of what is zero nothing is multiplied, by the counts of `layers`.
    """
    found = Moved()
    for each in layers:
        width = PIXEL_BITS if each.before is None else bits
        moves = 1 if each.before is None else 2
        operations = each.operations if skips else dense(each.stage)
        size = prod(each.stage.input_shape) * width
        found += Moved(
            arithmetic=operations * quantised_mac(width),
            weights=operations * _price_of_one(each.stage.weights),
            activations=moves * size * bit_price(size),
        )
    return found


def off_chip(layers: Sequence[LayerMeans]) -> float:
    """pJ of fetching all weights from DRAM once, where they do not stay on the chip."""
    return sum(each.stage.weights for each in layers) * WEIGHT_BITS * DRAM
