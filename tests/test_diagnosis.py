"""A refused contender is named by the known deviation that computes the same, and by no other; the
adapter's guide explains the refusals.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import contenders
import pytest
from contenders import Build, framework, off_by, stepped
from test_proof import Backwards, Untapped
from torch import Tensor

from harness.adapter import SpikeTap, Variant
from harness.conformance import random_batch
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam
from harness.reference.network import ReferenceNetwork
from harness.spec import LIF, Network, NeuNorm, Precision, paper

NAMED = ": it is what the paper's network computes with "


LIF_ = paper.settings("nmnist").lif


def tiny(lif: LIF = LIF_, neunorm: NeuNorm | None = None) -> Network:
    return Network.parse(
        "6C3(Encoding)-AP2-8C3-AP2-12FC-Voting", input_shape=(2, 8, 8), population=2,
        lif=lif, neunorm=neunorm,
    )  # fmt: skip


@cache  # the reference's answers serve all contenders
def exam(network: Network, precision: Precision) -> Exam:
    return Exam(network, 2 * random_batch(network, 4, 8, static=False), precision)


def certify(build: Build, network: Network, precision: Precision = "fp64") -> Certificate:
    return exam(network, precision).certify(Variant((), build))


def subtracts(v: Tensor, o: Tensor, lif: LIF) -> Tensor:
    return v - lif.v_th * o


def subtracts_late(v: Tensor, o: Tensor, lif: LIF) -> Tensor:
    return v - lif.v_th / lif.k_tau * o  # so that it takes V_th after the decay


PLANTED: dict[str, tuple[Build, ...]] = {
    "no gradient through the reset": (framework(reset=lambda v, o, lif: v - v * o.detach()),),
    "a reset that subtracts V_th before the decay": (framework(reset=subtracts),),
    "a reset that subtracts V_th after the decay": (framework(reset=subtracts_late),),
    "a reset that subtracts V_th before the decay and carries no gradient": (
        framework(reset=lambda v, o, lif: subtracts(v, o.detach(), lif)),
    ),
    "a reset that subtracts V_th after the decay and carries no gradient": (
        framework(reset=lambda v, o, lif: subtracts_late(v, o.detach(), lif)),
    ),
    "the reset and the input before the decay: u = k_tau (u (1 - o) + input)": (
        framework(charge=lambda v, x, lif: (v + x) - (v + x) * (1 - lif.k_tau)),
    ),
    "the input times (1 - k_tau)": (
        framework(charge=lambda v, x, lif: v + (x - v) * (1 - lif.k_tau)),
    ),
    "`>` for `>=`: it fires above V_th only": (framework(at=False),),
    "a surrogate twice as wide: 1/(2a) where |u - V_th| < a": (framework(wide=2.0, high=0.5),),
    "a surrogate twice as wide: 1/a where |u - V_th| < a": (framework(wide=2.0),),
    "a surrogate half as wide: 2/a where |u - V_th| < a/4": (framework(wide=0.5, high=2.0),),
    "a surrogate half as wide: 1/a where |u - V_th| < a/4": (framework(wide=0.5),),
    "the state carried over between calls": (
        stepped(contenders.StaleState),
        contenders.stale_throughout,
    ),
    "the steps in reverse order": (contenders.StepsReversed,),
    "the last step missing": (
        stepped(contenders.ThreeSteps),
        stepped(partial(contenders.ThreeSteps, repeats=True)),
    ),
}


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize(
    ("build", "words"),
    [pytest.param(build, words, id=words) for words, builds in PLANTED.items() for build in builds],
)
def test_the_reason_ends_with_the_computed_deviation(
    build: Build, words: str, precision: Precision
) -> None:
    certificate = certify(build, tiny(neunorm=NeuNorm(u=0.3)), precision)
    (reason,) = certificate.failures
    assert reason.endswith(NAMED + words) and not certificate.passed, reason


NOT_KNOWN: dict[str, Build] = {
    "two deviations at once": framework(at=False, wide=2.0),
    "another decay": stepped(off_by(k_tau=LIF_.k_tau + 1e-3)),
    "a window a little wider": stepped(off_by(a=LIF_.a * 1.4)),
    "no gradient through the last reset alone": stepped(
        contenders.carries(lambda step: step == 3, lambda u, o: (u, o.detach()))
    ),
    "fires above, and has no gradient at the threshold": stepped(contenders.FiresAbove),
    "right up to thirty times the threshold": stepped(contenders.Saturates),
    "rounded weights": contenders.rounded_weights,
}


@pytest.mark.parametrize("build", NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_an_unknown_deviation_is_given_no_name(build: Build) -> None:
    certificate = certify(build, tiny())
    reasons = "; ".join(certificate.failures)
    assert reasons and NAMED not in reasons, reasons


def test_indistinguishable_deviations_are_all_named() -> None:
    nothing_decays = tiny(replace(LIF_, k_tau=1.0))
    (reason,) = certify(framework(reset=subtracts), nothing_decays).failures
    early, late_ = "a reset that subtracts V_th before the decay", "the decay"
    assert reason.endswith(f"{NAMED}{early} or a reset that subtracts V_th after {late_}"), reason


def test_a_deviation_without_effect_is_not_named() -> None:
    forgets_at_once = tiny(replace(LIF_, k_tau=0.0))  # so no reset and no state are felt
    assert certify(stepped(contenders.DetachedReset), forgets_at_once).passed
    (reason,) = certify(framework(wide=2.0), forgets_at_once).failures
    assert reason.endswith(f"{NAMED}a surrogate twice as wide: 1/a where |u - V_th| < a"), reason


def test_a_declared_deviation_is_not_diagnosed() -> None:
    marked = Variant(("no gradient through the reset",), stepped(contenders.DetachedReset))
    certificate = exam(tiny(), "fp64").certify(marked)
    assert certificate.failures and NAMED not in "; ".join(certificate.failures)


class TapUnused(Untapped):
    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.unused = SpikeTap()


EXPLAINED: tuple[Build, ...] = (
    framework(at=False),
    framework(reset=subtracts),
    stepped(contenders.DetachedReset),
    stepped(contenders.Saturates),
    contenders.OneStepUnseen,
    contenders.MuteInEval,
    contenders.OutPlusOne,
    contenders.NoGradient,
    contenders.EarlyExit,
    contenders.ChangesInput,
    contenders.ChangesParameters,
    contenders.from_forward(lambda right, x: right(x)[:1]),
    TapUnused,
    Untapped,
    Backwards,
)


def test_the_adapters_guide_quotes_actual_refusals() -> None:
    guide = (Path(__file__).parents[1] / "adapters" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", guide, re.M)
    quoted = [quote.removesuffix(" ...") for row in rows for quote in re.findall("`(.+?)`", row)]
    flat = tiny(replace(LIF_, a=1e-9))  # which has no gradient
    reasons = [*certify(ReferenceNetwork, flat).failures]
    for build in EXPLAINED:
        reasons += certify(build, tiny()).failures
    assert len(quoted) > 15
    assert [quote for quote in quoted if not any(quote in sentence for sentence in reasons)] == []
