"""README's block: who is fastest and how sure that is, and what was found of the paper's claims.

Only figures of one machine and one timing protocol are spoken of together, and of each network
those of one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.claims import Claim, Verdict
from harness.analysis.frame import each_of
from harness.analysis.words import counted, data_name
from harness.report.table import Table, field_markdown, interval, markdown, text
from harness.spec import FLOOR, REFERENCE, UsageError

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"
OURS = "fused"  # this project's own engine
OCTAVE = "octave"  # Fig. 3's rival, on a scale of its own
FEW = 5  # rounds; a figure of fewer is preliminary
COLUMNS = {"plain": "best other, as it comes", "tuned": "best other, tuned"}


def _cells(lines: pd.DataFrame) -> pd.DataFrame:
    """What was timed of Fig. 3's cells under the newest protocol."""
    cells = lines.loc[lines["in_figure_3"] & (lines["framework"] != OCTAVE)]
    timed = cells.loc[cells["ratio_to_floor"].notna()]
    return timed.loc[timed["protocol"] == timed["protocol"].max()]


def headline(lines: pd.DataFrame) -> pd.DataFrame:
    """Fig. 3's cells on the machine with most contenders under the newest protocol: of each cell
    the lines of one run, the one with most contenders, of these the last. Who was proved, and the
    floor; with the columns `network` and `kind`.
    """
    timed = _cells(lines)
    if timed.empty:
        return timed.assign(kind="", network="")
    return _of_machine(timed, str(timed["machine"].value_counts(sort=True).index[0]))


def _of_machine(timed: pd.DataFrame, machine: str) -> pd.DataFrame:
    here = timed.loc[timed["machine"] == machine]
    proved = here.loc[(here["framework"] == FLOOR) | (here["standing"] != "none")]
    sizes = proved.groupby(["dataset", "scale", "run"], sort=False).size().reset_index(name="size")
    fullest = sizes.iloc[::-1].sort_values("size", ascending=False, kind="stable")
    runs = fullest.drop_duplicates(["dataset", "scale"])[["dataset", "scale", "run"]]
    found = proved.merge(runs, on=["dataset", "scale", "run"])
    return found.assign(
        network=[_network(each) for each in each_of(found)],
        kind=[_kind(each) for each in each_of(found)],
    )


def _network(line: Any) -> str:
    return f"{data_name(line.dataset, substitute=line.substitute)} {line.scale}"


def _kind(line: Any) -> str:
    """What a line is compared as: the floor, ours, a rival as it comes or tuned, or bf16."""
    bf16 = "" if line.precision == "fp32" else " bf16"
    if line.framework in (FLOOR, OURS):
        own = "floor" if line.framework == FLOOR else "ours"
        return " ".join(filter(None, (own, line.variant))) + bf16
    return "rival bf16" if bf16 else "tuned" if line.variant else "plain"


def leads(found: pd.DataFrame, kind: str) -> list[tuple[float, bool]]:
    """Of each network where both were timed: the best rival's time divided by ours, and whether
    the two intervals lie apart.
    """
    pairs = []
    for _, cell in found.groupby("network", sort=False):
        ours, rivals = cell.loc[cell["kind"] == "ours"], cell.loc[cell["kind"] == kind]
        if len(ours) and len(rivals):
            mine = ours.iloc[0]
            best = rivals.loc[rivals["ratio_to_floor"].idxmin()]
            first, last = sorted((mine, best), key=lambda each: each["ratio_to_floor"])
            apart = bool(first["ratio_high"] < last["ratio_low"])
            pairs.append((float(best["ratio_to_floor"] / mine["ratio_to_floor"]), apart))
    return pairs


