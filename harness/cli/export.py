"""`harness export`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.console import out
from harness.spec import Initialisation, Reading, UsageError
from harness.spec.selection import SUFFIX, Tie

STEPS, BATCH_SIZE = 10, 20  # of the batch that initial weights are calibrated on


def export(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="NAME or NOTATION.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE.nir", help="New file.", parser=options.place)
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Kept by --keep-weights. Default: initial weights.",
            parser=options.place,
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="Whose neuron and input it has.")
    ] = "cifar10",
    neunorm: Annotated[
        Reading | None, typer.Option("--neunorm", help="On, as read.", metavar="mean|literal")
    ] = None,
    width: options.Width = Fraction(1),
    fires: Annotated[
        Tie,
        typer.Option(
            "--fires",
            metavar="at|above",
            help="At its threshold, or above: for importers whose neuron does.",
        ),
    ] = "at",
    init: Annotated[
        Initialisation, typer.Option("--init", help="Initial weights.", metavar="calibrated|torch")
    ] = "calibrated",
    seed: Annotated[int, typer.Option("--seed", help="Of these.", metavar="N", min=0)] = 0,
    data_root: options.DataRoot = None,
) -> None:
    """Write a network with its weights as a NIR graph. Other frameworks import it."""
    from harness import datasets
    from harness.formats import nir_file
    from harness.formats import weights as kept
    from harness.reference.initialise import initialised
    from harness.spec import paper

    if to.suffix.lower() != SUFFIX:
        raise UsageError(f"--to {to}: a name that ends in {SUFFIX} was expected")
    _, chosen = paper.network(network, dataset, neunorm=neunorm, width=width or Fraction(1))
    if weights is not None:
        parameters = kept.load(weights, chosen)
    else:
        where = datasets.data_root(data_root)
        inputs = datasets.load_batch(dataset, STEPS, BATCH_SIZE, seed, root=where).inputs
        module = initialised(chosen, inputs, seed=seed, scheme=init)
        parameters = [each.detach() for each in module.parameters()]
    nir_file.write(to, chosen, parameters, fires)
    out.print(f"{to}: {chosen}", markup=False, highlight=False)
