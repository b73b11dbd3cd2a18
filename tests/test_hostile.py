"""Whatever a file or a command says, the answer is a result or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import ROW
from test_learning import saved

from harness.records import Store
from harness.spec import UsageError, paper
from harness.training import checkpoint

# deterministic, and no example takes long: a hang is a failure
steady = settings(
    derandomize=True,
    deadline=5000,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file cut short, with bits flipped, or with bytes put in its place."""
    how = draw(st.sampled_from(["cut", "flip", "splice", "replace"]))
    place = draw(st.integers(0, max(0, len(whole) - 1)))
    match how:
        case "cut":
            return whole[:place]
        case "flip":
            flipped = bytearray(whole)
            for _ in range(draw(st.integers(1, 8))):
                flipped[draw(st.integers(0, len(whole) - 1))] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case "splice":
            return whole[:place] + draw(st.binary(max_size=64)) + whole[place:]
        case _:
            return draw(st.binary(max_size=256))


pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")
PIECES = st.sampled_from(
    ["8C3(Encoding)", "8C3", "AP2", "16FC", "Voting", "-", "--", "(", ")", "C", "é", "0", "9" * 30]
    + ["8C3\nAP2"]
)
NOTATIONS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=60).map("-".join))


@steady
@given(NOTATIONS)
def test_notation(text: str) -> None:
    try:
        name, network = paper.network(text, "cifar10")
    except UsageError as error:
        assert "\n" not in str(error)
        return
    if name == "custom":
        assert paper.network(str(network), "cifar10")[1] == network


def test_a_notation_of_endless_layers_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="layers"):
        paper.network("8C3(Encoding)-" + "8C3-" * 10**6 + "Voting", "cifar10")


@settings(steady, max_examples=60)
@given(content=spoilt((ROW.to_json() + "\n").encode() * 3))
def test_records(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records" / "acceleration.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    rows, damaged = Store(tmp_path).read()
    lines = [line for line in content.split(b"\n") if line.strip()]
    assert len(rows) + len(damaged) == len(lines)
    assert all(len(str(each)) < 1000 for each in damaged)


@settings(steady, max_examples=30)
@given(data=st.data())
def test_checkpoints(data: st.DataObject, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    whole = path.read_bytes()
    path.write_bytes(data.draw(spoilt(whole)))
    try:
        checkpoint.load(path, {"T": "4"})
    except UsageError as error:
        assert str(error).startswith(str(path))
