"""What an inference of one sample costs: its synaptic operations times the energy of one.

The energies are those of float32 in M. Horowitz, "Computing's energy problem (and what we can do
about it)", ISSCC 2014, Fig. 1.1.9: 45 nm, 0.9 V. What is counted: docs/energy.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import nan
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.trainings import ALIKE, FIELDS, reading, rows_of, share, trainings
from harness.analysis.words import FLAGS
from harness.records import OperationsRow
from harness.spec import ANN, Case, Network, network_name, paper
from harness.spec.network import dense

MILLION = 1e6  # pJ a uJ, too
MAC_PJ, AC_PJ = 4.6, 0.9  # a multiply (3.7) and an add (0.9); an add


def microjoules(macs: float, acs: float = 0.0) -> float:
    """Return what so many multiply-accumulates and accumulates take."""
    return (macs * MAC_PJ + acs * AC_PJ) / MILLION


def layers_of(network: Network, counts: Mapping[str, Sequence[float]]) -> Frame:
    """Return one row a layer: its size, and its counts of one sample over all steps.

    Spikes of its own, events, operations, accumulates, multiplies.
    """
    stages = network.stages
    before = (None, *stages[:-1])  # the layer that feeds it; None: the input does
    return pd.DataFrame(
        {
            **{name: list(values) for name, values in counts.items()},
            # whether what enters is no spike: real values, or what a pool or NeuNorm made
            "by_value": [each is None or bool(each.pool or each.neunorm_shape) for each in before],
            "neurons": [stage.neurons for stage in stages],
            "dense": [dense(stage) for stage in stages],
        }
    )


COLUMNS = (
    *("dataset", "scale", "framework", "neunorm", "T", "width", "weights", "accuracy"),
    *("spike_rate", "spikes_per_synapse", "neuron_updates_millions"),
    # counted. By value: what a pool or NeuNorm made is multiplied (NeuroBench's rule); folded:
    # spikes behind a pool are accumulated one by one. The first layer and the ANN multiply.
    *("macs_millions", "acs_millions", "folded_macs_millions", "folded_acs_millions"),
    *("counted_uj_float32", "counted_uj_float32_folded", "ann_counted_uj_float32"),
    *("epochs", "samples", "n", "device", "precision", "network", "data_source", *FLAGS),
)


def energy(frames: Frames) -> Frame:
    """Return one line a network that was counted: what one sample costs."""
    lines = map(_counted, [*_untrained(frames), *_trained(frames)])
    return pd.DataFrame(lines, columns=list(COLUMNS))


class _Inference(NamedTuple):
    """A network, the same but for the seed, and what inferences of it were counted."""

    case: Case  # with seed 0
    rows: Sequence[OperationsRow]  # one a seed
    weights: str  # trained, or which
    accuracy: float
    epochs: float  # that were trained: the mean over seeds
    layers: Frame  # each layer's counts: the mean over samples and seeds
    rate: float  # spikes a neuron and step, of layers that drive others; of units, those not zero
    data: dict[str, object]  # its samples, with the flags that must be shown


def _inference(
    case: Case,
    rows: Sequence[OperationsRow],
    weights: str,
    accuracy: float = nan,
    epochs: float = nan,
) -> _Inference:
    counts = {}
    for name in ("spikes", "events", "operations", "accumulates", "multiplies"):
        each = [[n / row.counted_samples for n in getattr(row, name)] for row in rows]
        counts[name] = [fmean(layer) for layer in zip(*each, strict=True)]
    last = rows[-1]
    kind = "data_test" if last.data_test_source else "data"
    data: dict[str, object] = {name: bool(getattr(last, f"{kind}_{name}")) for name in FLAGS}
    data["data_source"] = last.data_test_source or last.data_source or ""
    layers = layers_of(case.network, counts)
    neurons = layers["neurons"][:-1].sum() * (1 if case.framework == ANN else case.T)
    rate = layers["spikes"][:-1].sum() / neurons if neurons else nan
    return _Inference(case, rows, weights, accuracy, epochs, layers, rate, data)


def _untrained(frames: Frames) -> list[_Inference]:
    """Return the networks with initial weights, in the paper's order."""
    rows = [row for row in frames.counted(OperationsRow) if row.suite == "energy"]
    found = []
    same = grouped(rows, lambda r: (replace(Case.of(r), seed=0), r.place, r.data_source))
    for (case, *_), of in same.items():
        sha256 = case.weights_sha256
        weights = f"of a file ({sha256[:8]})" if sha256 else f"initial ({case.initialisation})"
        found.append(_inference(case, [*{row.seed: row for row in of}.values()], weights))

    def in_order(each: _Inference) -> tuple[object, ...]:
        case, place = each.case, paper.paper_order(each.case.dataset, each.case.scale)
        is_ann, of_neunorm = case.framework == ANN, reading(case).replace("off", "")
        return *place, str(case.width), case.T, is_ann, case.framework, of_neunorm

    return sorted(found, key=in_order)


def _trained(frames: Frames) -> Iterator[_Inference]:
    """Yield trainings of all suites whose trainings are the paper's, each once."""
    for line in trainings(frames, "accuracy", *ALIKE):
        if rows := rows_of(frames, OperationsRow, line):
            trained = dict(zip(line.accuracies, line.trained_epochs, strict=True))
            accuracy = share([line.accuracies[row.seed] for row in rows]).value
            epochs = fmean(trained[row.seed] for row in rows)
            yield _inference(line.case, rows, "trained", accuracy, epochs)


def _counted(each: _Inference) -> dict[str, object]:
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
        "counted_uj_float32": microjoules(macs, acs),
        "counted_uj_float32_folded": microjoules(*folded),
        # every input of it multiplied, zero or not; its own line counts what is not zero
        "ann_counted_uj_float32": microjoules(whole),
        "epochs": each.epochs,
        "samples": min(row.counted_samples for row in each.rows),  # of one seed
        "n": len(each.rows),
        **each.data,
    }
