"""Golden files: what must not move unless the number that stands for it is raised. `numerics.json`
keeps what a training computes and draws, `exam.json` what a proof examines and by which rules,
`keys.json` two keys, `protocol.json` the numbers by which a time is taken.

`python tests/golden.py --renew` writes anew those whose number was raised, and keys, which have
none; it leaves the others as they were. Where what a golden itself looks at has changed, delete its
entry first.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple, get_args

import contenders
import pytest
import torch
from rows import CASE, trained_case
from torch import Tensor, nn
from torch_modules import threads

import adapters
from adapters import facts
from harness import spec
from harness.adapter import Adapter, SpikeTap, Variant, record_spikes, trainer_of
from harness.datasets import LabelledSplit
from harness.datasets.samples import Normalisation, SampleInfo
from harness.machine.installed import Machine
from harness.proof.certificate import RULES, required
from harness.proof.exam import Exam, exam_reference
from harness.records import identity
from harness.records.identity import (
    EXAM,
    NUMERICS,
    PROTOCOL,
    Installation,
    timing_key,
    training_key,
)
from harness.reference.ann import initialised_ann
from harness.reference.initialise import copy_parameters, initialised
from harness.reference.network import MakeCell, StepNetwork
from harness.reference.neuron import LIFCell
from harness.spec import paper, schedule
from harness.speed import cell, floor, iteration, judge
from harness.speed import schedule as rounds
from harness.training import epoch, step

FOLDER = Path(__file__).with_name("goldens")
RENEW = "python tests/golden.py --renew"
FILES = ("numerics", "exam", "keys", "protocol")
# Relative: other processors round apart, most where first weights were drawn in float32.
CLOSE, NEAR = 1e-12, 1e-6


@dataclass(frozen=True)
class Entry:
    """What is looked at, and the numbers that stand for it."""

    name: str
    numbers: dict[str, int]
    content: object
    tolerance: float = NEAR

    @property
    def as_json(self) -> dict[str, Any]:
        """As it is in the file, and read back from one."""
        return json.loads(json.dumps({"numbers": self.numbers, "made": self.content}))


def entries(file: str) -> Iterator[Entry]:
    """What a golden file looks at, as it is now; each is made when it is asked for."""
    with threads(1):  # sums are in one order
        yield from {
            "numerics": numerics_made, "exam": exam_made, "keys": keys_made,
            "protocol": protocol_made,
        }[file]()  # fmt: skip


def moved(file: str) -> list[str]:
    """A sentence of each entry that is not as the golden file has it, with what to do."""
    golden = _read(file)
    now = {entry.name: entry for entry in entries(file)}
    sentences = [sentence for entry in now.values() if (sentence := _sentence(file, entry, golden))]
    gone = (name for name in golden if name not in now and not _is_absent(file, name))
    return sentences + [f"{file}.json, {name}: nothing makes it any more: {RENEW}" for name in gone]


def renew(file: str) -> None:
    """Writes a golden file anew; an entry whose numbers are there and the same stays as it was."""
    golden, now = _read(file), {entry.name: entry.as_json for entry in entries(file)}
    new = {name: entry for name, entry in golden.items() if name in now or _is_absent(file, name)}
    for name, entry in now.items():
        if (
            name not in golden
            or not entry["numbers"]
            or golden[name]["numbers"] != entry["numbers"]
        ):
            new[name] = entry
    text = json.dumps(new, indent=1, ensure_ascii=False)
    (FOLDER / f"{file}.json").write_text(text + "\n", encoding="utf-8")


def _read(file: str) -> dict[str, dict[str, Any]]:
    path = FOLDER / f"{file}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _is_absent(file: str, name: str) -> bool:
    """Whether it is of a framework that is not installed here."""
    return file == "numerics" and name in adapters.names()


def _sentence(file: str, entry: Entry, golden: dict[str, dict[str, Any]]) -> str | None:
    place, old = f"{file}.json, {entry.name}", golden.get(entry.name)
    if old is None:
        return f"{place}: it is not there yet: {RENEW}"
    if old["numbers"] != entry.numbers:
        return f"{place}: it is of {old['numbers']}, now of {entry.numbers}: {RENEW}"
    difference = first_difference(old["made"], entry.as_json["made"], entry.tolerance)
    if difference is None:
        return None
    # a key has no number: with it every key moves, and no row measured before is found again
    do = "raise " + " or the adapter's ".join(entry.numbers) if entry.numbers else "carry rows over"
    return f"{place} has moved ({difference}): {do}, then {RENEW}"


def first_difference(golden: Any, now: Any, tolerance: float) -> str | None:
    """Where two values of JSON differ first, and how; floats may a little. None: nowhere."""
    old, new = dict(_leaves(golden)), dict(_leaves(now))
    for place in [*old, *new]:
        a, b = old.get(place), new.get(place)
        if isinstance(a, float) and isinstance(b, float) and isclose(a, b, rel_tol=tolerance):
            continue
        if a != b:
            return f"{place}: {a!r}, now {b!r}"
    return None


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield place, value
        return
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(part, f"{place}/{name}")


# What a training computes and draws. `NUMERICS` stands for it.

STEPS = 3  # of training


class Setting(NamedTuple):
    """A network, its input (T, B, C, H, W) in float64 and how it learns."""

    network: spec.Network
    x: Tensor
    optimiser: spec.SGD | spec.Adam


def settings() -> dict[str, Setting]:
    """A static image with dropout and NeuNorm, and events; inputs the same on every processor."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(4, 3, 8, 8, generator=generator, dtype=torch.float64) * 4 - 2
    events = (torch.rand(5, 4, 2, 7, 7, generator=generator) < 0.2).double()
    cifar10, nmnist = paper.settings("cifar10"), paper.settings("nmnist")
    still = spec.Network.parse(
        "6C3(Encoding)-AP2-8C3-16FC-Voting", input_shape=(3, 8, 8), lif=cifar10.lif,
        neunorm=spec.NeuNorm(0.9, "mean"),
    )  # fmt: skip
    moving = spec.Network.parse(
        "6C3(Encoding)-8C3-AP2-16FC-Voting", input_shape=(2, 7, 7), lif=nmnist.lif
    )
    return {
        "static": Setting(replace(still, dropout=0.5), image.expand(4, *image.shape), spec.SGD()),
        "events": Setting(moving, events, spec.Adam()),
    }


