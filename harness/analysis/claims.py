"""The paper's nine claims and one of ours as data, each with the test that decides it.

The tests were fixed before the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.judges import (
    CLEARER,
    NOT_BAD,
    RISE,
    SOONER,
    STEP,
    SUFFICES,
    conv,
    fig4,
    fig5,
    fig6,
)
from harness.analysis.judges_of_tables import ACCURACY, EQUAL, HALF, bf16, table
from harness.analysis.matlab import fig3
from harness.analysis.verdict import FEWEST_SEEDS, LEVEL, Verdict
from harness.records import Row


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    short: str  # in a few words
    claim: str  # in our words
    value: str  # as published
    test: str  # what decides it, in words
    suite: str  # whose rows answer it
    judge: Callable[[Sequence[Row]], Verdict]


def verdicts(records: Iterable[Row]) -> list[tuple[Claim, Verdict]]:
    """Each claim with its verdict, in the paper's order."""
    rows = list(records)
    return [(claim, claim.judge(rows)) for claim in CLAIMS]


_OVER_SEEDS = f"95 % interval over at least {FEWEST_SEEDS} seeds"
_TABLE_TEST = (
    f"{_OVER_SEEDS} of the accuracy at the paper's size, in float32: reproduced where it lies "
    f"above {100 * ACCURACY:.0f} point below the published figure, contradicted where under that; "
    "at a reduced scale the order of its rows alone: what NeuNorm gains, of which "
    f"{100 * HALF:.0f} % would matter, and that a spiking network is not more than "
    f"{100 * ACCURACY:.0f} point below the same structure without spikes"
)


def _trend_test(effect: str, matters: str, test: str) -> str:
    return (
        f"{_OVER_SEEDS} of {effect}: reproduced where it lies above 0 and {test} has p < {LEVEL}, "
        f"contradicted where it lies below {matters}, the least that would matter; inconclusive "
        "where neither, or where training had not converged"
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fig3",
        "PyTorch trains tens of times faster than Matlab",
        "The iterative LIF in PyTorch trains tens of times faster than in Matlab",
        "tens of times (bars without figures)",
        "the time of GNU Octave or MATLAB over the reference's, for three ways to write the "
        "convolutions: each interval is to lie at 10 or above",
        "acceleration",
        fig3,
    ),
    Claim(
        "fig4",
        "Larger networks are more accurate",
        "Accuracy rises from Small to Middle to Large",
        "trend",
        _trend_test(
            "the accuracy a step of scale, on every data set that was run",
            f"{100 * STEP:.0f} point",
            "Page's trend test over seeds",
        ),
        "scale",
        fig4,
    ),
    Claim(
        "fig5",
        "Four steps suffice, one is not bad",
        "On CIFAR-10 longer T is better, 4 to 8 steps suffice, one step is not bad",
        "trend",
        _trend_test(
            "the rise from T = 1 to T = 8",
            f"{100 * RISE:.0f} point",
            "Page's trend test over seeds",
        )
        + f"; likewise that T = 4 is within {100 * SUFFICES:.0f} points of T = 8, and that T = 1 "
        f"keeps {100 * NOT_BAD:.0f} % of what T = 8 is above chance",
        "timesteps",
        fig5,
    ),
    Claim(
        "fig6",
        "NeuNorm makes votes clearer",
        "The confusion matrix over 500 random test images is clearer with NeuNorm",
        "comparison",
        _trend_test(
            "the gain in contrast of the votes", f"{CLEARER:g}", "a paired t test over seeds"
        ),
        "neunorm",
        fig6,
    ),
    Claim(
        "conv",
        "NeuNorm converges sooner",
        "NeuNorm converges sooner on DVS-CIFAR10",
        "best accuracy at epoch 157 without, 103 with",
        _trend_test(
            "the share saved of the epochs to the accuracy that both reach",
            f"{100 * SOONER:.0f} %",
            "a paired t test over seeds",
        ),
        "accuracy",
        conv,
    ),
    Claim(
        "tab3",
        "Accuracy on N-MNIST (Table 3)",
        "N-MNIST without and with NeuNorm",
        "99.44 %, 99.53 %",
        _TABLE_TEST,
        "accuracy",
        table(3),
    ),
    Claim(
        "tab4",
        "Accuracy on DVS-CIFAR10 (Table 4)",
        "DVS-CIFAR10 without and with NeuNorm",
        "58.1 %, 60.5 %",
        _TABLE_TEST,
        "accuracy",
        table(4),
    ),
    Claim(
        "tab5",
        "Accuracy on CIFAR-10 (Table 5)",
        "CIFAR-10 by CIFARNet without and with NeuNorm, and by the ANN of the same structure",
        "89.83 %, 90.53 %, 90.49 %",
        _TABLE_TEST,
        "accuracy",
        table(5),
    ),
    Claim(
        "tab6",
        "Accuracy of AlexNet (Table 6)",
        "CIFAR-10 by AlexNet",
        "85.24 %",
        _TABLE_TEST,
        "accuracy",
        table(6),
    ),
    Claim(
        "bf16",
        "Ours: bf16 trains as float32",
        "Training in bf16 ends as training in float32 does",
        "ours, not the paper's",
        f"{_OVER_SEEDS} of the difference of one training in both: reproduced where it lies "
        f"within {100 * EQUAL:.0f} points of 0, contradicted where beyond",
        "ablations",
        bf16,
    ),
)
