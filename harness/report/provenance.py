"""Where rows come from: machines, data, proofs, and what failed; as frames."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import cast

import pandas as pd

from harness.analysis.frame import Frames, each_of
from harness.spec import paper

DATA = (
    *("data_source", "data_samples", "data_partial", "data_lossy", "data_simulated"),
    *("data_substitute", "data_sha256", "data_test_source", "data_test_sha256", "data_note"),
)


def _counted(rows: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The distinct values of columns, in their order, and how many rows have each."""
    names = list(names)
    groups = rows.groupby(names, sort=False, dropna=False)
    lines = [(*cast(tuple[object, ...], key), len(of)) for key, of in groups]
    return pd.DataFrame(lines, columns=[*names, "rows"])


def machines(frames: Frames) -> pd.DataFrame:
    """The machines and versions that rows were measured with, and of how many rows each."""
    names = ("suite", "machine", "cores", "memory_mib", "os", "python", "torch", "commit")
    return _counted(frames["all"], (*names, "allocator", "environment"))


def places(frames: Frames) -> pd.DataFrame:
    """The same in short: a line a machine."""
    rows = frames["all"].assign(day=frames["all"]["time"].str[:10])
    lines = [
        {
            "machine": machine,
            "what": ", ".join(dict.fromkeys(of["suite"])),
            "days": " to ".join(sorted({min(of["day"]), max(of["day"])})),
            "torch": ", ".join(dict.fromkeys(filter(None, of["torch"]))),
            "rows": len(of),
        }
        for machine, of in rows.groupby("machine", sort=False)
    ]
    return pd.DataFrame(lines, columns=["machine", "what", "days", "torch", "rows"])


def data(frames: Frames) -> pd.DataFrame:
    """What was read as each data set, its hash, and how it falls short of the real one."""
    rows = frames["all"]
    return _counted(rows.loc[rows["data_source"] != ""], ("suite", "dataset", *DATA))


def failures(frames: Frames) -> pd.DataFrame:
    """Cases that failed and what was warned of, each reason once, with how often."""
    found = pd.concat([frames["case"], frames["warning"].assign(status="warning")])
    found = found.assign(framework=found["contender"])
    names = ("suite", "dataset", "scale", "framework", "precision", "status", "reason")
    return _counted(found, names)


def proofs(frames: Frames) -> pd.DataFrame:
    """What was proved of each contender on all networks and machines: its exams and audits."""
    exams = frames["certificate"]
    exams = exams.loc[exams["layer"] == ""]
    exams = exams.assign(network=_networks(exams), name=_names(exams))
    same = ["machine", "network", "name", "T", "mode", "certificate_precision"]
    exams = exams.drop_duplicates(same, keep="last")
    audits = frames["audit"].assign(name=_names(frames["audit"]))
    lines = []
    for name, of in exams.groupby("name"):
        own = audits.loc[audits["name"] == name]
        line = {
            "contender": name,
            "networks": of["network"].nunique(),
            "machines": of["machine"].nunique(),
            "exams": len(of),
            "passed": int(of["certified"].sum()),
            "spikes": int(of["spikes"].sum() + own["spikes"].sum()),
            "that_differ": int(of["mismatches"].sum() + own["mismatches"].sum()),
            "audits": len(own),
            "audits_passed": int(own["passed"].sum()),
        }
        errors = dict(of.groupby("certificate_precision")["gradient_error"].max().items())
        for precision in ("fp64", "fp32", "bf16"):
            line[f"gradient_error_{precision}"] = errors.get(precision, nan)
        lines.append(line)
    return pd.DataFrame(lines)


def refused(frames: Frames) -> pd.DataFrame:
    """Exams and audits that failed: each reason once, with the contender and the networks."""
    exams, audits = frames["certificate"], frames["audit"]
    exams = exams.loc[(exams["layer"] == "") & ~exams["certified"]]
    audits = audits.loc[~audits["passed"]]
    found = pd.concat([exams.assign(at="exam"), audits.assign(at="audit")])
    found = found.assign(network=_networks(found), contender=_names(found))
    return _counted(found, ("contender", "network", "at", "reason"))


def _names(rows: pd.DataFrame) -> list[str]:
    pairs = zip(rows["contender"], rows["precision"], strict=True)
    return [name if precision == "fp32" else f"{name} {precision}" for name, precision in pairs]


def _networks(rows: pd.DataFrame) -> list[str]:
    return [
        f"{paper.settings(each.dataset).title} {each.scale}"
        + (f", NeuNorm {each.neunorm}" if each.neunorm else "")
        + (f", width {each.width}" if each.width != "1" else "")
        for each in each_of(rows)
    ]