def numerics_made() -> Iterator[Entry]:
    """What a training draws; of the ANN and of each adapter that is here what it computes."""
    numbers = {"NUMERICS": NUMERICS}
    yield Entry("draws", numbers, _draws())
    ann = {title: _of_ann(setting) for title, setting in settings().items()}
    yield Entry(spec.ANN, numbers, ann, CLOSE)
    for name in adapters.available():
        of_adapter = {**numbers, "REVISION": facts.look_up(name).revision}
        yield Entry(name, of_adapter, computed_by(adapters.load(name)), CLOSE)


def computed_by(adapter: Adapter) -> dict[str, object]:
    """What an adapter computes of each setting; in a runtime of its own without dropout."""
    by_title = settings()
    if trainer_of(adapter) is not None:
        for title, setting in by_title.items():
            by_title[title] = setting._replace(network=replace(setting.network, dropout=0.0))
    return {title: _of_adapter(adapter, setting) for title, setting in by_title.items()}


def _of_adapter(adapter: Adapter, setting: Setting) -> dict[str, object]:
    """Its spikes with the first weights, layer by layer, and what it learns in a few steps.

    Losses move by whole spikes: it takes the weights to see a gradient that is a little off.
    """
    with _in_float64():
        reference = initialised(setting.network, setting.x, seed=0)
    module = adapter.build(setting.network).double()
    copy_parameters(reference, module)
    spikes = _spikes(module.eval(), setting.x)
    return {"spikes": spikes, "losses": _losses(module, setting), "weights": _sizes(module)}


def _of_ann(setting: Setting) -> dict[str, object]:
    with _in_float64():
        module = initialised_ann(setting.network, setting.x, seed=0, scheme="calibrated")
    return {"losses": _losses(module, setting), "weights": _sizes(module)}


