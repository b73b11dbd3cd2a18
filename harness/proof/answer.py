"""What a contender is asked to compute, and what it answers, as plain tensors.

The passes, and how an exam is taken, run where the contender is: in its process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap, record_spikes
from harness.proof.certificate import RULES
from harness.records.run import Failed
from harness.reference import coding
from harness.reference.initialise import copy_parameters
from harness.reference.precision import DTYPES, autocast
from harness.spec import Case, Mode, Network, Precision, Timing, paper


class Incomparable(Failed):
    """The failure of a contender without a valid answer: wrong shapes, NaN, altered inputs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "not comparable")


@dataclass(frozen=True)
class Question:
    """The weights, input and settings of one pass that a contender is asked to compute."""

    parameters: tuple[Tensor, ...]  # in layer order
    x: Tensor  # (T, B, C, H, W), or (1, B, C, H, W) of an image, expanded where it is used
    steps: int
    precision: Precision
    network: Network
    seed: int = 0  # of torch's generator before the pass, which draws dropout's masks
    labels: Tensor | None = None  # (B,), for the loss; None: a random weighting of out instead
    mode: Mode = "training"

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Shape of the voting layer's spikes, (T, B, N)."""
        return self.steps, self.x.shape[1], self.network.classes * self.network.population

    def load(self, module: nn.Module) -> None:
        """Set the module's weights. Raises ValueError where its parameters have other shapes."""
        copy_parameters(nn.ParameterList(self.parameters), module)


def question_of(case: Case, weights: tuple[Tensor, ...], x: Tensor, labels: Tensor) -> Question:
    """Return a case's iteration as a question, cut to the case's steps and batch size.

    x is (T, B, C, H, W); of a static image one step is kept.
    """
    workload, precision = case.workload, case.contender.precision
    steps = 1 if paper.settings(workload.dataset).static else workload.T
    # laid out as a contender is given them: else sums end in other bits, and spikes turn
    x = x[:steps, : workload.batch_size].to("cpu", DTYPES[precision]).contiguous()
    mode = case.mode if isinstance(case, Timing) else "training"
    return Question(
        weights, x, workload.T, precision, workload.network, workload.seed,
        labels[: workload.batch_size].cpu(), mode,
    )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A module's output, gradients and, of a tapped pass, spikes, all on the CPU."""

    out: Tensor  # (T, B, N)
    gradients: tuple[Tensor, ...]  # in layer order, zeros where there is none; () in inference
    spikes: tuple[Tensor, ...] = ()  # (T, B, ...) of each layer, bool; () where no tap recorded


# Passes


def plain_pass(module: nn.Module, question: Question, *, tapped: bool = False) -> Answer:
    """Load a question and return the answer; `tapped`: with all spikes. Raises Incomparable."""
    with _loaded(module, question) as x:
        with record_spikes(module) if tapped else nullcontext(()) as taps:
            with (
                torch.inference_mode(question.mode == "inference"),
                autocast(question.precision, x.device),
                torch.random.fork_rng(devices=[x.device] if x.is_cuda else []),
            ):
                torch.manual_seed(question.seed)  # dropout's masks, where there are any
                out = module(x)
            _check_shape(out, question)
            spikes = tuple(_collected(tap, n) for n, tap in enumerate(taps, 1))
        # an ordinary tensor, also of inference mode
        carried = out.detach().to(x.dtype).cpu().clone()
        return Answer(carried, _gradients(module, out, question), spikes)


tapped_pass = partial(plain_pass, tapped=True)


def objective(out: Tensor, question: Question) -> Tensor:  # (T, B, N) -> ()
    """Return the scalar to differentiate: the loss, or without labels a fixed random weighting."""
    if question.labels is None:
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        return (out * weights.to(out)).sum()
    votes = coding.vote(out, question.network.classes)
    return coding.loss(votes, question.labels.to(out.device))


