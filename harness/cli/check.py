"""`harness check`, and `harness versions`: the same of a framework's releases."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from harness import formats
from harness.analysis.words import counted, span
from harness.cli.console import out, progress, say, takes
from harness.spec import Contender, Options

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.proof.certificate import Certificate
    from harness.proof.check import AdapterProof

_Adapters = typer.Argument(metavar="ADAPTER", help="Default: all, with variants.")


@takes("networks", "datasets", "width", "data_root")
def check(frameworks: Annotated[list[str] | None, _Adapters] = None, **values: Any) -> None:
    """Prove adapters equal to the reference, layer by layer.

    Exit 1 if one that claims to be is not, or nothing is known of one that is named. Networks have
    1/8 of their width, or --width.
    """
    options = Options.parse(**values)
    read = formats.read_networks(options.networks)
    from harness.machine import child

    child.warm(short_spin=True)
    from harness.proof import check as proving
    from harness.reports.table import seconds

    named = tuple(dict.fromkeys(frameworks or ()))  # twice the same is once
    options, failed = replace(options, files=read), False
    todo = proving.estimate(named, options)
    if todo.exams:
        count = counted(todo.adapters, "adapter")
        say(f"{counted(todo.exams, 'exam')} of {count}, about {seconds(todo.seconds)}")
    with progress() as moves:
        for result in proving.prove_adapters(named, options, moves):
            out.print(certificate_tables(result))
            failed |= result.failed or bool(named and not result.proofs)
    if failed:
        raise typer.Exit(1)


def certificate_tables(result: AdapterProof) -> RenderableType:
    """Return an adapter's certificates, layer by layer, and the outcome.

    A layer's line holds the worst over the certificates of the same network, with and without
    NeuNorm: float64 and float32 side by side.
    """
    from harness.analysis.frame import grouped
    from harness.reports.table import Table

    if not result.proofs:
        return Text.assemble(Text(result.name, "bold"), ": ", outcome(result))
    head = Text(_with_version(result.name), "bold")
    networks = grouped(result.proofs, lambda proof: proof.title).items()
    tables = (Table([*_lines([p.certificate for p in ps])], title) for title, ps in networks)
    return Group(head, *tables, outcome(result))


def _with_version(name: str) -> str:
    """Return a contender's name and, where it names a version, which files and what they lack."""
    from adapters import facts

    contender = Contender.parse(name)
    version = facts.look_up(contender.package).version if contender.version else None
    return name if version in (None, contender.version) else f"{name}, {version}"


def _lines(certificates: Sequence[Certificate]) -> Iterator[dict[str, str]]:
    """Yield a line a layer: the worst over certificates, float64 and float32 side by side."""
    compared = [proof for proof in certificates if proof.layers]
    for layers in zip(*(proof.layers for proof in compared), strict=True):
        rate = span((layer.rate for layer in layers), ".2f")
        spikes = f"{sum(layer.spikes for layer in layers):,}"
        line = {"layer": layers[0].layer, "rate": rate, "spikes": spikes}
        for precision in ("fp64", "fp32"):
            pairs = zip(layers, compared, strict=True)
            precise = [layer for layer, proof in pairs if proof.precision == precision]
            error = max((layer.gradient_error for layer in precise), default=0)
            line[f"{precision} differ"] = f"{sum(layer.mismatches for layer in precise):,}"
            line[f"{precision} gradient"] = f"{error:.0e}"
        yield line


def outcome(result: AdapterProof) -> Text:
    """Return as text that an adapter is equal, else its first failures or why it has no proof."""
    from harness.records.run import shortened

    if not result.proofs:
        return Text(shortened(result.reason.removeprefix(f"{result.name} ")))
    passed = sum(proof.certificate.passed for proof in result.proofs)
    count = f"{passed} of {len(result.proofs)} certificates passed"
    failures = [
        f"{proof.named} {proof.certificate.precision}: {failure}"
        for proof in result.proofs
        for failure in proof.certificate.failures
    ]
    left_out = [result.reason] if result.reason else []
    if result.deviations:
        text = f"not the paper's function, by its own statement: {'; '.join(result.deviations)}"
        return Text("\n".join([text, *failures[:2], *left_out]) + "\n")
    if failures:
        return Text("\n".join([f"FAILED: {count}", *failures[:6], *left_out]) + "\n", "red")
    most = max((proof.certificate.attempts for proof in result.proofs), default=0)
    inputs = f"; float32 took up to {most} inputs" if most > 1 else ""
    return Text("\n".join([f"equal: {count}{inputs}", *left_out]) + "\n", "green")


_Framework = typer.Argument(metavar="FRAMEWORK")
_Newest = typer.Option(help="How many releases.", metavar="N", min=1)
_Time = typer.Option("--time", help="Time those that pass and the installed one, in one run.")


@takes("budget", "data_root", "out")
def versions(
    framework: Annotated[str, _Framework],
    newest: Annotated[int, _Newest] = 5,
    timed: Annotated[bool, _Time] = False,
    **values: Any,
) -> None:
    """Check the newest releases of a framework's package on CIFAR-10 Small.

    Each is installed once, into the cache folder. Exit 1 where none passes.
    """
    one = {"networks": "Small", "datasets": "cifar10", "quick": values["budget"] is None}
    options = Options.parse(suite="acceleration", **values, **one)
    import adapters
    from adapters import facts
    from harness.proof import check as proving

    passed: list[str] = []
    for release in facts.releases(framework)[:newest]:
        name = f"{framework}@{release}"
        (result,) = proving.prove_adapters((name,), options, lambda *_: None)
        say(f"{_with_version(name)}: {outcome(result).plain.strip()}")
        passed += [name] if result.proofs and not (result.failed or result.reason) else []
    if not passed:
        raise typer.Exit(1)
    if not timed:
        return
    first, *others = passed if adapters.missing(framework) else (framework, *passed)
    from harness.analysis import compare
    from harness.api import Work
    from harness.cli import measuring

    command = ("harness", *sys.argv[1:])
    rows = measuring.run(Work.prepare(replace(options, frameworks=(first, *others)), command))
    for name in others:
        for text in compare.sentences(compare.within_run(rows, name, first), first):
            say(text)
