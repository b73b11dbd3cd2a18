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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, log2, nan, prod
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis.frame import Frame, Frames, each_of
from harness.analysis.trainings import ALIKE, FIELDS, reading, rows_of, share, trainings
from harness.analysis.words import FLAGS
from harness.spec import ANN, Case, Network, Trained, network_name, paper
from harness.spec.network import dense

MILLION = 1e6  # pJ a uJ, too


class Arithmetic(NamedTuple):
    """Energies of one kind of number, pJ."""

    mac: float  # a multiply and an add
    ac: float  # an add

    def microjoules(self, macs: float, acs: float = 0.0) -> float:
        """What so many operations take."""
        return (macs * self.mac + acs * self.ac) / MILLION


FLOAT32 = Arithmetic(mac=4.6, ac=0.9)  # multiply 3.7, add 0.9
INT8 = Arithmetic(mac=0.23, ac=0.03)  # multiply 0.2, add 0.03

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


def layers_of(network: Network, counts: Mapping[str, Sequence[float]]) -> Frame:
    """One row a layer: its sizes, and of one sample over all steps what was counted in it: spikes
    of its own, events, operations, accumulates, multiplies.
    """
    stages = network.stages
    before = (None, *stages[:-1])  # the layer that feeds it; None: the input does
    shapes = [stage.neunorm_shape or () for stage in stages]  # (C, H, W)
    fed = ((), *shapes[:-1])
    spikes = counts["spikes"]
    return pd.DataFrame(
        {
            **{name: list(values) for name, values in counts.items()},
            "sent": [0.0, *spikes[:-1]],  # spikes of the layer before
            "first": [each is None for each in before],
            # whether what enters is no spike: real values, or what a pool or NeuNorm made
            "by_value": [each is None or bool(each.pool or each.neunorm_shape) for each in before],
            "senders": [each.neurons if each else 0 for each in before],
            "neurons": [stage.neurons for stage in stages],
            "auxiliary": [prod(shape[1:]) if shape else 0 for shape in shapes],  # NeuNorm's
            "inputs": [prod(stage.input_shape) for stage in stages],
            "weights": [stage.weights for stage in stages],
            # behind NeuNorm a layer has V's weights beside its own
            "read_from": [
                stage.weights + (stage.weights // shape[0] * prod(shape[1:]) if shape else 0)
                for stage, shape in zip(stages, fed, strict=True)
            ],
            "dense": [dense(stage) for stage in stages],
        }
    )


def spiking(layers: Frame, T: int, *, static: bool) -> Frame:
    """pJ of a sample in the network event by event, in the folded reading, by what they go to:
    what is `fixed` at any spike rate, and what grows with it, `by_spikes`.

    Each operation reads its weight. A potential is read and written once a step. A spike is written
    once and read once, as the address of its neuron. The current of a static image is kept.
    """
    first, neurons = layers["first"], layers["neurons"]
    potentials = neurons + layers["auxiliary"]
    price = (potentials * STATE_BITS).map(bit_price)
    kept = ((1 + T) * neurons * STATE_BITS * price).where(first & static, 0.0)
    read = WEIGHT_BITS * (layers["read_from"] * WEIGHT_BITS).map(bit_price)
    entering = layers["events"] * PIXEL_BITS * (layers["inputs"] * PIXEL_BITS).map(bit_price)
    # what stays a product: of the input, and of NeuNorm's auxiliary neurons
    fixed = {
        "arithmetic": neurons * T * INT8.mac + layers["multiplies"] * INT8.mac,
        "weights": layers["multiplies"] * read,
        "states": 2 * T * potentials * STATE_BITS * price + kept,
        "activations": entering.where(first, 0.0),
    }
    accumulates = layers["accumulates"].where(~first, 0.0)
    address = [ceil(log2(max(2, senders))) for senders in layers["senders"]]
    # the spikes that enter a layer; those that left the one before are those in front of its pool
    by_spikes = {
        "arithmetic": accumulates * INT8.ac,
        "weights": accumulates * read,
        "states": 0.0 * accumulates,
        "activations": 2 * layers["sent"] * address * (layers["senders"] * T).map(bit_price),
    }
    of = {"fixed": fixed, "by_spikes": by_spikes}
    return pd.DataFrame({name: pd.DataFrame(each).sum() for name, each in of.items()}).T


def factor(spent: Frame, rival: float) -> float:
    """The factor of all spike rates at which it takes as much as the rival (pJ); 0: at none."""
    fixed, by_spikes = spent.sum(axis=1)
    return max(0.0, (rival - fixed) / by_spikes) if by_spikes > 0 else 0.0


def quantised(layers: Frame, bits: int, *, skips: bool) -> float:
    """pJ of the network without spikes: one pass, activations of so many bits.

    Each operation reads its weight, as above; an activation is written once and read once; sums
    stay in registers. `skips`: of what is zero nothing is multiplied, by the counts of `layers`.
    """
    first = layers["first"]
    width = first.map({True: PIXEL_BITS, False: bits})
    operations = layers["operations" if skips else "dense"]
    size = layers["inputs"] * width
    read = WEIGHT_BITS * (layers["weights"] * WEIGHT_BITS).map(bit_price)
    parts = {
        "arithmetic": operations * width.map(quantised_mac),
        "weights": operations * read,
        "activations": first.map({True: 1, False: 2}) * size * size.map(bit_price),
    }
    return float(pd.DataFrame(parts).sum().sum())


COLUMNS = (
    *("dataset", "scale", "framework", "neunorm", "T", "width", "weights", "accuracy"),
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
    *("epochs", "samples", "n", "device", "precision", "network", "data_source", *FLAGS),
)


def energy(frames: Frames) -> Frame:
    """One line a network that was counted: the columns of both ways, of one sample."""
    found = [*_untrained(frames), *_trained(frames)]
    lines = [{**_counted(each), **_with_memory(each, found)} for each in found]
    return pd.DataFrame(lines, columns=list(COLUMNS))


class _Inference(NamedTuple):
    """A network, the same but for the seed, and what inferences of it were counted."""

    case: Case  # with seed 0
    rows: Frame  # one a seed
    weights: str  # trained, or which
    accuracy: float
    epochs: float  # that were trained: the mean over seeds
    layers: Frame  # each layer's counts: the mean over samples and seeds
    rate: float  # spikes a neuron and step, of layers that drive others; of units, those not zero
    data: dict[str, object]  # what its samples are, and what must be said of them
    # What it shares with the network of the same structure without spikes, on its samples. That has
    # no time: of a static image any T will do, of event frames it sees the same T.
    alike: tuple[object, ...]


def _inference(
    case: Case, rows: Frame, weights: str, accuracy: float = nan, epochs: float = nan
) -> _Inference:
    counts, samples, trained = {}, rows["counted_samples"], None
    for name in ("spikes", "events", "operations", "accumulates", "multiplies"):
        each = [[n / of for n in row] for row, of in zip(rows[name], samples, strict=True)]
        counts[name] = [fmean(layer) for layer in zip(*each, strict=True)]
    last = rows.iloc[-1]
    kind = "data_test" if last["data_test_source"] else "data"
    data = {name: last[f"{kind}_{name}"] for name in FLAGS}
    data["data_source"] = last[f"{kind}_source"]
    if isinstance(case, Trained):
        trained = case.training.epochs, last["train_samples"]
    T = 0 if paper.settings(case.dataset).static else case.T
    alike = case.dataset, str(case.network), case.width, T, trained, data["data_source"]
    layers = layers_of(case.network, counts)
    neurons = layers["neurons"][:-1].sum() * (1 if case.framework == ANN else case.T)
    rate = layers["spikes"][:-1].sum() / neurons if neurons else nan
    return _Inference(case, rows, weights, accuracy, epochs, layers, rate, data, alike)


def _untrained(frames: Frames) -> list[_Inference]:
    """With initial weights, in the paper's order."""
    rows = frames["operations"]
    rows = rows[rows["counts"] & (rows["suite"] == "energy")]
    found = []
    rows = rows.assign(case=[replace(case, seed=0) for case in rows["case"]])
    for (case, *_), of in rows.groupby(["case", "machine", "data_source"], sort=False):
        of = of.drop_duplicates("seed", keep="last")
        initial = f"initial ({case.initialisation})"
        sha256 = case.weights_sha256
        found.append(_inference(case, of, f"of a file ({sha256[:8]})" if sha256 else initial))

    def in_order(each: _Inference) -> tuple[object, ...]:
        case, place = each.case, paper.paper_order(each.case.dataset, each.case.scale)
        is_ann, of_neunorm = case.framework == ANN, reading(case).replace("off", "")
        return *place, str(case.width), case.T, is_ann, case.framework, of_neunorm

    return sorted(found, key=in_order)


def _trained(frames: Frames) -> Iterator[_Inference]:
    """Trainings of all suites whose trainings are the paper's, each once."""
    for line in each_of(trainings(frames, "accuracy", *ALIKE)):
        rows = rows_of(frames, "operations", line)
        if len(rows):
            by_seed = line.accuracies, dict(zip(line.accuracies, line.trained_epochs, strict=True))
            accuracies, epochs = ([of[seed] for seed in rows["seed"]] for of in by_seed)
            figures = share(accuracies).value, fmean(epochs)
            yield _inference(line.case, rows, "trained", *figures)


def _counted(each: _Inference) -> dict[str, Any]:
    case, layers, is_ann = each.case, each.layers, each.case.framework == ANN
    steps = 0 if is_ann else case.T
    macs = layers["operations"][layers["by_value"] | is_ann].sum()
    acs = layers["operations"].sum() - macs
    folded = layers["multiplies"].sum(), layers["accumulates"].sum()
    synapses, whole = layers["dense"][1:].sum(), layers["dense"].sum()
    return {
        **{name: getattr(case, name) for name in COLUMNS if name in FIELDS},
        "scale": network_name(case),
        **{"width": str(case.width), "network": str(case.network), "neunorm": reading(case)},
        **{"weights": each.weights, "accuracy": each.accuracy, "spike_rate": each.rate},
        "spikes_per_synapse": folded[1] / synapses if synapses and steps else nan,
        "neuron_updates_millions": steps * layers["neurons"].sum() / MILLION,
        **{"macs_millions": macs / MILLION, "acs_millions": acs / MILLION},
        "folded_macs_millions": folded[0] / MILLION,
        "folded_acs_millions": folded[1] / MILLION,
        "counted_uj_float32": FLOAT32.microjoules(macs, acs),
        "counted_uj_float32_folded": FLOAT32.microjoules(*folded),
        "counted_uj_int8": INT8.microjoules(macs, acs),
        "counted_uj_int8_folded": INT8.microjoules(*folded),
        # every input of it multiplied, zero or not; its own line counts what is not zero
        "ann_counted_uj_float32": FLOAT32.microjoules(whole),
        "ann_counted_uj_int8": INT8.microjoules(whole),
        "epochs": each.epochs,
        "samples": each.rows["counted_samples"].min(),  # of one seed
        "n": len(each.rows),
        **each.data,
    }


def _with_memory(each: _Inference, among: Sequence[_Inference]) -> dict[str, Any]:
    """The spiking network, and the one without spikes that multiplies by zeros, or skips them."""
    case, layers = each.case, each.layers
    if case.framework == ANN:
        return {"side": ""}
    anns = (of.layers for of in among if of.case.framework == ANN and of.alike == each.alike)
    ann, bits = next(anns, None), activation_bits(case.T)
    ours = spiking(layers, case.T, static=paper.settings(case.dataset).static)
    whole = quantised(layers, bits, skips=False)
    skipping = nan if ann is None else quantised(ann, bits, skips=True)
    spent = ours.loc["fixed"] + ours.loc["by_spikes"]
    # on which side of the break-even it is, against both
    first, second = ("wins" if spent.sum() < rival else "loses" for rival in (whole, skipping))
    side = f"{first} against an ANN" + f", {second} against one that skips zeros" * (
        ann is not None
    )
    return {
        "memory_uj": spent.sum() / MILLION,
        **{f"memory_uj_{name}": value / MILLION for name, value in spent.items()},
        "ann_bits": bits,
        "ann_memory_uj": whole / MILLION,
        "ann_memory_uj_skipping": skipping / MILLION,
        "break_even": each.rate * factor(ours, whole),
        "break_even_skipping": nan if ann is None else each.rate * factor(ours, skipping),
        "side": f"{first} against both" if ann is not None and first == second else side,
        # fetching all weights from DRAM once, where they do not stay on the chip
        "off_chip_uj": layers["weights"].sum() * WEIGHT_BITS * DRAM / MILLION,
    }
