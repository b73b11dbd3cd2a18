"""What an inference of one sample costs: its synaptic operations times the energy of one.

The energies are those of float32 in M. Horowitz, "Computing's energy problem (and what we can do
about it)", ISSCC 2014, Fig. 1.1.9: 45 nm, 0.9 V. What is counted: docs/energy.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import nan
from statistics import fmean

import pandas as pd

from harness.analysis import trainings
from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.trainings import ALIKE, OF_CASE, reading, rows_of
from harness.analysis.words import FLAGS, initial_weights
from harness.records import OperationsRow
from harness.spec import ANN, Case, network_name, paper
from harness.spec.network import unpadded_macs
from harness.statistics import mean_share

MILLION = 1e6  # also the pJ in a uJ
MAC_PJ, AC_PJ = 4.6, 0.9  # a multiply (3.7) and an add (0.9); an add


def microjoules(macs: float, acs: float = 0.0) -> float:
    """Return the energy, in uJ, of so many multiply-accumulates and accumulates."""
    return (macs * MAC_PJ + acs * AC_PJ) / MILLION


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
    """Return the operations and energy of one sample: a line a network, untrained and trained."""
    return pd.DataFrame([*_untrained(frames), *_trained(frames)], columns=list(COLUMNS))


def _untrained(frames: Frames) -> Iterator[dict[str, object]]:
    rows = [row for row in frames.current_rows(OperationsRow) if row.suite == "energy"]
    same = grouped(rows, lambda r: (replace(Case.of(r), seed=0), r.place, r.data_source))

    def in_order(key: tuple[Case, object, object]) -> tuple[object, ...]:
        case, place = key[0], paper.paper_order(key[0].dataset, key[0].scale)
        is_ann, of_neunorm = case.framework == ANN, reading(case).replace("off", "")
        return *place, str(case.width), case.T, is_ann, case.framework, of_neunorm

    for key in sorted(same, key=in_order):
        case, weights = key[0], f"initial ({initial_weights(key[0])})"
        yield _line(case, [*{row.seed: row for row in same[key]}.values()], weights)


def _trained(frames: Frames) -> Iterator[dict[str, object]]:
    for line in trainings.lines(frames, "accuracy", *ALIKE):
        if rows := rows_of(frames, OperationsRow, line):
            trained = dict(zip(line.accuracies, line.trained_epochs, strict=True))
            accuracy = mean_share([line.accuracies[row.seed] for row in rows]).value
            epochs = fmean(trained[row.seed] for row in rows)
            yield _line(line.case, rows, "trained", accuracy, epochs)


def _mean(rows: Sequence[OperationsRow], name: str) -> list[float]:
    """Return a count of each layer: the mean over samples and seeds."""
    each = [[n / row.counted_samples for n in getattr(row, name)] for row in rows]
    return [fmean(layer) for layer in zip(*each, strict=True)]


def _line(
    case: Case,
    rows: Sequence[OperationsRow],
    weights: str,
    accuracy: float = nan,
    epochs: float = nan,
) -> dict[str, object]:
    """Return a line from the counts of a network, a row a seed; `epochs` are the mean over them."""
    stages, is_ann = case.network.stages, case.framework == ANN
    steps = 0 if is_ann else case.T
    operations, spikes = _mean(rows, "operations"), _mean(rows, "spikes")
    # what enters is no spike: real values, or what a pool or NeuNorm made
    behind_values = (True, *(bool(each.pool or each.neunorm_shape) for each in stages[:-1]))
    by_value = zip(operations, behind_values, strict=True)
    macs = sum(n for n, is_value in by_value if is_value or is_ann)
    acs = sum(operations) - macs
    folded = sum(_mean(rows, "multiplies")), sum(_mean(rows, "accumulates"))
    synapses, whole = sum(map(unpadded_macs, stages[1:])), sum(map(unpadded_macs, stages))
    driving = sum(stage.neurons for stage in stages[:-1]) * max(steps, 1)
    last = rows[-1]
    kind = "data_test" if last.data_test_source else "data"
    return {
        **{name: getattr(case, name) for name in OF_CASE},
        "scale": network_name(case),
        **{"width": str(case.width), "network": str(case.network), "neunorm": reading(case)},
        **{"weights": weights, "accuracy": accuracy},
        # spikes a neuron and step, of layers that drive others; of units, those not zero
        "spike_rate": sum(spikes[:-1]) / driving if driving else nan,
        "spikes_per_synapse": folded[1] / synapses if synapses and steps else nan,
        "neuron_updates_millions": steps * sum(stage.neurons for stage in stages) / MILLION,
        **{"macs_millions": macs / MILLION, "acs_millions": acs / MILLION},
        "folded_macs_millions": folded[0] / MILLION,
        "folded_acs_millions": folded[1] / MILLION,
        "counted_uj_float32": microjoules(macs, acs),
        "counted_uj_float32_folded": microjoules(*folded),
        # every input of it multiplied, zero or not; its own line counts what is not zero
        "ann_counted_uj_float32": microjoules(whole),
        "epochs": epochs,
        "samples": min(row.counted_samples for row in rows),  # of one seed
        "n": len(rows),
        "data_source": last.data_test_source or last.data_source or "",
        **{name: bool(getattr(last, f"{kind}_{name}")) for name in FLAGS},
    }