def sentence(found: pd.DataFrame) -> str:
    """Who is fastest, by how much and how sure: one sentence; "" where ours or a rival lacks.

    Where a tuned form was timed, it is the rival: whoever tunes must not be compared untuned.
    """
    tuned = leads(found, "tuned")
    with_tuned = set(found.loc[found["kind"] == "tuned", "network"])
    plain = leads(found.loc[~found["network"].isin([*with_tuned])], "plain")
    rival, where = "the best tuned form of another framework", "where tuned forms were timed"
    parts = [_against(tuned, rival, where)] if tuned else []
    where = "where none was" if tuned else ""
    parts += [_against(plain, "the best other as it comes", where)] if plain else []
    if not parts:
        return ""
    return (
        f"`{OURS}`, which is this project's own engine, is {', and '.join(parts)}: training steps "
        f"in float32 on one machine, {found['machine'].iloc[0]}"
    )


def _against(pairs: Sequence[tuple[float, bool]], rival: str, where: str = "") -> str:
    low, high = (f"{end(lead for lead, _ in pairs):.1f}" for end in (min, max))
    ahead = sum(lead > 1 and apart for lead, apart in pairs)
    ties = sum(not apart for _, apart in pairs)
    behind = len(pairs) - ahead - ties
    said = [f"faster on {ahead}"] * (len(pairs) != ahead) + [f"a tie on {ties}"] * bool(ties)
    said += [f"slower on {behind}"] * bool(behind)
    count = counted(len(pairs), "network")
    on = f"on the {count} {where}" if where else f"on {count}"
    times = low if low == high else f"{low} to {high}"
    return f"{times} times as fast as {rival} {on}" + (f" ({', '.join(said)})" if said else "")


def elsewhere(lines: pd.DataFrame, machine: str) -> Iterator[str]:
    """What each other machine says of the same, under the same protocol."""
    cells = _cells(lines)
    for other in dict.fromkeys(cells.loc[cells["machine"] != machine, "machine"]):
        found = _of_machine(cells, other)
        pairs = {name: leads(found, kind) for kind, name in COLUMNS.items()}
        said = [_against(of, f"the {name}") for name, of in pairs.items() if of]
        if said:
            yield f"{other}: {'; '.join(said)}"


def speed_table(found: pd.DataFrame) -> Table:
    """A network a line: the floor's time, and each ratio to the float32 floor with its interval."""
    lines = [_line(str(name), cell) for name, cell in found.groupby("network", sort=False)]
    empty = [name for name in COLUMNS.values() if not any(line[name] for line in lines)]
    lines = [{k: v for k, v in line.items() if k not in empty} for line in lines]
    return Table(lines, f"x the float32 floor's time [95 %], {found['machine'].iloc[0]}")


def _line(name: str, cell: pd.DataFrame) -> dict[str, str]:
    said = ""
    for floor in cell.loc[cell["kind"] == "floor"].to_dict("records")[:1]:
        low, high = floor["noise_low"], floor["noise_high"]
        known = "" if isnan(low) or isnan(high) else f" (A/A {low:.2f} to {high:.2f})"
        said = f"{1000 * floor['seconds_per_iteration']:,.0f}{known}"
    return {
        "network": f"{name}, n = {cell['rounds'].min()}",
        "floor, ms": said,
        OURS: _figure(cell, "ours"),
        **{head: _figure(cell, kind, named=True) for kind, head in COLUMNS.items()},
        f"{OURS} bf16": _figure(cell, "ours bf16"),
    }


def _figure(cell: pd.DataFrame, kind: str, *, named: bool = False) -> str:
    lines = cell.loc[cell["kind"] == kind]
    if lines.empty:
        return ""
    best = lines.loc[lines["ratio_to_fp32_floor"].idxmin()]
    ends = (f"ratio_to_fp32_floor{end}" for end in ("", "_low", "_high"))
    shown = interval(*(float(best[end]) for end in ends), form=".2f")
    name = f" {text(best['name'])}" if named else ""
    return shown + name + (" *" if best["rounds"] < FEW else "")


