"""What a result depends on, as its key: what has a result of a key is not measured again.

A key is a hash of a case in one level, its data, the versions of what computes, for timings the
machine, and numbers that are raised by hand when what they stand for changes. Golden files
(tests/goldens, written by tests/golden.py) see to it that they are: one that moves without its
number fails a test. So moving or renaming a file dates no row.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from harness.machine.installed import Machine
from harness.spec import (
    BIN_US,
    LOSS,
    Case,
    Count,
    Fit,
    NeuronSource,
    Sampling,
    Timing,
    Training,
    paper,
)
from harness.spec.paper import SGD, Adam

NUMERICS = 1  # what a training computes: its steps, draws, initial weights, augmentation
PROTOCOL = 3  # how a time is taken: what is timed, warm-ups, rounds, layouts
EXAM = 3  # what a proof examines, the audit's too, and their tolerances

Value = str | int | float | bool | None | tuple[object, ...]
# Columns of a case that do not affect the weights a training ends with: names, what is asked of the
# trained network, and how many samples were wanted, which is in the data's hash.
IDLE = ("suite", "scale", "width", "tested_at")
IDLE += ("wanted_samples", "wanted_test_samples", "embedded")
# Columns that came after keys had been made: where nothing is in them, they are in no key.
_LATER = (
    *("effort", "window", "bin_us", "wants_simulated", "loss_function", "weights_sha256"),
    *("least_epochs", "optimiser_fc_factor", "stages", "neunorm_u"),
)
# Fields of the machine that are in no key as they stand. Its torch is the installation's; a harness
# of another version or commit may time the same; another kernel keeps another MiB for itself.
_ELSEWHERE = ("torch", "harness", "commit", "environment", "memory_mib")
# Their effect is in `threads`, and a cluster sets them to what they would have been.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What computes a case: an adapter as installed, a baseline, the floor, or Table 5's ANN."""

    torch: str | None = None
    framework_version: str | None = None  # of the package behind the adapter
    revision: int = 0  # the adapter's REVISION
    deviations: str | None = None  # where it is not the paper's function
    neuron: NeuronSource | None = None  # whose code it is; None: not declared
    implementation: str | None = None  # which of its kernels run, where an adapter has several


def columns(case: Case) -> dict[str, Value]:
    """Return a case in one level, a value for each thing that can differ: of keys and tables."""
    workload, contender, network = case.workload, case.contender, case.workload.network
    norm, lif = network.neunorm, network.lif
    return {
        "suite": case.suite,
        "dataset": workload.dataset,
        "scale": workload.scale,
        "network": str(network),
        "input_shape": network.input_shape,
        "classes": network.classes,
        "population": network.population,
        "k_tau": lif.k_tau,
        "v_th": lif.v_th,
        "a": lif.a,
        "neunorm": norm and norm.reading,
        "k_tau2": norm and norm.k_tau2,
        "neunorm_u": norm and norm.u,
        "dropout": network.dropout,
        "width": str(workload.width),
        "framework": contender.package,
        "variant": contender.suffix,
        "T": workload.T,
        "batch_size": workload.batch_size,
        "precision": contender.precision,
        "device": case.device,
        "seed": workload.seed,
        "initialisation": workload.initialisation,
        **_optimiser(case),
        **_procedure(case),
        "weights_sha256": workload.weights_sha256,
    }


def _optimiser(case: Case) -> dict[str, Value]:
    """Return the optimiser's columns; a count and a fit have the paper's, which they do not use."""
    match case:
        case Timing() | Training():
            optimiser = case.optimiser
        case Count() | Fit():
            optimiser = paper.settings(case.workload.dataset).optimiser
    sgd = optimiser if isinstance(optimiser, SGD) else None
    return {
        "optimiser": "sgd" if sgd else "adam",
        "optimiser_lr": optimiser.lr,
        "optimiser_betas": optimiser.betas if isinstance(optimiser, Adam) else None,
        "optimiser_momentum": sgd and sgd.momentum,
        "optimiser_step_epochs": sgd and sgd.step_epochs,
        "optimiser_factor": sgd and sgd.factor,
        "optimiser_fc_factor": sgd and sgd.fc_factor,
    }


def _procedure(case: Case) -> dict[str, Value]:
    """Return the columns of a case's procedure, the same names for each kind."""
    sampling = case.sampling if isinstance(case, Training | Fit) else Sampling()
    done: dict[str, Value] = dict.fromkeys(
        ("epochs", "effort", "window", "loss_function", "stages", "least_epochs")
    )
    done |= {"mode": "training", "tested_at": ()}
    match case:
        case Timing():
            done["mode"] = case.mode
        case Count():
            done["mode"] = "inference"
        case Fit():
            done |= {"epochs": case.epochs, "tested_at": case.tested_at}
            done |= {"effort": case.effort, "window": case.window}
        case Training():
            done |= {"epochs": case.epochs, "tested_at": case.tested_at}
            done |= {"stages": case.stages or None, "least_epochs": case.least_epochs}
            done["loss_function"] = None if case.loss == LOSS else case.loss
    return done | {
        "wanted_samples": sampling.train,
        "wanted_test_samples": sampling.test,
        "embedded": sampling.embedded,
        "bin_us": None if sampling.bin_us == BIN_US else sampling.bin_us,
        "wants_simulated": sampling.simulated or None,
    }


def training_identity(
    case: Case, train_sha256: str, test_sha256: str, installation: Installation
) -> dict[str, object]:
    """Return all that decides the weights a training ends with, by name."""
    data = {"training data": train_sha256, "test data": test_sha256}
    return {**columns_that_train(case), **data, **_software(installation), "NUMERICS": NUMERICS}


def training_key(
    case: Case, train_sha256: str, test_sha256: str, installation: Installation
) -> str:
    """Return the key of a training: hash of case, data and versions, without its suite."""
    return _key(training_identity(case, train_sha256, test_sha256, installation))


def timing_key(
    case: Case, data_sha256: str, installation: Installation, machine: Machine, allocator: str
) -> str:
    """Return the key of a contender in a cell: hash of case, data, versions and machine."""
    place = {k: value for k, value in asdict(machine).items() if k not in _ELSEWHERE}
    place["environment"] = settings_of(machine)
    place |= {"memory_gib": round((machine.memory_mib or 0) / 1024), "allocator": allocator}
    # cases had that field once: keys of timings stay as they were
    place["wants_confusion"] = False
    measured = {"data": data_sha256, **_software(installation), "PROTOCOL": PROTOCOL}
    return _key({**_present(case), **measured, **place})


def settings_of(machine: Machine) -> list[str]:
    """Return the environment that changes a machine's speed, as `NAME=value`, but thread counts."""
    variables = (machine.environment or "").split()
    return [text for text in variables if text.split("=")[0] not in _THREADS]


def columns_that_train(case: Case) -> dict[str, Value]:
    """Return the columns of a case that, with the data, decide the trained weights."""
    return {name: value for name, value in _present(case).items() if name not in IDLE}


def _software(installation: Installation) -> dict[str, object]:
    names = ("torch", "framework_version", "revision")
    return {name: getattr(installation, name) for name in names}


def _present(case: Case) -> dict[str, Value]:
    case_columns = columns(case).items()
    return {name: value for name, value in case_columns if name not in _LATER or value is not None}


def _key(decisive: dict[str, object]) -> str:
    """Sixteen hex digits of all that decides a result."""
    text = json.dumps(decisive, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
