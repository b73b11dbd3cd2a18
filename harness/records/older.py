"""Rows of schemas 1 and 2, as rows of ours: what they left to the settings of their time is said.

The settings of Table 7, the protocol and the exam had not changed until schema 3 came, so an older
row gets the key that the same result would have now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.records.identity import Software, timing_key, training_key
from harness.spec import Adam, Case, CaseFields, paper
from harness.system.facts import Machine

# What schema 2 had in one class, whatever the kind, and in which kinds it meant something.
_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "round": ("iteration",),
    "twin": ("iteration",),
    "seconds": ("warmup", "iteration", "epoch", "trained"),
    "steps": ("warmup",),
    "rounds": ("timed",),
    "converged": ("timed",),
    "budget_seconds": ("timed",),
    "peak_memory_mib": ("memory",),
    "epoch": ("epoch",),
    "learning_rate": ("epoch",),
    "loss": ("epoch",),
    "train_accuracy": ("epoch",),
    "validation_accuracy": ("epoch",),
    "test_accuracy": ("epoch", "tested", "trained"),
    "best_test_accuracy": ("trained",),
    "best_test_epoch": ("trained",),
    "chosen_test_accuracy": ("trained",),
    "chosen_epoch": ("trained",),
    "rates": ("epoch",),
    "gradient_norm": ("epoch",),
    "tested_T": ("tested",),
    "votes": ("confusion",),
    "confusion": ("confusion",),
    **dict.fromkeys(
        (
            *("certified", "certificate_precision", "layer", "spike_rate", "spikes", "mismatches"),
            *("gradient_error", "gradient_cosine", "first_step", "first_layer"),
            *("threshold_distance", "attempts"),
        ),
        ("certificate",),
    ),
    "reason": ("certificate", "case", "warning"),
    "status": ("case",),
}
_NOT_COMPARABLE = "not comparable: "
_PLAIN = "plain torch"


def upgraded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of schema 1 or 2 as one of schema 3.

    Raises UsageError where it names what there is not. What is wrong with its other fields shows
    when it is read.
    """
    kind = row["kind"]
    new = {k: v for k, v in row.items() if kind in _OF_KINDS.get(k, (kind,))}
    _settle_case(new)
    match kind:
        case "certificate":
            new["exam"] = 1
        case "epoch":
            new["warnings"] = [row["reason"]] if row.get("reason") else []
        case "confusion":
            new["confusion_samples"] = new.pop("test_samples", 0)
        case "case":
            _settle_end(new)
        case _:
            pass
    compiled = row.get("implementation")
    if new.get("framework_version") is None and compiled != _PLAIN:  # what compiles its kernels
        new["framework_version"] = compiled
    key = _key(row, new)
    if key is not None:
        new["key"] = key
    return new


def _settle_case(new: dict[str, Any]) -> None:
    """Says what a case's row left to the settings of its data set."""
    dataset = new.get("dataset")
    settings = paper.settings(dataset if isinstance(dataset, str) else repr(dataset))
    new.update(
        input_shape=list(settings.input_shape),
        classes=10,
        population=10,
        k_tau=settings.lif.k_tau,
        v_th=settings.lif.v_th,
        a=settings.lif.a,
        k_tau2=settings.k_tau2 if new.get("neunorm") else None,
        dropout=new.get("dropout") or 0.0,
    )
    optimiser = settings.optimiser
    new["optimiser_lr"] = optimiser.lr
    if isinstance(optimiser, Adam):
        new.update(optimiser="adam", optimiser_betas=list(optimiser.betas))
    else:
        new.update(
            optimiser="sgd",
            optimiser_momentum=optimiser.momentum,
            optimiser_step_epochs=optimiser.step_epochs,
            optimiser_factor=optimiser.factor,
        )
    if new.get("epochs") is None:
        return
    train, validation = new.get("train_samples"), new.get("validation_samples")
    if isinstance(train, int) and isinstance(validation, int):
        new["wanted_samples"] = train + validation
    new["wanted_test_samples"] = new.get("test_samples")
    new["embedded"] = bool(new.get("data_substitute"))


def _settle_end(new: dict[str, Any]) -> None:
    reason = new.get("reason") or ""
    new["reason"] = reason
    if isinstance(reason, str) and reason.startswith(_NOT_COMPARABLE):
        new["status"], new["reason"] = "not comparable", reason.removeprefix(_NOT_COMPARABLE)


def _key(row: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The key of the same result now; None where the row does not say all that decides it."""
    if row.get("torch") is None or not _trained_as_now(row):
        return None
    try:
        case = Case.of(CaseFields(**{k: _hashable(new[k]) for k in new if k in _CASE}))
        here: dict[str, Any] = {k: row.get(k) for k in _MACHINE}
        machine = Machine(**here)
    except TypeError:  # a field is missing, or of a type that is none: reading it will say so
        return None
    software = Software(torch=row["torch"], framework_version=new.get("framework_version"))
    if case.training is None:
        sha, kept = row.get("data_sha256"), row.get("allocator")
        return timing_key(case, sha, software, machine, kept) if sha and kept else None
    train, test = row.get("data_sha256"), row.get("data_test_sha256")
    return training_key(case, train, test, software) if train and test else None


def _trained_as_now(row: Mapping[str, Any]) -> bool:
    """Whether a training's optimiser was that of today's settings."""
    if row.get("epochs") is None or row.get("optimiser") is None:
        return row.get("epochs") is None
    return row["optimiser"] == str(paper.settings(row["dataset"]).optimiser)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_CASE = frozenset(CaseFields.__dataclass_fields__)
_MACHINE = tuple(Machine.__dataclass_fields__)  # those that older rows lack are None
