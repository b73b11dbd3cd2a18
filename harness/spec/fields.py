"""A case as rows write it: flat, and read back part by part."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, assert_never

from harness.spec.errors import UsageError
from harness.spec.network import LIF, Network, NeuNorm, Reading
from harness.spec.training import BIN_US, LOSS, SGD, Adam, Loss, Training

Precision = Literal["fp32", "fp64", "bf16"]
Initialisation = Literal["calibrated", "torch"]
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Window = Literal["first", "whole"]  # of a recording: its first T bins, or all of it
Effort = Literal["quick", "default", "paper"]  # how large another system is


@dataclass(frozen=True)
class Beside:
    """How another system of Tables 3 to 6 is run, beside the paper's network."""

    effort: Effort
    window: Window | None  # of recordings; None: it is given images


@dataclass(frozen=True, kw_only=True)
class CaseFields:
    """A case as rows write it: flat, one field for each thing that can differ."""

    suite: str
    dataset: str
    scale: str
    network: str  # in the paper's notation, as it ran
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: int
    population: int  # voting neurons per class
    k_tau: float
    v_th: float
    a: float
    neunorm: Reading | None = None  # the reading, where NeuNorm is on
    k_tau2: float | None = None
    dropout: float = 0.0
    width: str  # of the paper's network: "1", "1/8"
    framework: str
    variant: str | None = None
    T: int
    batch_size: int
    precision: Precision
    device: str
    seed: int
    initialisation: Initialisation
    mode: Mode = "training"
    optimiser: Literal["sgd", "adam"]
    optimiser_lr: float
    optimiser_betas: tuple[float, float] | None = None
    optimiser_momentum: float | None = None
    optimiser_step_epochs: int | None = None
    optimiser_factor: float | None = None
    epochs: int | None = None  # that it trains; None: it is timed
    wanted_samples: int | None = None
    wanted_test_samples: int | None = None
    embedded: bool = False
    tested_at: tuple[int, ...] = ()
    wants_confusion: bool = False
    effort: Effort | None = None  # of another system; None: the network itself
    window: Window | None = None  # of recordings that another system is given
    bin_us: int | None = None  # of an event frame, where that is not the paper's 5 ms
    wants_simulated: bool | None = None  # trained on simulated events though there are recordings
    loss_function: Loss | None = None  # where it is not that of eq. (11)
    # Of the file of its initial weights, kept in OUT/weights; None: they are drawn. Where there is
    # one, `initialisation` says nothing.
    weights_sha256: str | None = None


def with_optimiser(flat: CaseFields, optimiser: SGD | Adam) -> CaseFields:
    """The fields with the constants of the optimiser."""
    match optimiser:
        case SGD():
            return replace(
                flat,
                optimiser_momentum=optimiser.momentum,
                optimiser_step_epochs=optimiser.step_epochs,
                optimiser_factor=optimiser.factor,
            )
        case Adam():
            return replace(flat, optimiser_betas=optimiser.betas)
        case _:
            assert_never(optimiser)


def with_training(flat: CaseFields, training: Training | None) -> CaseFields:
    """The fields with how it trains, where it does."""
    if training is None:
        return flat
    return replace(
        flat,
        epochs=training.epochs,
        wanted_samples=training.samples,
        wanted_test_samples=training.test_samples,
        embedded=training.embedded,
        tested_at=training.tested_at,
        wants_confusion=training.confusion,
        bin_us=None if training.bin_us == BIN_US else training.bin_us,
        wants_simulated=training.simulated or None,
        loss_function=None if training.loss == LOSS else training.loss,
    )


def network_of(row: CaseFields) -> Network:
    """The network that ran. Raises UsageError, NotationError where there is no such network."""
    neunorm = None
    if row.neunorm is not None:
        if row.k_tau2 is None:
            raise UsageError("NeuNorm is on and its k_tau2 is missing")
        neunorm = NeuNorm(row.k_tau2, row.neunorm)
    parsed = Network.parse(
        row.network,
        input_shape=row.input_shape,
        lif=LIF(row.k_tau, row.v_th, row.a),
        neunorm=neunorm,
        classes=row.classes,
        population=row.population,
    )
    return replace(parsed, dropout=row.dropout)


def width_of(text: str) -> Fraction:
    """The width, "1/8". Raises UsageError where it is none."""
    value = Fraction(0)
    if re.fullmatch(r"[0-9]{1,20}([./][0-9]{1,20})?", text):  # no exponent: 1e9999999 takes hours
        with suppress(ZeroDivisionError):
            value = Fraction(text)
    if value <= 0:
        raise UsageError(f"width {text[:30]!r}, expected a fraction above 0 such as 1/8")
    return value


def optimiser_of(row: CaseFields) -> SGD | Adam:
    """The optimiser; what older rows leave out is as it was then."""
    if row.optimiser == "adam":
        return Adam(row.optimiser_lr, row.optimiser_betas or Adam().betas)
    usual, steps = SGD(), row.optimiser_step_epochs
    return SGD(
        lr=row.optimiser_lr,
        momentum=usual.momentum if row.optimiser_momentum is None else row.optimiser_momentum,
        step_epochs=usual.step_epochs if steps is None else steps,
        factor=usual.factor if row.optimiser_factor is None else row.optimiser_factor,
    )


def training_of(row: CaseFields) -> Training | None:
    """How it was trained; None where it was timed."""
    if row.epochs is None:
        return None
    return Training(
        epochs=row.epochs,
        samples=row.wanted_samples,
        test_samples=row.wanted_test_samples,
        embedded=row.embedded,
        tested_at=row.tested_at,
        confusion=row.wants_confusion,
        bin_us=row.bin_us or BIN_US,
        simulated=bool(row.wants_simulated),
        loss=row.loss_function or LOSS,
    )
