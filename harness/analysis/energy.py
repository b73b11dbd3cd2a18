"""What an inference of one sample costs: its synaptic operations times the energy of one.

The energies are those of float32 in M. Horowitz, "Computing's energy problem (and what we can do
about it)", ISSCC 2014, Fig. 1.1.9: 45 nm, 0.9 V. What is counted: docs/energy.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import nan
from statistics import fmean

import pandas as pd

from harness.analysis import trainings
from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.trainings import ALIKE, reading, rows_of
from harness.analysis.words import FLAGS, initial_weights
from harness.records import OperationsResult, Row
from harness.spec import ANN, Case, Count, network_name, paper
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
    """Yield a line for each network that was counted untrained, in the paper's order."""
    rows = frames.current_rows(OperationsResult)
    same = grouped((row for row in rows if isinstance(row.case, Count)), _alike)

    def in_order(key: tuple[Case, object, object]) -> tuple[object, ...]:
        """Return the place of an untrained network: by data set, size, T, contender and NeuNorm."""
        work, contender = key[0].workload, key[0].contender
        front = *paper.paper_order(work.dataset, work.scale), str(work.width), work.T
        of_neunorm = reading(work.network).replace("off", "")
        return *front, contender.framework == ANN, contender.name, of_neunorm

    for key in sorted(same, key=in_order):
        case, weights = key[0], f"initial ({initial_weights(key[0].workload)})"
        yield _line(case, [*{row.workload.seed: row for row in same[key]}.values()], weights)


def _alike(row: Row) -> tuple[Case, object, object]:
    """Return what is equal of counts that are averaged: case but for the seed, machine, data."""
    case = replace(row.case, workload=replace(row.workload, seed=0))
    return case, row.place, row.data.source and row.data.source.description


def _trained(frames: Frames) -> Iterator[dict[str, object]]:
    """Yield a line for each network of suite `accuracy` that was counted after its training."""
    for line in trainings.lines(frames, "accuracy", *ALIKE):
        if rows := rows_of(frames, OperationsResult, line):
            trained = dict(zip(line.accuracies, line.trained_epochs, strict=True))
            accuracy = mean_share([line.accuracies[row.workload.seed] for row in rows]).value
            epochs = fmean(trained[row.workload.seed] for row in rows)
            yield _line(line.case, rows, "trained", accuracy, epochs)


def _mean(counts: Iterable[tuple[int, Sequence[int]]]) -> list[float]:
    """Return a count of each layer, given the samples and the counts of each seed: the mean."""
    by_seed = [[n / samples for n in layers] for samples, layers in counts]
    return [fmean(layer) for layer in zip(*by_seed, strict=True)]


def _line(
    case: Case,
    rows: Sequence[Row[OperationsResult]],
    weights: str,
    accuracy: float = nan,
    epochs: float = nan,
) -> dict[str, object]:
    """Return a line from the counts of a network, a row a seed; `epochs` are the mean over them."""
    work, results = case.workload, [row.result for row in rows]
    stages, is_ann = work.network.stages, case.contender.framework == ANN
    steps = 0 if is_ann else work.T
    operations = _mean((counts.counted_samples, counts.operations) for counts in results)
    spikes = _mean((counts.counted_samples, counts.spikes) for counts in results)
    # what enters is no spike: real values, or what a pool or NeuNorm made
    behind_values = (True, *(bool(stage.pool or stage.neunorm_shape) for stage in stages[:-1]))
    by_value = zip(operations, behind_values, strict=True)
    macs = sum(n for n, is_value in by_value if is_value or is_ann)
    acs = sum(operations) - macs
    multiplies = sum(_mean((c.counted_samples, c.multiplies) for c in results))
    accumulates = sum(_mean((c.counted_samples, c.accumulates) for c in results))
    synapses, whole = sum(map(unpadded_macs, stages[1:])), sum(map(unpadded_macs, stages))
    driving = sum(stage.neurons for stage in stages[:-1]) * max(steps, 1)
    source = rows[-1].data.test or rows[-1].data.source
    return {
        **{"dataset": work.dataset, "scale": network_name(work), "T": work.T},
        **{"framework": case.contender.name, "precision": case.contender.precision},
        **{"device": case.device, "width": str(work.width), "network": str(work.network)},
        **{"neunorm": reading(work.network), "weights": weights, "accuracy": accuracy},
        # spikes a neuron and step, of layers that drive others; of units, those not zero
        "spike_rate": sum(spikes[:-1]) / driving if driving else nan,
        "spikes_per_synapse": accumulates / synapses if synapses and steps else nan,
        "neuron_updates_millions": steps * sum(stage.neurons for stage in stages) / MILLION,
        **{"macs_millions": macs / MILLION, "acs_millions": acs / MILLION},
        "folded_macs_millions": multiplies / MILLION,
        "folded_acs_millions": accumulates / MILLION,
        "counted_uj_float32": microjoules(macs, acs),
        "counted_uj_float32_folded": microjoules(multiplies, accumulates),
        # every input of it multiplied, zero or not; its own line counts what is not zero
        "ann_counted_uj_float32": microjoules(whole),
        "epochs": epochs,
        "samples": min(counts.counted_samples for counts in results),  # of one seed
        "n": len(rows),
        "data_source": source.description if source else "",
        **{name: bool(source and getattr(source, name)) for name in FLAGS},
    }
