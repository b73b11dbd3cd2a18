"""The exam and the audit: right contenders pass whatever rounding does; planted faults and cheats
are refused, with a sentence that names them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial

import contenders
import numpy as np
import pytest
import torch
from contenders import Build, State, off_by, question_on, stepped
from torch import Tensor, nn
from torch_modules import TORCH, threads

import adapters
from harness.adapter import Variant, exam_builder
from harness.conformance import random_batch, small
from harness.proof import exam, gradients
from harness.proof.answer import Question, plain_pass, tapped_pass
from harness.proof.audit import Audit, gradient_bounds
from harness.proof.certificate import RULES, Certificate, beyond
from harness.proof.exam import Exam, edge_potential, exam_input, plant
from harness.records import AuditResult
from harness.reference import neuron
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.neuron import LIFCell
from harness.reference.precision import DTYPES
from harness.spec import LIF, Mode, Network, NeuNorm, Precision, Reading, paper

EXACT: tuple[Precision, ...] = ("fp64", "fp32")
ALL: tuple[Precision, ...] = (*EXACT, "bf16")
NETWORK = small("cifar10", neunorm="mean")  # of exams, of four steps and two samples
BATCH = random_batch(NETWORK, 4, 8, static=True)
LIF_ = NETWORK.lif


def tiny(dataset: str = "cifar10", neunorm: NeuNorm | None = None, p: float = 0.0) -> Network:
    """Of audits, of ten steps and six samples."""
    parsed = Network.parse(
        "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting", input_shape=(3, 8, 8),
        lif=paper.settings(dataset).lif, neunorm=neunorm, population=2,
    )  # fmt: skip
    return replace(parsed, dropout=p)


def certify(build: Build, precision: Precision = "fp64") -> Certificate:
    return Exam(NETWORK, BATCH, precision).certify(Variant((), build))


def audited(module: nn.Module, question: Question) -> AuditResult:
    return Audit(question).judge(module.to(dtype=question.x.dtype))


def replayed(module: nn.Module, question: Question) -> AuditResult:
    module.to(dtype=question.x.dtype)
    return Audit(question).replay(plain_pass(module, question), tapped_pass(module, question))


# Right contenders pass.

NETWORKS: list[tuple[Network, bool, Mode]] = [
    (tiny("nmnist"), False, "training"),
    (tiny(neunorm=NeuNorm()), True, "training"),
    (tiny("nmnist", NeuNorm(reading="literal")), False, "training"),
    (tiny(p=0.5), True, "training"),
    (tiny(p=0.5), False, "inference"),
]


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "jax" else ())
        for name in adapters.available()
    ],
)
def test_every_adapter_passes_directly_and_by_replay(name: str, precision: Precision) -> None:
    if precision == "bf16" and name not in TORCH:
        pytest.skip("only torch modules run in bf16")
    # others have no dropout, and JAX compiles each for seconds
    for network, static, mode in NETWORKS if name in TORCH else NETWORKS[1:3]:
        question = question_on(network, precision, static=static, mode=mode)
        module = adapters.load(name).build(network)
        direct, replay = audited(module, question), replayed(module, question)
        assert direct.passed and replay.passed, (str(network), direct, replay)
        assert direct.way == ("replay" if precision == "bf16" else "direct")
        assert precision == "bf16" or replay.mismatches == 0
        if mode == "inference":
            assert direct.gradient_error is None and direct.gradient_cosine is None


def crowded(reference: ReferenceNetwork) -> None:
    """Crowds potentials of two maps about the threshold, and about the window's edge.

    There a wide network has a hundredth as many within rounding of each.
    """
    lif = reference.network.lif
    for layer in reference.layers[:2]:
        bias = layer.synapse.bias
        assert bias is not None
        with torch.no_grad():
            layer.synapse.weight[-2:] *= 2e-5
            bias[-2], bias[-1] = lif.v_th + lif.a / 2, lif.v_th


@pytest.mark.parametrize("dataset", ["cifar10", "nmnist"])
def test_a_right_contender_passes_where_rounding_turns_spikes_and_edges(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, static = tiny(dataset), dataset == "cifar10"
    questions = [
        question_on(network, seed=seed, static=static, weights=crowded) for seed in range(10)
    ]
    findings = [replayed(contenders.Rounding(network), one) for one in questions]
    assert all(one.passed for one in findings) and any(one.near_ties for one in findings), findings
    monkeypatch.setattr(gradients, "REACHES", ())  # no side of the edge is looked for
    assert not all(replayed(contenders.Rounding(network), one).passed for one in questions)


class WidePotential(LIFCell):
    """The paper's neuron with its potential in float32 under autocast."""

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return super().forward(current.float(), state)


