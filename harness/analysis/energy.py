"""What an inference of one sample costs, said three ways that are never mixed: tables and points.

Counted: synaptic operations times the energy of one. With memory: what is moved too, against a
network without spikes of the same bits. Measured: joules of a counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan

import pandas as pd

from harness.analysis import costs
from harness.analysis.costs import FLOAT32, INT8, Arithmetic, LayerMeans
from harness.analysis.inferences import Inference, inferences, rival
from harness.analysis.named import data_in_full
from harness.analysis.statistics import Mean
from harness.analysis.trained import FLAGS
from harness.records import Row
from harness.spec import ANN
from harness.spec.fanout import dense

MILLION = 1e6  # pJ a uJ, too
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Way:
    """One way to say what an inference costs: its part of the table, and what to mind."""

    name: str
    caveat: str
    columns: tuple[str, ...]  # beside those of all ways, as the table has them


_FRONT = ("dataset", "scale", "framework", "neunorm", "T", "width", "weights")
COUNTED, MEMORY, MEASURED = "counted", "with memory", "measured"
WAYS = (
    Way(
        COUNTED,
        "Synaptic operations, borders exact, times Horowitz's 45 nm energies (float32 4.6 and 0.9 "
        "pJ, int8 0.23 and 0.03): no memory, no neuron's update, no control. By value: what a pool "
        "or NeuNorm made is multiplied (NeuroBench's rule); folded: spikes behind a pool are "
        "accumulated one by one. The first layer and the ANN multiply.",
        (
            *("spike_rate", "spikes_per_synapse", "macs_millions", "acs_millions"),
            *("folded_macs_millions", "folded_acs_millions", "counted_uj_float32"),
            *("counted_uj_float32_folded", "counted_uj_int8", "counted_uj_int8_folded"),
            *("ann_counted_uj_float32", "ann_counted_uj_int8"),
        ),
    ),
    Way(
        MEMORY,
        "A model: 8-bit weights, 16-bit potentials, Horowitz's memories (10, 20, 100 pJ for 64 "
        "bits of 8 KiB, 32 KiB, 1 MiB); no operation shares a weight that is read. The ANN has "
        "activations of ceil(log2(T + 1)) bits. break even: the spike rate below which the "
        "spiking network takes less, against an ANN that multiplies by zeros, and one that skips "
        "them, as its own weights leave them. Published: 5.7 % at T = 5 (arXiv 2409.08290v4).",
        (
            *("spike_rate", "memory_uj", "memory_uj_arithmetic", "memory_uj_weights"),
            *("memory_uj_states", "memory_uj_activations", "ann_bits", "ann_memory_uj"),
            *("ann_memory_uj_skipping", "break_even", "break_even_skipping", "side"),
            "off_chip_uj",
        ),
    ),
    Way(
        MEASURED,
        "Joules of the machine's own counter over at least 10 s, less what it takes at rest: of "
        "dense kernels that gain nothing by spikes, and of all that runs on the machine.",
        ("measured_mj", "measured_by", "idle_watts"),
    ),
)


def energy(records: Iterable[Row]) -> pd.DataFrame:
    """One line a network that was counted: the columns of all three ways, of one sample."""
    found = inferences(records)
    return pd.DataFrame([_line(each, rival(each, found)) for each in found])


def part(table: pd.DataFrame, way: Way) -> pd.DataFrame:
    """The columns of one way; the ANN's numbers with memory stand beside the spiking network's."""
    if table.empty:
        return table
    shown = [way.name != MEMORY or name != ANN for name in table["framework"]]
    return table.loc[shown, [*_FRONT, *way.columns, "samples", "data_source", *FLAGS]]


def _line(each: Inference, ann: Inference | None) -> dict[str, object]:
    case, neunorm = each.case, each.case.network.neunorm
    return {
        "suite": case.suite,
        "dataset": case.dataset,
        "scale": case.scale,
        "framework": case.framework,
        "neunorm": neunorm.reading if neunorm else "off",
        "T": case.T,
        "width": str(case.width),
        "weights": _weights(each),
        "accuracy": each.accuracy.value if each.accuracy else nan,
        "spike_rate": each.spike_rate,
        **_counted(each),
        **(_of_the_ann() if each.is_ann else _with_memory(each, ann)),
        **_measured(each),
        "samples": each.samples,
        "n": len(each.rows),
        "device": case.device,
        "precision": case.precision,
        "network": str(case.network),
        "data_source": each.source,
        **each.flags,
    }


def _weights(each: Inference) -> str:
    if each.accuracy:
        return "trained"
    given = each.case.weights_sha256
    return f"of a file ({given[:8]})" if given else f"initial ({each.case.initialisation})"


@dataclass(frozen=True)
class Operations:
    """Of one sample in all layers."""

    macs: float
    acs: float

    def microjoules(self, arithmetic: Arithmetic) -> float:
        """At the energies of that arithmetic."""
        return (self.macs * arithmetic.mac + self.acs * arithmetic.ac) / MILLION


def by_value(each: Inference) -> Operations:
    """What a pool or NeuNorm made is multiplied."""
    layers = each.layers
    products = [layer for layer in layers if each.is_ann or layer.by_value_is_product]
    macs = sum(layer.operations for layer in products)
    return Operations(macs, sum(layer.operations for layer in layers) - macs)


def folded(layers: Sequence[LayerMeans]) -> Operations:
    """Spikes behind a pool are accumulated one by one."""
    return Operations(
        sum(layer.multiplies for layer in layers), sum(layer.accumulates for layer in layers)
    )


def _counted(each: Inference) -> dict[str, object]:
    layers = each.layers
    value, apart = by_value(each), folded(layers)
    synapses = sum(dense(layer.stage) for layer in layers[1:])
    steps = 0 if each.is_ann else each.case.T
    whole = Operations(sum(dense(layer.stage) for layer in layers), 0.0)
    return {
        "spikes_per_synapse": apart.acs / synapses if synapses and steps else nan,
        "neuron_updates_millions": steps * _neurons(layers) / MILLION,
        "macs_millions": value.macs / MILLION,
        "acs_millions": value.acs / MILLION,
        "folded_macs_millions": apart.macs / MILLION,
        "folded_acs_millions": apart.acs / MILLION,
        "counted_uj_float32": value.microjoules(FLOAT32),
        "counted_uj_float32_folded": apart.microjoules(FLOAT32),
        "counted_uj_int8": value.microjoules(INT8),
        "counted_uj_int8_folded": apart.microjoules(INT8),
        # every input of it multiplied, zero or not; its own line counts what is not zero
        "ann_counted_uj_float32": whole.microjoules(FLOAT32),
        "ann_counted_uj_int8": whole.microjoules(INT8),
    }


def _neurons(layers: Sequence[LayerMeans]) -> int:
    return sum(layer.stage.neurons for layer in layers)


def _with_memory(each: Inference, ann: Inference | None) -> dict[str, object]:
    """The spiking network, and the one without spikes that multiplies by zeros, or skips them."""
    layers, rate = each.layers, each.spike_rate
    bits = costs.activation_bits(each.case.T)
    ours = costs.spiking(layers, each.case.T, static=each.static)
    whole = costs.quantised(layers, bits, skips=False).total
    skipping = costs.quantised(ann.layers, bits, skips=True).total if ann else nan
    even = rate * ours.factor(whole)
    even_skipping = rate * ours.factor(skipping) if ann else nan
    spent = ours.whole
    return {
        "memory_uj": spent.total / MILLION,
        "memory_uj_arithmetic": spent.arithmetic / MILLION,
        "memory_uj_weights": spent.weights / MILLION,
        "memory_uj_states": spent.states / MILLION,
        "memory_uj_activations": spent.activations / MILLION,
        "ann_bits": bits,
        "ann_memory_uj": whole / MILLION,
        "ann_memory_uj_skipping": skipping / MILLION,
        "break_even": even,
        "break_even_skipping": even_skipping,
        "side": _side(spent.total, whole, skipping),
        "off_chip_uj": costs.off_chip(layers) / MILLION,
    }


def _of_the_ann() -> dict[str, object]:
    """Its own line has no figures with memory: they stand beside the spiking network's."""
    names = (name for name in WAYS[1].columns if name not in ("spike_rate", "side"))
    return {**dict.fromkeys(names, nan), "side": ""}