@contextmanager
def _in_float64() -> Iterator[None]:
    """Weights are drawn in float64: in float32 processors draw them a rounding apart."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
def _spikes(module: nn.Module, x: Tensor) -> list[str]:
    with record_spikes(module) as taps:
        module(x)
        return [_hash(tap.collected().to(torch.uint8)) for tap in taps]


def _losses(module: nn.Module, setting: Setting) -> list[float]:
    module.train()
    optimise = step.optimiser(module.parameters(), setting.optimiser)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)  # dropout
        for _ in range(STEPS):
            batch = setting.x, torch.arange(setting.x.shape[1])
            classes = setting.network.classes
            outcome = step.iteration(module, optimise, *batch, classes=classes, precision="fp64")
            losses.append(outcome.loss.item())
    return losses


def _draws() -> dict[str, object]:
    learner = epoch.begin(_trained_case(), _data())
    cases = {"calibrated": _trained_case(), "torch": _trained_case(initialisation="torch")}
    cases["ann"] = _trained_case(contender=spec.ANN)
    weights = {name: _sizes(epoch.begin(case, _data()).module) for name, case in cases.items()}
    inputs: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor]) -> None:
        if module.training:  # in the order of the samples, cropped and flipped
            inputs.append(arguments[0][0])

    learner.module.register_forward_pre_hook(keep)
    with torch.random.fork_rng(devices=[]):
        rates = [(n, schedule.table_7(learner.case.optimiser, n)) for n in (1, 2)]
        epochs = [epoch.train_epoch(learner, *rate, lambda fraction: None) for rate in rates]
    return {
        "held out": _data(classes=40).validation.labels.tolist(),
        "inputs": [_hash((x * 1000).round().int()) for x in inputs],
        "first weights": weights,
        "losses": [result.loss for result in epochs],
        "gradient norms": [result.gradient_norm for result in epochs],
        "accuracies": [[e.train_accuracy, e.validation_accuracy, e.test_accuracy] for e in epochs],
        "rates of epochs 1, 40, 41, 81": {
            name: [schedule.table_7(optimiser, number) for number in (1, 40, 41, 81)]
            for name, optimiser in (("sgd", spec.SGD()), ("adam", spec.Adam()))
        },
    }


def _sizes(module: nn.Module) -> list[float]:
    """Of each parameter the sum of its magnitudes."""
    return [p.detach().double().abs().sum().item() for p in module.parameters()]


def _trained_case(**changes: Any) -> spec.Training:
    usual: dict[str, Any] = {"network": settings()["static"].network, "scale": "custom"}
    return trained_case(**usual | {"T": 2, "batch_size": 16, "precision": "fp64"} | changes)


def _data(classes: int = 10) -> epoch.DataSplits:
    return epoch.DataSplits.from_splits(_pictures(classes), _pictures(classes))


def _pictures(classes: int) -> LabelledSplit:
    generator = torch.Generator().manual_seed(3)
    raw = torch.randint(0, 256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    normal = Normalisation((0.5, 0.4, 0.3), (0.25, 0.25, 0.2))
    about = SampleInfo("made up", 40, 40, normalisation=normal, augmented=True)
    source = spec.Source("made up", 40, "0" * 64)
    return LabelledSplit(raw, torch.arange(40) % classes, about, source)


def _hash(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()[:16]


# How a time is taken. `PROTOCOL` stands for it.

TIMING = {
    cell: "REST_SECONDS WITHIN CLOSELY DRAWN OTHER_VOTES SAME_LOSS DEFERRED NOISE",
    rounds: "MOST_ROUNDS STARTS STARTS_OF_VERSIONS RESTARTED",
    iteration: "FIRST_USE LONGEST PARTS PROPORTIONAL NARROW NEAR DRAWS",
    floor: "LAYOUTS ROUNDS",
}


def protocol_made() -> Iterator[Entry]:
    """The numbers of each module by which a time is taken."""
    for module, names in TIMING.items():
        yield Entry(module.__name__, {"PROTOCOL": PROTOCOL}, _numbers(module, names))


def _numbers(module: Any, names: str) -> dict[str, str]:
    return {name: str(getattr(module, name)) for name in names.split()}


# What a proof examines, and by which rules. `EXAM` stands for it.

CIFAR10 = paper.settings("cifar10")
NETWORK = spec.Network.parse(
    "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting", input_shape=(3, 8, 8), lif=CIFAR10.lif
)
PRECISIONS: tuple[spec.Precision, ...] = get_args(spec.Precision)


class Examined(StepNetwork):
    """The reference, which notes what it is asked: the input, its weights, the mode, taps."""

    def __init__(self, network: spec.Network, calls: list[str], cell: MakeCell = LIFCell) -> None:
        super().__init__(network, cell)
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(_asked(self, x))
        return super().forward(x)


class RoundsApart(contenders.TurnsOneAtRest):
    """It has a near-tie on every input, so all are tried."""

    across, samples = 8, (1, 2)


def exam_made() -> Iterator[Entry]:
    """The rules, and what exams ask."""
    numbers = {"EXAM": EXAM}
    yield Entry("rules", numbers, asdict(RULES))
    yield Entry("of audits", numbers, _numbers(judge, "LATE WIDE_MACS QUARTER OF_CHANGE OF_WEIGHT"))
    yield Entry("required", numbers, {p: list(required(p)) for p in PRECISIONS})
    for precision in PRECISIONS:
        yield Entry(f"asked in {precision}", numbers, _examined(precision))
    yield Entry("asked on events", numbers, _examined("fp64", static=False))
    attempts = _examined("fp32", RoundsApart)
    yield Entry("attempts at one that rounds apart in fp32", numbers, attempts)
    yield Entry("neurons at the threshold and the edge", numbers, _planted())


def _examined(
    precision: spec.Precision, cell: MakeCell = LIFCell, *, static: bool = True
) -> list[str]:
    calls: list[str] = []
    adapter = Variant((), lambda network: Examined(network, calls, cell))
    Exam(NETWORK, batch(static=static), precision).certify(adapter)
    return calls


def _asked(module: nn.Module, x: Tensor) -> str:
    words = ["training" if module.training else "evaluating", str(x.dtype), str(tuple(x.shape))]
    words.append("with gradients" if torch.is_grad_enabled() else "without gradients")
    if torch.is_autocast_enabled("cpu"):
        words.append(f"under autocast to {torch.get_autocast_dtype('cpu')}")
    if any(isinstance(part, SpikeTap) and part.recording for part in module.modules()):
        words.append("taps on")
    digest = hashlib.sha256(x.detach().double().contiguous().numpy().data).hexdigest()
    return ", ".join([*words, f"input {digest[:8]}"])


def batch(*, static: bool) -> Tensor:
    """Inputs that are the same on every processor."""
    generator = torch.Generator().manual_seed(0)
    if static:
        images = torch.rand(12, 3, 8, 8, generator=generator)
        return images.expand(10, *images.shape)
    return (torch.rand(10, 12, 3, 8, 8, generator=generator) < 0.2).float()


def _planted() -> list[bool]:
    """Of each layer whether its last two neurons have no weights, and the biases they should."""
    weights = exam_reference(NETWORK, batch(static=True)[:4, :2].double(), 0)
    lif = NETWORK.lif
    return [
        not layer.synapse.weight[-2:].any()
        and bias[-2:].tolist() == [lif.v_th + lif.a / 2, lif.v_th]
        for layer in weights.layers
        if (bias := layer.synapse.bias) is not None
    ]


# Keys of cases with made-up data, software and machine.

DATA, TEST_DATA = "d" * 64, "e" * 64
INSTALLATION = Installation(torch="2.6.0", framework_version="1.0", revision=3)
MACHINE = Machine(
    cpu="made up", capability="AVX2", cores=2, threads=2, memory_mib=4096, os="Linux x86_64",
    python="3.12.0", torch="2.6.0", harness="0.1.0", environment="OMP_NUM_THREADS=2 LD_PRELOAD=x",
)  # fmt: skip


def key(case: spec.Case) -> str:
    """The case's key."""
    if isinstance(case, spec.Timing):
        return timing_key(case, DATA, INSTALLATION, MACHINE, "system")
    return training_key(case, DATA, TEST_DATA, INSTALLATION)


def keys_made() -> list[Entry]:
    """The keys of a timing and of a training, made as with numbers that were never raised."""
    with pytest.MonkeyPatch.context() as patch:
        for number in ("NUMERICS", "PROTOCOL"):
            patch.setattr(identity, number, 1)
        return [Entry("timing", {}, key(CASE)), Entry("training", {}, key(trained_case()))]


if __name__ == "__main__":
    if "--renew" in sys.argv:
        for file in FILES:
            renew(file)
    sentences = [sentence for file in FILES for sentence in moved(file)]
    print("\n".join(sentences) or "nothing has moved")
    sys.exit(bool(sentences))
