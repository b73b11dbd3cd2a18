"""What an inference of one sample costs, said two ways that are never mixed.

Counted: synaptic operations times the energy of one. With memory: what is moved too, against a
network without spikes of the same bits.

Prices: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, Fig.
1.1.9: 45 nm, 0.9 V. The model of what is moved is ours, after the idea of Z. Yan, Z. Bai, W.-F.
Wong, "Reconsidering the energy efficiency of spiking neural networks", arXiv 2409.08290: the rival
of a network over T steps is one without spikes whose activations have ceil(log2(T + 1)) bits.
docs/energy.md has it in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import ceil, log2, nan, prod
from statistics import fmean

import pandas as pd

from harness.analysis.frame import Frame, Frames, each_of
from harness.analysis.statistics import Mean, share
from harness.analysis.trainings import FLAGS, reading, rows_of, trainings
from harness.spec import ANN, Case, Stage, Trained, paper
from harness.spec.fanout import dense

MILLION = 1e6  # pJ a uJ, too


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
        parts = (each.name for each in fields(self))
        return Moved(*(getattr(self, name) + getattr(other, name) for name in parts))


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


COLUMNS = (
    *("suite", "dataset", "scale", "framework", "neunorm", "T", "width", "weights", "accuracy"),
    *("spike_rate", "spikes_per_synapse", "neuron_updates_millions"),
    # counted. By value: what a pool or NeuNorm made is multiplied (NeuroBench's rule); folded:
    # spikes behind a pool are accumulated one by one. The first layer and the ANN multiply.
    *("macs_millions", "acs_millions", "folded_macs_millions", "folded_acs_millions"),
    *("counted_uj_float32", "counted_uj_float32_folded", "counted_uj_int8"),
    *("counted_uj_int8_folded", "ann_counted_uj_float32", "ann_counted_uj_int8"),
    # with memory. break_even: the spike rate below which the spiking network takes less, against an
    # ANN that multiplies by zeros, and one that skips them, as its own weights leave them.
    *("memory_uj", "memory_uj_arithmetic", "memory_uj_weights", "memory_uj_states"),
    *("memory_uj_activations", "ann_bits", "ann_memory_uj", "ann_memory_uj_skipping"),
    *("break_even", "break_even_skipping", "side", "off_chip_uj"),
    *("samples", "n", "device", "precision", "network", "data_source", *FLAGS),
)
# Whose trained networks are counted; a training of one of them may be one of another too.
TRAINED = ("timesteps", "scale", "neunorm", "accuracy")


def energy(frames: Frames) -> Frame:
    """One line a network that was counted: the columns of both ways, of one sample."""
    found = list(_inferences(frames))
    return pd.DataFrame([_line(each, found) for each in found], columns=list(COLUMNS))


@dataclass(frozen=True)
class _Inference:
    """A network, the same but for the seed, and what inferences of it were counted."""

    case: Case  # with seed 0
    rows: Frame  # one a seed
    accuracy: Mean | None = None  # None: it has its initial weights

    @property
    def is_ann(self) -> bool:
        """Whether it is the network without spikes."""
        return self.case.framework == ANN

    @property
    def static(self) -> bool:
        """Whether all steps see one image."""
        return paper.settings(self.case.dataset).static

    @cached_property
    def layers(self) -> tuple[LayerMeans, ...]:
        """Each layer's counts: the mean over samples and seeds."""
        stages = self.case.network.stages
        names = ("events", "operations", "accumulates", "multiplies")
        spikes, *counts = (self._mean(name) for name in ("spikes", *names))
        columns = (stages, (None, *stages[:-1]), (0.0, *spikes[:-1]), spikes, *counts)
        return tuple(LayerMeans(*each) for each in zip(*columns, strict=True))

    def _mean(self, name: str) -> list[float]:
        samples = self.rows["counted_samples"]
        each = [[n / of for n in row] for row, of in zip(self.rows[name], samples, strict=True)]
        return [fmean(layer) for layer in zip(*each, strict=True)]

    @property
    def spike_rate(self) -> float:
        """Spikes a neuron and step, of the layers that drive others; of units, those not zero."""
        hidden = self.layers[:-1]
        steps = 1 if self.is_ann else self.case.T
        neurons = sum(each.stage.neurons for each in hidden)
        return sum(each.spikes for each in hidden) / (neurons * steps) if neurons else nan

    @property
    def source(self) -> str:
        """What its samples are."""
        last = self.rows.iloc[-1]
        return last["data_test_source"] or last["data_source"]

    @property
    def flags(self) -> dict[str, bool]:
        """What must be said of its samples."""
        last = self.rows.iloc[-1]
        kind = "data_test" if last["data_test_source"] else "data"
        return {name: last[f"{kind}_{name}"] for name in FLAGS}

    @property
    def alike(self) -> tuple[object, ...]:
        """What it shares with the network of the same structure without spikes, on its samples.

        That has no time: of a static image any T will do, of event frames it sees the same T.
        """
        case = self.case
        trained: object = None
        if isinstance(case, Trained):
            trained = case.training.epochs, self.rows["train_samples"].iloc[-1]
        T = 0 if self.static else case.T
        return case.suite, case.dataset, str(case.network), case.width, T, trained, self.source