@contextmanager
def _loaded(module: nn.Module, question: Question) -> Iterator[Tensor]:
    """Yield the input on the module's device; it has the question's parameters, no gradients.

    Afterwards the input and the parameters must be as before, and mode and gradients are put back.
    """
    parameters = list(module.parameters())
    try:
        question.load(module)
    except ValueError as error:
        raise Incomparable(str(error)) from error
    inputs = question.x.to(parameters[0].device, copy=True)
    training, gradients = module.training, [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    module.train(question.mode == "training")
    try:
        yield inputs.expand(question.steps, *inputs.shape[1:])
    finally:
        module.train(training)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
    if not torch.equal(inputs.cpu(), question.x):
        raise Incomparable("it changes its input in place")
    weights = (parameter.detach().cpu() for parameter in parameters)
    if not all(map(torch.equal, weights, question.parameters)):
        raise Incomparable("it changes its parameters in place")


def _gradients(module: nn.Module, out: Tensor, question: Question) -> tuple[Tensor, ...]:
    """Return the gradients of the question's objective, zeros for none; () in inference."""
    if question.mode == "inference":
        return ()
    if not out.requires_grad:
        raise Incomparable("the output carries no gradient")
    objective(out.to(question.x.dtype), question).backward()
    return tuple(
        torch.zeros_like(parameter, device="cpu")
        if parameter.grad is None
        else parameter.grad.cpu()
        for parameter in module.parameters()
    )


def _collected(tap: SpikeTap, n: int) -> Tensor:
    """Return the spikes that a layer's tap saw.

    Raises:
        Incomparable: if the layer was not called.
    """
    if not tap.kept:
        raise Incomparable(f"tap {n} saw no spikes: the layer was not called")
    return as_spikes(tap.collected(), f"the spikes of layer {n}").cpu()


# An exam

ExamAnswers = tuple[tuple[Answer, Answer], ...]  # to each of `exam_questions`, tapped and untapped


def exam_questions(question: Question) -> tuple[Question, Question, Question]:
    """Return the three questions of an exam: `question`, in eval mode, and far beyond V_th.

    The last asks for gradients only in float64: otherwise rounding decides much of the few there.
    """
    evaluated = replace(question, mode="inference")
    large = tuple(RULES.driven * weights for weights in question.parameters)
    driven = question if question.precision == "fp64" else evaluated
    return question, evaluated, replace(driven, parameters=large)


def take_exam(module: nn.Module, question: Question) -> ExamAnswers:
    """Return a module's answers to `exam_questions`. Raises Incomparable."""
    answers = exam_answers(module, question)
    return tuple(zip(answers, answers, strict=True))


def exam_answers(module: nn.Module, question: Question) -> Iterator[Answer]:
    """Yield the answers with taps recording and without, in turn.

    Other weights on another input come first, and do not count.
    """
    module.to(dtype=question.x.dtype)
    others = tuple(weights.flip(0) for weights in question.parameters)
    x = question.x.flip(-1).contiguous()
    first = replace(question, parameters=others, x=x, seed=question.seed + 1)
    plain_pass(module, replace(first, mode="inference"))
    plain_pass(module, first)
    for one in exam_questions(question):
        yield tapped_pass(module, one)
        yield plain_pass(module, one)


# Whether an answer has the form that was asked for


def _check_shape(out: object, question: Question) -> None:
    """Raise Incomparable unless the output is a tensor of the question's shape."""
    shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if shape != question.out_shape:
        raise Incomparable(f"the output is {shape}, expected a tensor of {question.out_shape}")


def as_spikes(values: Tensor, name: str) -> Tensor:
    """Return spikes as bool. Raises Incomparable where an entry is neither 0 nor 1."""
    if values.dtype == torch.bool:
        return values
    if wrong := int(((values != 0) & (values != 1)).sum()):
        raise Incomparable(f"{wrong:,} of {values.numel():,} entries of {name} are neither 0 nor 1")
    return values.bool()


def check(answer: Answer, question: Question) -> None:
    """Raise Incomparable unless shapes are right, spikes 0 or 1, and gradients finite."""
    _check_shape(answer.out, question)
    as_spikes(answer.out, "the output")
    differentiated = question.parameters if question.mode == "training" else ()
    expected, shapes = _shapes(differentiated), _shapes(answer.gradients)
    if shapes != expected:
        raise Incomparable(f"gradients of shapes {shapes}, expected {expected}")
    for name, gradient in zip(parameters_of(question.network), answer.gradients, strict=False):
        if wrong := int((~torch.isfinite(gradient)).sum()):
            entries = f"{gradient.numel():,} entries of the gradient of {name}"
            raise Incomparable(f"{wrong:,} of {entries} are not finite")


def check_tapped(answer: Answer, question: Question) -> None:
    """Raise Incomparable as `check`, or where taps have wrong shapes or contradict the output."""
    check(answer, question)
    (steps, batch, _), stages = question.out_shape, question.network.stages
    expected = [(steps, batch, *stage.output_shape) for stage in stages]
    shapes = _shapes(answer.spikes)
    if shapes != expected:
        raise Incomparable(f"spikes of shapes {shapes}, expected one tap a layer: {expected}")
    if differ := int((answer.out.bool() != answer.spikes[-1].bool()).sum()):
        entries = f"{differ:,} of {answer.out.numel():,} entries differ"
        raise Incomparable(f"the output is not the voting layer's spikes: {entries}")


def _shapes(tensors: Iterable[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]


def parameters_of(network: Network) -> tuple[str, ...]:
    """Return the parameters' names in layer order, such as "the bias of layer 2 256C3"."""
    return tuple(
        f"{kind} of layer {stage.name}"
        for stage in network.stages
        for kind in ("the weights", "the bias", *(["U"] if stage.neunorm_shape else []))
    )