def notes(found: pd.DataFrame, lines: pd.DataFrame, refused: pd.DataFrame) -> Iterator[str]:
    """What is to be known of the table."""
    first = found.iloc[0]
    yield (
        "Time of a training step divided by that of its convolutions and products alone (the "
        f"float32 floor), batch {first['batch_size']}, T = {first['T']}: geometric mean over n "
        f"rounds [95 % interval], each network's in one run, timing protocol {first['protocol']}, "
        f"torch {first['torch']}. A/A is the floor divided by itself: a difference within it is "
        "noise. Every contender was proved equal to the paper's equations, in bf16 held to a bar "
        f"of its own. `{REFERENCE}` is plain PyTorch."
    )
    if "tuned" not in set(found["kind"]):
        yield "No tuned form was timed."
    elif REFERENCE not in set(found.loc[found["kind"] == "tuned", "framework"]):
        yield "Plain PyTorch was not timed in a tuned form."
    others = found.loc[found["kind"].isin(["ours", "plain", "tuned"])]
    lacking = set.intersection(*map(set, others["lacks"])) if len(others) else set()
    if lacking:
        yield f"Nobody is ranked: {'; '.join(sorted(lacking))}."
    if min(found["rounds"]) < FEW:
        yield f"* fewer than {FEW} rounds: preliminary."
    if absent := _in_other_runs(found, lines):
        yield f"Timed in other runs alone, and not compared here: {absent}."
    failed = refused.loc[refused["network"].isin([*found["network"]])]
    failed = failed.loc[~failed["contender"].str.contains(" ")]
    for name, of in failed.groupby("contender", sort=False):
        yield f"{name} failed a proof in some run of {', '.join(of['network'].unique())}."
    data = "; ".join(dict.fromkeys(filter(None, found["data_source"])))
    yield f"Data: {data}." if data else ""
    if other := list(elsewhere(lines, first["machine"])):
        yield f"Other machines, same protocol. {'. '.join(other)}."


def _in_other_runs(found: pd.DataFrame, lines: pd.DataFrame) -> str:
    """Contenders that were proved and timed on a network, but not in the run that is shown."""
    here = _cells(lines).loc[lambda of: of["machine"] == found["machine"].iloc[0]]
    here = here.loc[(here["standing"] != "none") & (here["precision"] == "fp32")]
    there = set(zip(found["dataset"], found["scale"], found["name"], strict=True))
    absent: dict[str, dict[str, None]] = {}
    for each in each_of(here):
        if (each.dataset, each.scale, each.name) not in there:
            absent.setdefault(str(each.name), {})[_network(each)] = None
    return "; ".join(f"{name} ({', '.join(of)})" for name, of in absent.items())


def _claims(judged: Sequence[tuple[Claim, Verdict]]) -> Iterator[dict[str, str]]:
    """Each claim, what was found of it with intervals and what was allowed, and the verdict."""
    for claim, each in judged:
        found = "; ".join(effect.decided_by for effect in each.effects) or each.figures
        if each.status == "inconclusive":
            found += f". It would take {each.would_change}"
        yield {"claim": claim.claim, "our finding": found, "verdict": each.text}


def block(
    lines: pd.DataFrame, judged: Sequence[tuple[Claim, Verdict]], refused: pd.DataFrame
) -> str:
    """README's: a sentence, the table of speed, what is to be known of it, and the claims."""
    parts: list[str] = []
    found = headline(lines)
    if len(found):
        said = sentence(found)
        parts += [f"**{_escaped(said)}.**"] if said else []
        parts.append(_grid(speed_table(found).content))
        parts.append(" ".join(_escaped(note) for note in notes(found, lines, refused) if note))
    parts += ["What the paper claims, and what our rows say of it:", _grid([*_claims(judged)])]
    return "\n\n".join(parts) + "\n"


def _escaped(said: str) -> str:
    """A sentence as Markdown, in which names of ours stay code."""
    escaped = field_markdown(said)
    for name in (OURS, REFERENCE):
        escaped = escaped.replace(rf"\`{name}\`", f"`{name}`")
    return escaped


def _grid(content: Any) -> str:
    return markdown([Table(content)]).strip()


def updated(before: str, block: str, path: Path) -> str:
    """A README's text with what stands between the marks made anew.

    Raises UsageError where the marks are missing.
    """
    front, begin, rest = before.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{front}{BEGIN}\n{block}{END}{after}"
