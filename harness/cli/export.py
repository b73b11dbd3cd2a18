"""`harness export`."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

import typer

from harness.cli.console import say, takes
from harness.spec import SUFFIX, Options, Tie, UsageError, paper
from harness.spec.options import parse_path

STEPS, BATCH_SIZE = 10, 20  # of the batch that initial weights are calibrated on
_Weights = typer.Option(help="Kept by --keep-weights. Default: initial weights.", metavar="FILE")
_About = "At its threshold, or above: for importers whose neuron does."


@takes("neunorm", "width", "init", "data_root")
def export(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="NAME or NOTATION.")],
    to: Annotated[str, typer.Option(help="New file.", metavar="FILE.nir")],
    weights: Annotated[str | None, _Weights] = None,
    dataset: Annotated[
        str, typer.Option(help="Whose neuron and input it has.", metavar="NAME")
    ] = "cifar10",
    fires: Annotated[Tie, typer.Option(help=_About, metavar="at|above")] = "at",
    seed: Annotated[
        int, typer.Option(help="Of initial weights.", metavar="N", min=0, max=10**9)
    ] = 0,
    **values: Any,
) -> None:
    """Write a network with its weights as a NIR graph. Other frameworks import it."""
    options, path = Options.parse(**values), parse_path(to)
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"--to {to}: a name that ends in {SUFFIX} was expected")
    width = options.width or Fraction(1)
    _, chosen = paper.network(network, dataset, neunorm=options.reading, width=width)
    file = parse_path(weights) if weights is not None else None
    from harness import datasets
    from harness.formats import nir_file
    from harness.formats import weights as weights_
    from harness.reference.initialise import initialised

    if file is not None:
        parameters = weights_.load(file, chosen)
    else:
        root = datasets.data_root(options.data_root)
        inputs = datasets.load_batch(dataset, STEPS, BATCH_SIZE, seed, root=root).inputs
        module = initialised(chosen, inputs, seed=seed, scheme=options.init)
        parameters = [parameter.detach() for parameter in module.parameters()]
    nir_file.write(path, chosen, parameters, fires)
    say(f"{path}: {chosen}")