def test_bf16_is_judged_by_replay_and_its_distance_stated() -> None:
    for cell in (LIFCell, WidePotential):
        certificate = certify(stepped(cell), "bf16")
        assert certificate.passed, certificate.failures
        assert certificate.mismatches > 0  # free-running, it is not float32's
        assert all(0 < (layer.gradient_cosine or 0) < 1 for layer in certificate.layers)


@pytest.mark.parametrize(("dataset", "u", "seed"), [("nmnist", None, 15), ("cifar10", 0.1, 18)])
def test_a_sum_that_does_not_round_what_neunorm_sends_passes_in_bf16(
    dataset: str, u: float | None, seed: int
) -> None:
    network = tiny(dataset, NeuNorm(u=u))
    question = question_on(network, "bf16", B=20, seed=seed, static=dataset == "cifar10")
    finding = replayed(contenders.wide_inputs(network), question)
    assert finding.passed and finding.near_ties > 0, finding


def test_a_float32_near_tie_is_decided_on_another_input() -> None:
    certificate = certify(stepped(contenders.TurnsOneAtRest), "fp32")
    assert certificate.passed, certificate.failures
    assert certificate.attempts == 2
    assert not certify(stepped(contenders.TurnsOneAtRest), "fp64").passed


# Faults and cheats are refused.


class Backwards(ReferenceNetwork):
    """Its parameters come in another order."""

    def parameters(self, recurse: bool = True):
        return reversed(list(super().parameters(recurse)))


class Untapped(ReferenceNetwork):
    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.layers[1].tap = nn.Identity()  # type: ignore[assignment]


# How each is refused: by the exam or the audit; by the audit of inference, or of another batch,
# after one that it passes (`kept`: that nobody judges). Then in which precisions, and words.
SCALED = "neither 0 nor 1"
MEMORY = "the output is not the voting|no tap|output spikes"
WRONG = "spikes differ|not what its inputs make them"
GRADIENT = "gradients differ by|the gradient of|within bf16's rounding"
REFUSED: list[tuple[str, Build, tuple[Precision, ...], str]] = [
    ("exam audit", contenders.OutPlusOne, ALL, f"entries of the output are {SCALED}"),
    ("exam audit", contenders.NearlyOne, EXACT, f"entries of the output are {SCALED}"),
    ("exam audit", contenders.NoNumber, ALL, "entries of the gradient of the bias of layer 1"),
    ("exam", partial(contenders.NoNumber, ends="neunorm.U"), ALL, "of U of layer 1 .* not finite"),
    ("exam audit", contenders.OneStepUnseen, ALL, "with no tap recording"),
    ("exam audit", contenders.FirstSampleTimesB, ALL, "gradient"),
    ("exam audit", contenders.NoGradient, ALL, "the output carries no gradient"),
    ("exam audit", contenders.ChangesParameters, ALL, "changes its parameters in place"),
    ("audit", contenders.ChangesInput, ALL, "it changes its input in place"),
    ("audit", contenders.FourSteps, ALL, "output spikes are others with no tap recording"),
    ("audit", contenders.TwoSamples, ALL, "output spikes are others with no tap recording"),
    ("audit", contenders.EarlyExit, ALL, "the output is not the voting layer's spikes"),
    ("exam inference", contenders.MuteInEval, ALL, MEMORY),
    ("exam inference", contenders.StaleAtEval, ALL, MEMORY),
    ("exam again", contenders.PacksWeights, ALL, MEMORY),
    ("exam again", contenders.FromMemory, ALL, MEMORY),
    ("kept", stepped(contenders.KeptAtFullLength), ALL, f"no tap|{WRONG}"),
    ("exam", Backwards, EXACT, "layer order"),
    ("exam", Untapped, EXACT, "one tap a layer"),
    ("exam", stepped(off_by(v_th=1e9)), EXACT, "spikes differ"),  # it is mute
    ("exam", stepped(contenders.StaleState), EXACT, "spikes differ, first at step 1"),
    ("exam", stepped(contenders.FiresAbove), EXACT, re.escape("abs(u - V_th) = 0.0e+00")),
    ("exam", stepped(contenders.WideEdge), EXACT, "gradients differ by"),
    ("exam", stepped(contenders.Saturates), EXACT, "at 100 times the threshold"),
    ("exam audit", stepped(contenders.DetachedReset), ALL, GRADIENT),
    ("audit", stepped(contenders.LateDetachedReset), ALL, GRADIENT),
    # little comes from more than four steps back: bf16 loses as much
    ("audit", stepped(contenders.TruncatedAtFour), EXACT, GRADIENT),
    ("audit", stepped(contenders.LateDecay), ALL, WRONG),
    ("exam audit", contenders.rounded_weights, EXACT, WRONG),
    ("exam audit", stepped(off_by(a=LIF_.a * 1.4)), ALL, GRADIENT),
    ("audit", stepped(off_by(a=LIF_.a * 1.003)), EXACT, GRADIENT),
    ("exam", stepped(off_by(a=LIF_.a * 1.001)), EXACT, GRADIENT),
    ("exam", stepped(off_by(k_tau=LIF_.k_tau * 1.5)), ("bf16",), WRONG),
    ("exam", stepped(off_by(k_tau=LIF_.k_tau + 1e-3)), EXACT, WRONG),
    ("exam", stepped(off_by(v_th=LIF_.v_th * 1.1)), ("bf16",), WRONG),
    ("exam", stepped(off_by(v_th=LIF_.v_th + 1e-4)), EXACT, WRONG),
    ("audit", stepped(off_by(v_th=LIF_.v_th + 0.01)), EXACT, WRONG),
    ("exam audit", contenders.GarbageUnderAutocast, ("bf16",), WRONG),
]