def _side(ours: float, whole: float, skipping: float) -> str:
    """On which side of the break-even the network is, against both."""
    first = "wins" if ours < whole else "loses"
    if pd.isna(skipping):
        return f"{first} against an ANN"
    second = "wins" if ours < skipping else "loses"
    if first == second:
        return f"{first} against both"
    return f"{first} against an ANN, {second} against one that skips zeros"


def _measured(each: Inference) -> dict[str, object]:
    joules = each.joules
    watts = [row.idle_joules / row.idle_seconds for row in joules if row.idle_seconds]
    reason = f"{NOT_MEASURED}: {each.unmeasured}" if each.unmeasured else NOT_MEASURED
    return {
        "measured_mj": each.millijoules,
        "measured_by": joules[-1].counter if joules else reason,
        "idle_watts": sum(watts) / len(watts) if watts else nan,
    }


@dataclass(frozen=True)
class Point:
    """A trained network: its accuracy against what an inference takes."""

    suite: str
    data: str  # what it was trained on
    samples: int  # that it was trained on
    scale: str
    neunorm: str
    T: int
    accuracy: Mean
    microjoules: float  # counted by value, float32


def accuracy_against_energy(records: Iterable[Row]) -> list[Point]:
    """The spiking networks that were trained over T and over scale, in their order."""
    return [
        Point(
            suite=each.case.suite,
            data=data_in_full(each.case.dataset, each.source, each.flags["substitute"]),
            samples=each.rows[-1].train_samples or 0,
            scale=each.case.scale,
            neunorm=each.case.network.neunorm.reading if each.case.network.neunorm else "off",
            T=each.case.T,
            accuracy=each.accuracy,
            microjoules=by_value(each).microjoules(FLOAT32),
        )
        for each in inferences(records)
        if each.accuracy and not each.is_ann and each.case.suite in ("timesteps", "scale")
    ]
