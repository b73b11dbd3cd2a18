"""Golden files: what must not move unless the number that stands for it is raised.

`python tests/golden.py --renew` writes anew those whose number was raised, and refuses the others;
`--anyway` takes those too: for what a golden itself looks at, where that has changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

import golden_exam
import golden_keys
import golden_numerics
import torch

import adapters
from adapters import facts
from harness.records.identity import EXAM, NUMERICS
from harness.spec import ANN

FOLDER = Path(__file__).with_name("goldens")
RENEW = "python tests/golden.py --renew"
FILES = ("numerics", "exam", "keys")
# Relative: other processors round apart, most where first weights were drawn in float32.
CLOSE, NEAR = 1e-12, 1e-6
DRAWS = "draws"
WHERE = "harness/records/identity.py"


@dataclass(frozen=True)
class Entry:
    """What is looked at, and the numbers that stand for it."""

    name: str
    numbers: dict[str, int]
    made: object
    tolerance: float = NEAR

    @property
    def kept(self) -> dict[str, object]:
        """As it is in the file, and read back from one."""
        return json.loads(json.dumps({"numbers": self.numbers, "made": self.made}))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are in one order, and small networks wait for nobody."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def entries(file: str) -> Iterator[Entry]:
    """What a golden file looks at, as it is now; each is made when it is asked for."""
    with one_thread():
        yield from _entries(file)


def _entries(file: str) -> Iterator[Entry]:
    if file == "numerics":
        for name, made in golden_numerics.made():
            numbers = {"NUMERICS": NUMERICS}
            if name not in (ANN, DRAWS):
                numbers["REVISION"] = facts.of(name).revision
            yield Entry(name, numbers, made, NEAR if name == DRAWS else CLOSE)
        return
    numbers = {"EXAM": EXAM} if file == "exam" else {}
    for name, made in golden_exam.made() if file == "exam" else golden_keys.made().items():
        yield Entry(name, numbers, made)


def moved(file: str) -> Iterator[str]:
    """A sentence of each entry that is not as the golden file has it, with what to do."""
    kept, here = _read(file), set[str]()
    for entry in entries(file):
        here.add(entry.name)
        sentence = _sentence(file, entry, kept.get(entry.name))
        if sentence:
            yield sentence
    for name in kept:
        if name not in here and not _is_absent(file, name):
            yield f"{file}.json, {name}: nothing makes it any more: {RENEW}"


def _is_absent(file: str, name: str) -> bool:
    """Whether it is of a framework that is not installed here."""
    return file == "numerics" and name in adapters.names()


def _sentence(file: str, entry: Entry, known: dict[str, Any] | None) -> str | None:
    here = f"{file}.json, {entry.name}"
    if known is None:
        return f"{here}: it is not there yet: {RENEW}"
    if known["numbers"] != entry.numbers:
        return f"{here}: it is of {_said(known['numbers'])}, now {_said(entry.numbers)}: {RENEW}"
    difference = first_difference(known["made"], entry.kept["made"], entry.tolerance)
    if difference is None:
        return None
    return f"{here} has moved ({difference}) {_remedy(entry)}"


def _remedy(entry: Entry) -> str:
    if not entry.numbers:
        return (
            "and with it every key, so that no row measured before is found again: carry the rows "
            f"over, then {RENEW} --anyway"
        )
    (number, value), *revision = entry.numbers.items()
    where = f"raise {number} in {WHERE}"
    if revision:
        where += f", or REVISION in {entry.name}'s adapter where it alone computes otherwise"
    return f"and {number} is still {value}: {where}, then {RENEW}"


def _said(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def first_difference(kept: Any, now: Any, tolerance: float, place: str = "") -> str | None:
    """Where two values of JSON differ first, and how; floats may a little. None: nowhere."""
    if isinstance(kept, float) and isinstance(now, float):
        return None if isclose(kept, now, rel_tol=tolerance) else f"{place}: {kept}, now {now}"
    if isinstance(kept, list) and isinstance(now, list):
        kept, now = (dict(enumerate(each)) for each in (kept, now))
    if not (isinstance(kept, dict) and isinstance(now, dict)):
        return None if kept == now else f"{place}: {kept!r}, now {now!r}"
    for key in [*kept, *(key for key in now if key not in kept)]:
        pair = kept.get(key), now.get(key)
        difference = first_difference(*pair, tolerance, f"{place}/{key}")
        if difference is not None:
            return difference
    return None


def _read(file: str) -> dict[str, dict[str, Any]]:
    path = FOLDER / f"{file}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def renew(file: str, *, anyway: bool) -> list[str]:
    """Writes a golden file anew; what is refused stays as it was, and a sentence says why."""
    now, refused = list(entries(file)), []
    names = [entry.name for entry in now]
    kept = {k: each for k, each in _read(file).items() if k in names or _is_absent(file, k)}
    for entry in now:
        known = kept.get(entry.name)
        sentence = _sentence(file, entry, known)
        unraised = known is not None and known["numbers"] == entry.numbers
        if sentence is not None and unraised and not anyway:
            refused.append(sentence)
        elif sentence is not None:
            kept[entry.name] = entry.kept
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    (FOLDER / f"{file}.json").write_text(text + "\n", encoding="utf-8")
    return refused


def main() -> int:
    """Says what has moved, or writes it anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="file", help=", ".join(FILES))
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--anyway", action="store_true")
    given = parser.parse_args()
    sentences = [
        sentence
        for file in given.files or FILES
        for sentence in (renew(file, anyway=given.anyway) if given.renew else moved(file))
    ]
    print("\n".join(sentences) or "nothing has moved")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