@pytest.mark.parametrize(
    ("way", "build", "precision", "words"),
    [
        pytest.param(way, build, precision, words, id=f"{way}, {precision}: {words}")
        for ways, build, precisions, words in REFUSED
        for way in ways.split()
        for precision in precisions
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence_that_names_it(
    way: str, build: Build, precision: Precision, words: str
) -> None:
    if way == "exam":
        certificate = certify(build, precision)
        passed, reason = certificate.passed, "; ".join(certificate.failures)
    else:
        network = tiny()
        module = build(network)
        if way == "kept":
            plain_pass(module.to(DTYPES[precision]), question_on(network, precision, seed=1))
        elif way != "audit":
            assert audited(module, question_on(network, precision)).passed
        finding = audited(module, question_on(
            network, precision, seed=int(way == "again"),
            mode="inference" if way == "inference" else "training",
        ))  # fmt: skip
        passed, reason = finding.passed, str(finding.reason)
    assert not passed and re.search(words, reason), reason


def test_a_silent_network_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(network: Network, x: Tensor, seed: int, precision: Precision) -> nn.Module:
        return initialised(network, x, seed=seed, scheme="torch")

    monkeypatch.setattr(exam, "exam_reference", drawn)
    certificate = certify(ReferenceNetwork)
    assert certificate.mismatches == 0 and not certificate.passed
    assert any("the test is void: layer 4" in reason for reason in certificate.failures)


def narrow(lif: LIF) -> Network:
    return Network.parse("4C3(Encoding)-AP2-4C3-AP2-4FC-Voting", input_shape=(3, 8, 8), lif=lif)


def test_where_no_gradient_reaches_a_layer_other_weights_are_drawn() -> None:
    network, seed = narrow(LIF_), 0
    batch = random_batch(network, 4, 4, static=True)
    x = exam_input(batch)
    reference = exam.exam_reference(network, x[:1].expand_as(x), seed, "fp32")
    reference(x).sum().backward()
    first = reference.layers[0].synapse.weight.grad
    assert first is not None and not first.any()
    right = Variant((), ReferenceNetwork)
    for precision in ALL:
        certificate = Exam(network, batch, precision, seed).certify(right)
        assert certificate.passed and certificate.attempts == 1, certificate.failures


def test_a_test_is_void_where_no_weights_send_a_gradient() -> None:
    network = narrow(replace(LIF_, a=1e-9))
    exam = Exam(network, random_batch(network, 4, 4, static=True), "fp64")
    certificate = exam.certify(Variant((), ReferenceNetwork))
    assert not certificate.passed
    assert certificate.failures[0] == "the test is void: no gradient reaches layer 1 4C3(Encoding)"


def test_an_adapter_that_names_a_deviation_is_never_passed() -> None:
    modest = Variant(("it says so",), ReferenceNetwork)
    certificate = Exam(NETWORK, BATCH, "fp64").certify(modest)
    assert not certificate.failures and not certificate.passed


class TurnsOne(contenders.CountingCell):
    """Rounding turns one spike, of the neuron that lies at the threshold, at the fourth step."""

    def __init__(self, lif: LIF, decay: float = 1.0) -> None:
        super().__init__(lif)
        self.decay = decay  # of what is carried on after that

    def stepped(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is not None and self.step > 3:
            state = state[0] * self.decay, state[1]
        o, (u, _) = super().stepped(current, state)
        if self.step == 3 and current.dim() == 4 and current.shape[1] == 4:
            turned = torch.zeros_like(o)
            turned[0, -1, 0, 0] = 1
            o = o - turned
        return o, (u, o)


def test_a_spike_may_be_turned_by_rounding_but_not_all_and_no_fault_hides_behind_it() -> None:
    network = tiny()
    question = question_on(network, weights=lambda reference: plant(reference, edge=True))
    finding = audited(stepped(TurnsOne)(network), question)
    assert (
        finding.passed and finding.way == "replay" and finding.near_ties == finding.mismatches == 1
    )
    finding = audited(stepped(partial(TurnsOne, decay=0.5))(network), question)
    assert not finding.passed and finding.near_ties == 1
    assert "spikes of layer" in str(finding.reason) and "first at step 5" in str(finding.reason)
    finding = audited(stepped(contenders.FiresAbove)(network), question)
    assert not finding.passed and "are turned near the threshold" in str(finding.reason)


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_half_a_per_cent_of_one_map_cannot_hide_among_the_edges(kind: str, layer: int) -> None:
    def tilted(gradient: Tensor) -> Tensor:
        wrong = gradient.clone()
        largest = gradient.flatten(1).abs().amax(1) if gradient.dim() > 1 else gradient.abs()
        wrong[int(largest.argmax())] *= 1.005
        return wrong

    network = tiny()
    question = question_on(network, weights=crowded)
    assert replayed(contenders.Rounding(network), question).passed
    module = contenders.Rounding(network)
    getattr(module.layers[layer].synapse, kind).register_hook(tilted)
    finding = replayed(module, question)
    what = "the weights" if kind == "weight" else "the bias"
    assert not finding.passed and f"the gradient of {what} of layer {layer + 1}" in str(
        finding.reason
    )


def test_an_answer_of_another_shape_is_refused() -> None:
    question = question_on(tiny())
    answer = plain_pass(ReferenceNetwork(question.network), question)
    for wrong, words in (
        (replace(answer, out=answer.out[:4]), "the output is (4, 6, 20), expected a tensor of (10"),
        (replace(answer, gradients=answer.gradients[:-1]), "gradients of shapes"),
    ):
        finding = Audit(question).direct(wrong)
        assert finding is not None and not finding.passed and words in str(finding.reason)


def test_a_pass_leaves_the_module_as_it_was() -> None:
    question = question_on(tiny())
    module = ReferenceNetwork(question.network)
    first = module.layers[0].synapse.weight
    first.grad = gradient = torch.ones_like(first)
    generator = torch.random.get_rng_state()
    tapped_pass(module, question)
    plain_pass(module, replace(question, mode="inference"))
    assert first.grad is gradient and bool((gradient == 1).all())
    assert module.training and torch.equal(torch.random.get_rng_state(), generator)


# What an exam asks.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_neuron_lies_exactly_at_the_edge_of_the_surrogate(dtype: torch.dtype) -> None:
    for lif in (settings.lif for settings in paper.SETTINGS.values()):
        potential = edge_potential(lif, dtype)
        assert potential is not None and potential > lif.v_th
        distance = torch.tensor(potential, dtype=dtype) - lif.v_th
        assert distance.abs() <= lif.a / 2 and not neuron.surrogate(distance, lif.a)
    of_any = {edge_potential(LIF(0.25, n / 100, 0.31), torch.float32) for n in range(5, 105, 7)}
    assert None in of_any and len(of_any) > 7  # of most neurons there is one, of some none


def test_what_compiles_is_examined_before_it_is_compiled() -> None:
    assert exam_builder(adapters.load("reference:compiled"))(NETWORK)._compiled_call_impl is None
    plain = adapters.load("reference")
    assert exam_builder(plain) is plain.build


def test_the_exam_sees_the_whole_recording_and_other_samples_each_time() -> None:
    batch = torch.arange(10 * 6).reshape(10, 6, 1, 1, 1).float()
    first, second, third = (exam_input(batch, attempt) for attempt in range(3))
    assert first[:, 0].flatten().tolist() == [0, 18, 36, 54]
    assert [x[0].flatten().tolist() for x in (first, second, third)] == [[0, 1], [2], [3]]
    assert exam_input(batch[:1, :1]).shape == (4, 1, 1, 1, 1)
    one = torch.arange(4.0).reshape(1, 1, 1, 1, 4)  # of one sample too: it is moved aside
    tries = [exam_input(one, attempt)[0].flatten().tolist() for attempt in range(3)]
    assert tries == [[0, 1, 2, 3], [2, 3, 0, 1], [1, 2, 3, 0]]


# What gradients are measured by.


def test_a_gradient_may_be_off_by_what_one_float32_sum_of_its_products_is() -> None:
    _, network = paper.network("Middle", "nmnist")
    question = Question((), torch.zeros(10, 20, *network.input_shape), 10, "fp32", network)
    bound = gradient_bounds(network.stages, question)[2]  # of the second layer's weights
    products = np.random.default_rng(0).standard_normal((200 * 34**2, 16)).astype(np.float32)
    in_a_row = np.add.accumulate(products, axis=0, dtype=np.float32)[-1]
    exact = products.sum(0, dtype=np.float64)
    off = abs(in_a_row - exact).max() / abs(exact).max()
    assert bound / 5 < off < bound


# Slow proofs: at the paper's own width, and over a whole training.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "static", "neunorm"),
    [("Small", False, "mean"), ("Large", False, None), ("AlexNet", True, "mean")],
)
def test_certified_at_full_width(name: str, static: bool, neunorm: Reading | None) -> None:
    """In float32, where width tells: float64 is proved of narrow ones, and by each run at full."""
    network = paper.network(name, "cifar10" if static else "nmnist", neunorm=neunorm)[1]
    exam = Exam(network, random_batch(network, 4, 4, static=static), "fp32")
    # those in runtimes of their own take minutes; the reference is what they are held against
    others = {*(adapters.available() if name == "Small" else TORCH)} - {"reference"}
    with threads(os.cpu_count() or 1):  # these networks are large enough for all cores
        for adapter in sorted(others):
            certificate = exam.certify(adapters.load(adapter))
            assert certificate.passed, (adapter, certificate.failures)


@pytest.mark.slow
def test_bf16_passes_where_the_processor_has_no_instructions_for_it() -> None:
    """With NeuNorm a sum reads what bf16 does not hold."""
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    test = f"{__file__}::{test_every_adapter_passes_directly_and_by_replay.__name__}"
    call = [sys.executable, "-m", "pytest", "-q", "-k", "bf16", test]
    done = subprocess.run(call, env={**os.environ, **limits}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_replayed_weight_gradient_is_nearer_than_what_is_allowed() -> None:
    synapse, generator = nn.Conv2d(5, 7, 3, padding=1), torch.Generator().manual_seed(0)
    inputs = (torch.rand((10, 8, 5, 34, 34), generator=generator) < 0.2).float()
    du = torch.randn((10, 8, 7, 34, 34), generator=generator)
    gradient = gradients.weight_gradient(synapse, inputs, du)
    current = synapse.double()(inputs.double().flatten(0, 1))
    (exact,) = torch.autograd.grad(current, [synapse.weight], du.double().flatten(0, 1))
    off = (gradient.double() - exact).abs().max() / exact.abs().max()
    assert gradient.dtype == torch.float32 and off < RULES.fp32.gradient_error / 5


@pytest.mark.parametrize(("error", "text"), [(1.04e-5, "1.04e-05"), (1.0004e-5, "1.0004e-05")])
def test_an_error_beyond_its_bound_never_reads_as_the_bound(error: float, text: str) -> None:
    assert beyond(error, 1e-5) == f"{text} of the largest entry, allowed is 1e-05"
