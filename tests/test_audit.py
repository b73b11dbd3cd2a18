"""The audit at full size: right contenders pass whatever rounding does, and cheats are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import contenders
import pytest
import torch
from conftest import TORCH
from torch import Tensor, nn

import adapters
from harness.proof import answer, edges
from harness.proof.answer import Answer, Incomparable, Question, plain_pass, tapped_pass
from harness.proof.audit import Audit, Finding
from harness.proof.exam import plant
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.neuron import LIFCell
from harness.reference.precision import DTYPES
from harness.spec import Mode, Network, NeuNorm, Precision, paper

T, B = 10, 6  # the size that is timed; the exam's is 4 and 2
PRECISIONS: tuple[Precision, ...] = ("fp64", "fp32", "bf16")
Build = Callable[[Network], nn.Module]


def network(dataset: str = "cifar10", neunorm: NeuNorm | None = None, p: float = 0.0) -> Network:
    chosen = paper.settings(dataset)
    parsed = Network.parse(
        "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting",
        input_shape=(3, 8, 8),
        lif=chosen.lif,
        neunorm=neunorm,
        population=2,
    )
    return replace(parsed, dropout=p)


def question(
    of: Network,
    precision: Precision = "fp32",
    *,
    seed: int = 0,
    mode: Mode = "training",
    static: bool = False,
    weights: Callable[[ReferenceNetwork], None] = lambda reference: None,
) -> Question:
    generator = torch.Generator().manual_seed(seed)
    shape = (1 if static else T, B, *of.input_shape)
    x = torch.rand(shape, generator=generator) if static else _events(shape, generator)
    x = x.to(DTYPES[precision])
    reference = initialised(of, x.expand(T, *shape[1:]) if static else x, seed=seed)
    weights(reference)
    return Question(
        parameters=tuple(each.detach().clone() for each in reference.parameters()),
        x=x,
        steps=T,
        static=static,
        precision=precision,
        classes=of.classes,
        population=of.population,
        labels=torch.arange(B),
        mode=mode,
    )


def _events(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) < 0.3).float()


def audited(module: nn.Module, of: Network, asked: Question) -> Finding:
    """As a judge does it: the untapped pass, and a tapped one where that does not settle it."""
    module.to(dtype=asked.x.dtype)
    audit = Audit(of, asked)
    try:
        given = plain_pass(module, asked)
        return audit.direct(given) or audit.replay(given, tapped_pass(module, asked))
    except Incomparable as reason:
        return Finding("direct", False, str(reason), 0, 0, 0, None, None)


def replayed(module: nn.Module, of: Network, asked: Question) -> Finding:
    module.to(dtype=asked.x.dtype)
    return Audit(of, asked).replay(plain_pass(module, asked), tapped_pass(module, asked))


NETWORKS = [
    (network(), True),
    (network("nmnist"), False),
    (network(neunorm=NeuNorm()), True),
    (network("nmnist", NeuNorm(reading="literal")), False),
    (network(p=0.5), True),
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", adapters.available())
def test_every_adapter_passes_directly_and_by_replay(name: str, precision: Precision) -> None:
    if precision == "bf16" and name not in TORCH:
        return
    for of, static in NETWORKS if name in TORCH else NETWORKS[:-1]:  # the last has dropout
        asked = question(of, precision, static=static)
        module = adapters.load(name).build(of)
        found = audited(module, of, asked)
        assert found.passed, (str(of), found)
        assert found.way == ("replay" if precision == "bf16" else "direct")
        found = replayed(module, of, asked)
        assert found.passed, (str(of), found)
        assert precision == "bf16" or found.mismatches == 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inference_is_audited_in_eval_mode(precision: Precision) -> None:
    of = network(p=0.5)
    asked = question(of, precision, mode="inference")
    for name in TORCH:
        module = adapters.load(name).build(of)
        found = audited(module, of, asked)
        assert found.passed and found.gradient_error is None and found.gradient_cosine is None
        assert replayed(module, of, asked).passed
        assert module.training


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
def test_a_right_contender_passes_where_rounding_turns_spikes_and_edges(dataset: str) -> None:
    of = network(dataset)
    near_ties = edges = 0
    for seed in range(10):
        asked = question(of, seed=seed, static=dataset == "cifar10", weights=crowded)
        found = replayed(contenders.Rounding(of), of, asked)
        assert found.passed, (seed, found)
        near_ties, edges = near_ties + found.near_ties, edges + found.edges
    assert near_ties > 0 and edges > 0


def test_another_arithmetic_in_float64_differs_by_its_rounding_alone() -> None:
    of = network(neunorm=NeuNorm())
    found = replayed(contenders.Rounding(of), of, question(of, "fp64"))
    assert found.passed and found.mismatches == 0
    assert found.gradient_error is not None and 0 < found.gradient_error < 1e-12


CHEATS: dict[str, tuple[Build, str]] = {
    "out + 1": (contenders.OutPlusOne, "entries of the output are neither 0 nor 1"),
    "four steps": (contenders.FourSteps, "output spikes are others with no tap recording"),
    "two samples": (contenders.TwoSamples, "output spikes are others with no tap recording"),
    "NaN in a bias": (contenders.NoNumber, "1 of 4 entries of the gradient of the bias of layer 1"),
    "one step unseen": (contenders.OneStepUnseen, "are others with no tap recording"),
    "early exit": (contenders.EarlyExit, "the output is not the voting layer's spikes"),
    "first sample times B": (contenders.FirstSampleTimesB, "the gradient of the bias of layer 4"),
    "changes its input": (contenders.ChangesInput, "it changes its input in place"),
    "changes its weights": (contenders.ChangesParameters, "it changes its parameters in place"),
    "no gradient": (contenders.NoGradient, "the output carries no gradient"),
    "late detached reset": (contenders.stepped(contenders.LateDetachedReset), "the gradient of"),
    "late decay": (contenders.stepped(contenders.LateDecay), "not what its inputs make them"),
    "detached reset": (contenders.stepped(contenders.DetachedReset), "the gradient of"),
    "wide surrogate": (contenders.stepped(contenders.off_by(a=1.4)), "the gradient of"),
}


def test_a_neuron_at_the_edge_at_two_steps_alike_is_solved_for_at_both() -> None:
    read = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # what each step adds is the same pattern; the third is another neuron's, on its right side
    columns = torch.stack([read * 355, read * 124, read.flip(0) * 80], 1)
    for turned in ([True, True, False], [True, False, False], [False, True, True]):
        target = columns[:, turned].sum(1)
        found = [solve(columns, target).tolist() for solve in (edges._least_squares, edges._few)]
        assert turned in found


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_is_refused_with_a_sentence_that_names_it(cheat: str, precision: Precision) -> None:
    build, sentence = CHEATS[cheat]
    of = network()
    found = audited(build(of), of, question(of, precision))
    assert not found.passed
    assert found.reason is not None and sentence in found.reason, found.reason


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (contenders.NearlyOne, "entries of the output are neither 0 nor 1"),
        # little comes from more than four steps back: bf16 loses as much
        (contenders.stepped(contenders.TruncatedAtFour), "the gradient of"),
        (contenders.RoundedWeights, "are not what its inputs make them"),
        (contenders.stepped(contenders.off_by(a=1.003)), "the gradient of"),
        (contenders.stepped(contenders.off_by(v_th=0.76)), "are not what its inputs make them"),
    ],
    ids=["nearly-one", "truncated", "rounded-weights", "surrogate-width", "threshold"],
)
def test_what_bf16_rounds_away_is_refused_in_exact_precisions(
    build: Build, sentence: str, precision: Precision
) -> None:
    of = network()
    found = audited(build(of), of, question(of, precision))
    assert not found.passed and sentence in str(found.reason), found.reason


def test_garbage_under_autocast_is_refused() -> None:
    of = network()
    module = contenders.GarbageUnderAutocast(of)
    assert audited(module, of, question(of)).passed
    found = audited(module, of, question(of, "bf16"))
    assert not found.passed and "not what its inputs make them" in str(found.reason)


@pytest.mark.parametrize("build", [contenders.MuteInEval, contenders.StaleAtEval])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_answered_in_eval_mode_counts(build: Build, precision: Precision) -> None:
    of = network()
    module = build(of)
    assert audited(module, of, question(of, precision)).passed
    found = audited(module, of, question(of, precision, mode="inference"))
    assert not found.passed
    assert "the output is not the voting" in str(found.reason) or "no tap" in str(found.reason)


@pytest.mark.parametrize("build", [contenders.FromMemory, contenders.PacksWeights])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_second_audit_finds_what_was_kept_from_the_first(
    build: Build, precision: Precision
) -> None:
    of = network()
    module = build(of)
    assert audited(module, of, question(of, precision)).passed
    found = audited(module, of, question(of, precision, seed=1))
    assert not found.passed
    assert "the output is not the voting" in str(found.reason) or "no tap" in str(found.reason)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_state_that_is_kept_at_full_length_alone_is_found(precision: Precision) -> None:
    of = network()
    module = contenders.stepped(contenders.KeptAtFullLength)(of)
    plain_pass(module.to(DTYPES[precision]), question(of, precision, seed=1))
    found = audited(module, of, question(of, precision))
    assert not found.passed
    assert "no tap" in str(found.reason) or "not what its inputs make" in str(found.reason)


class TurnsOne(contenders.CountingCell):
    """Rounding turns one spike, of the neuron that lies at the threshold, at the fourth step."""

    decay = 1.0  # of what is carried on after that

    def stepped(
        self, current: Tensor, state: contenders.State
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is not None and self.step > 3:
            state = state[0] * self.decay, state[1]
        o, (u, _) = super().stepped(current, state)
        if self.step == 3 and current.dim() == 4 and current.shape[1] == 4:
            turned = torch.zeros_like(o)
            turned[0, -1, 0, 0] = 1
            o = o - turned
        return o, (u, o)


class TurnsOneThenForgets(TurnsOne):
    decay = 0.5


def test_a_fault_that_starts_one_step_after_a_near_tie_is_found() -> None:
    of = network()
    asked = question(of, weights=lambda reference: plant(reference, edge=True))
    found = audited(contenders.stepped(TurnsOne)(of), of, asked)
    assert found.passed and found.way == "replay" and found.near_ties == found.mismatches == 1
    found = audited(contenders.stepped(TurnsOneThenForgets)(of), of, asked)
    assert not found.passed and found.near_ties == 1
    assert "spikes of layer" in str(found.reason) and "first at step 5" in str(found.reason)


def test_more_turned_spikes_than_rounding_explains_are_a_fault() -> None:
    class FiresAbove(LIFCell):
        def forward(
            self, current: Tensor, state: contenders.State
        ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            o, (u, _) = super().forward(current, state)
            o = o * (u != self.lif.v_th)
            return o, (u, o)

    of = network()
    asked = question(of, weights=lambda reference: plant(reference, edge=True))
    found = audited(contenders.stepped(FiresAbove)(of), of, asked)
    assert not found.passed and "are turned near the threshold" in str(found.reason)


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_half_a_per_cent_of_one_map_cannot_hide_among_the_edges(kind: str, layer: int) -> None:
    class Tilted(contenders.Rounding):
        def __init__(self, of: Network) -> None:
            super().__init__(of)
            parameter = getattr(self.layers[layer].synapse, kind)
            parameter.register_hook(self.tilted)

        @staticmethod
        def tilted(gradient: Tensor) -> Tensor:
            wrong = gradient.clone()
            largest = gradient.flatten(1).abs().amax(1) if gradient.dim() > 1 else gradient.abs()
            wrong[int(largest.argmax())] *= 1.005
            return wrong

    of = network()
    asked = question(of, weights=crowded)
    assert replayed(contenders.Rounding(of), of, asked).passed
    found = replayed(Tilted(of), of, asked)
    what = "the weights" if kind == "weight" else "the bias"
    assert not found.passed and f"the gradient of {what} of layer {layer + 1}" in str(found.reason)


def test_an_answer_from_elsewhere_is_checked_and_not_believed() -> None:
    of = network()
    asked = question(of)
    module = ReferenceNetwork(of)
    audit = Audit(of, asked)
    given, tapped = plain_pass(module, asked), tapped_pass(module, asked)
    short = replace(given, out=given.out[:4])
    for broken, sentence in (
        (short, "the output is (4, 6, 20), expected a tensor of (10, 6, 20)"),
        (replace(given, gradients=given.gradients[:-1]), "gradients of shapes"),
        (replace(given, gradients=()), "gradients of shapes"),
    ):
        found = audit.direct(broken)
        assert found is not None and not found.passed and sentence in str(found.reason)
    untold = audit.replay(given, replace(tapped, spikes=()))
    assert "expected one tap a layer" in str(untold.reason)
    halves = tuple(each.float() / 2 for each in tapped.spikes)
    assert "neither 0 nor 1" in str(audit.replay(given, replace(tapped, spikes=halves)).reason)
    other = Answer(given.out, given.gradients, (*tapped.spikes[:-1], ~tapped.spikes[-1]))
    assert "the output is not the voting" in str(audit.replay(given, other).reason)


def test_a_pass_leaves_the_module_as_it_was() -> None:
    of = network()
    asked = question(of)
    module = ReferenceNetwork(of)
    first = module.layers[0].synapse.weight
    first.grad = torch.ones_like(first)
    kept = first.grad
    generator = torch.random.get_rng_state()
    tapped_pass(module, asked)
    plain_pass(module, replace(asked, mode="inference"))
    assert first.grad is kept and bool((kept == 1).all())
    assert module.training and torch.equal(torch.random.get_rng_state(), generator)
    with pytest.raises(Incomparable, match="2 of 3 entries of it are neither 0 nor 1"):
        answer.as_spikes(torch.tensor([1.0, 1 + 1e-7, float("nan")]), "it")
