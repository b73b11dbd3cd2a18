"""Fig. 3's claim: PyTorch against Matlab, live, by the ways in which that may have been written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Literal

from harness.analysis.lines import Acceleration
from harness.analysis.speed import acceleration_lines
from harness.analysis.verdict import Status, Verdict
from harness.records import Row
from harness.spec import FLOOR, contender

OCTAVE = "octave"
# What each form does for a layer of convolutions; the paper says how its own did only in so far as
# it is "Matlab".
FORMS = {
    "": "im2col and a product",
    "convn": "one convn for each output map",
    "conv2": "one conv2 for each sample and pair of maps",
}
COMMAND = "harness run --suite acceleration --frameworks reference,octave,octave:convn,octave:conv2"
TENS = 10.0  # "tens of times" begins here
Call = Literal["holds", "fails", "cannot tell"]


def fig3(rows: Sequence[Row]) -> Verdict:
    """Whether plain PyTorch is tens of times faster, for each form of the Matlab code."""
    lines = [line for line in acceleration_lines(rows) if line.in_figure_3]
    timed = against(lines)
    forms = {
        name: [line for line in timed if line.variant == name]
        for name in dict.fromkeys(line.variant for line in timed)
    }
    if not forms:
        return _without(lines)
    said = [f"{_form(name)}: {_times(group)}" for name, group in forms.items()]
    calls: dict[str, Call] = {name: _call(group) for name, group in forms.items()}
    words = [f"{_call_text(call)} for {_form(name)}" for name, call in calls.items()]
    return Verdict(
        _status(list(calls.values())),
        f"plain PyTorch is faster, {'; '.join(said)}",
        (
            *words,
            "CPU against CPU, in GNU Octave or MATLAB as the rows say: what the paper's GPU would "
            "add to either side is not known, nor how its Matlab was written",
        ),
        "the Matlab code of the paper, timed on the same machine",
    )


def against(lines: Iterable[Acceleration]) -> list[Acceleration]:
    """The lines of Matlab code that was timed beside plain PyTorch, proved to be its function."""
    return [
        line
        for line in lines
        if line.framework == OCTAVE
        and line.variant in FORMS
        and line.in_figure_3
        and (line.precision, line.standing != "none") == ("fp32", True)
        and not isnan(line.speedup_vs_reference)
    ]


def _form(variant: str) -> str:
    return f"{contender(OCTAVE, variant)} ({FORMS[variant]})"


def _times(group: Sequence[Acceleration]) -> str:
    """How many times faster the reference is, over the cells: "44 to 77 times (2 of 3 scaled)"."""
    found = sorted(1 / line.speedup_vs_reference for line in group)
    low, high = (f"{each:.2g}" if each < 100 else f"{each:.0f}" for each in (found[0], found[-1]))
    text = f"{low} times" if low == high else f"{low} to {high} times"
    scaled = sum(not isnan(line.part) for line in group)
    return text + (f" ({scaled} of {len(group)} cells scaled)" if scaled else "")


def _call(group: Sequence[Acceleration]) -> Call:
    """By the intervals: of the reference's speed-up, which is below 1 where it is faster."""
    if all(1 / line.speedup_high >= TENS for line in group):
        return "holds"
    if all(1 / line.speedup_low < TENS for line in group):
        return "fails"
    return "cannot tell"


def _call_text(call: Call) -> str:
    match call:
        case "holds":
            return "tens of times or more"
        case "fails":
            return "not tens of times"
        case "cannot tell":
            return "not the same in all cells, or too noisy to tell,"


def _status(calls: Sequence[Call]) -> Status:
    if all(call == "holds" for call in calls):
        return "reproduced"
    return "contradicted" if all(call == "fails" for call in calls) else "inconclusive"


def _without(lines: Sequence[Acceleration]) -> Verdict:
    """No Matlab was timed: our ratios are said."""
    timed = [
        line.ratio_to_floor
        for line in lines
        if line.framework != FLOOR and not isnan(line.ratio_to_floor)
    ]
    figures = ""
    if timed:
        figures = f"contenders take {min(timed):.2f} to {max(timed):.2f} times the floor"
    return Verdict(
        "not tested",
        figures,
        (
            "the Matlab implementation that it compares with is not public, and no other was "
            f"timed: `{COMMAND}`",
        ),
        f"Matlab code, timed in GNU Octave or MATLAB beside plain PyTorch: `{COMMAND}`",
    )