def _inferences(frames: Frames) -> Iterator[_Inference]:
    """All networks that were counted: with initial weights, then trained; in the paper's order."""
    rows = frames["operations"]
    first: dict[tuple[Case, str, str], list[int]] = {}
    for row in each_of(rows[rows["counts"] & (rows["suite"] == "energy")]):
        key = (replace(row.case, seed=0), row.machine, row.data_source)
        first.setdefault(key, []).append(row.Index)
    untrained = [_Inference(key[0], rows.loc[index]) for key, index in first.items()]
    yield from sorted(untrained, key=_in_order)
    for suite in TRAINED:
        for line in each_of(trainings(frames, suite)):
            counted = rows_of(frames, "operations", line)
            if len(counted):
                accuracy = share([*line.accuracies.values()])
                yield _Inference(replace(line.case, suite=suite), counted, accuracy)


def _in_order(each: _Inference) -> tuple[object, ...]:
    case = each.case
    place = paper.paper_order(case.dataset, case.scale)
    of_neunorm = reading(case).replace("off", "")
    return *place, str(case.width), case.T, each.is_ann, case.framework, of_neunorm


def _line(each: _Inference, among: Sequence[_Inference]) -> dict[str, object]:
    case = each.case
    ann = next((other for other in among if other.is_ann and other.alike == each.alike), None)
    initial = f"of a file ({case.weights_sha256[:8]})" if case.weights_sha256 else ""
    initial = initial or f"initial ({case.initialisation})"
    return {
        "suite": case.suite,
        "dataset": case.dataset,
        "scale": case.scale,
        "framework": case.framework,
        "neunorm": reading(case),
        "T": case.T,
        "width": str(case.width),
        "weights": "trained" if each.accuracy else initial,
        "accuracy": each.accuracy.value if each.accuracy else nan,
        "spike_rate": each.spike_rate,
        **_counted(each),
        **({"side": ""} if each.is_ann else _with_memory(each, ann)),
        "samples": each.rows["counted_samples"].min(),  # of one seed
        "n": len(each.rows),
        "device": case.device,
        "precision": case.precision,
        "network": str(case.network),
        "data_source": each.source,
        **each.flags,
    }


def _counted(each: _Inference) -> dict[str, object]:
    layers = each.layers
    products = [layer for layer in layers if each.is_ann or layer.by_value_is_product]
    macs = sum(layer.operations for layer in products)
    acs = sum(layer.operations for layer in layers) - macs
    folded_macs = sum(layer.multiplies for layer in layers)
    folded_acs = sum(layer.accumulates for layer in layers)
    synapses = sum(dense(layer.stage) for layer in layers[1:])
    whole = sum(dense(layer.stage) for layer in layers)
    steps = 0 if each.is_ann else each.case.T

    def microjoules(of: Arithmetic, macs: float, acs: float) -> float:
        return (macs * of.mac + acs * of.ac) / MILLION

    return {
        "spikes_per_synapse": folded_acs / synapses if synapses and steps else nan,
        "neuron_updates_millions": steps * sum(of.stage.neurons for of in layers) / MILLION,
        "macs_millions": macs / MILLION,
        "acs_millions": acs / MILLION,
        "folded_macs_millions": folded_macs / MILLION,
        "folded_acs_millions": folded_acs / MILLION,
        "counted_uj_float32": microjoules(FLOAT32, macs, acs),
        "counted_uj_float32_folded": microjoules(FLOAT32, folded_macs, folded_acs),
        "counted_uj_int8": microjoules(INT8, macs, acs),
        "counted_uj_int8_folded": microjoules(INT8, folded_macs, folded_acs),
        # every input of it multiplied, zero or not; its own line counts what is not zero
        "ann_counted_uj_float32": microjoules(FLOAT32, whole, 0.0),
        "ann_counted_uj_int8": microjoules(INT8, whole, 0.0),
    }


def _with_memory(each: _Inference, ann: _Inference | None) -> dict[str, object]:
    """The spiking network, and the one without spikes that multiplies by zeros, or skips them."""
    layers, rate = each.layers, each.spike_rate
    bits = activation_bits(each.case.T)
    ours = spiking(layers, each.case.T, static=each.static)
    whole = quantised(layers, bits, skips=False).total
    skipping = quantised(ann.layers, bits, skips=True).total if ann else nan
    spent = ours.whole
    return {
        "memory_uj": spent.total / MILLION,
        **{f"memory_uj_{f.name}": getattr(spent, f.name) / MILLION for f in fields(spent)},
        "ann_bits": bits,
        "ann_memory_uj": whole / MILLION,
        "ann_memory_uj_skipping": skipping / MILLION,
        "break_even": rate * ours.factor(whole),
        "break_even_skipping": rate * ours.factor(skipping) if ann else nan,
        "side": _side(spent.total, whole, skipping),
        "off_chip_uj": off_chip(layers) / MILLION,
    }


def _side(ours: float, whole: float, skipping: float) -> str:
    """On which side of the break-even the network is, against both."""
    first, second = ("wins" if ours < rival else "loses" for rival in (whole, skipping))
    if pd.isna(skipping):
        return f"{first} against an ANN"
    if first == second:
        return f"{first} against both"
    return f"{first} against an ANN, {second} against one that skips zeros"
