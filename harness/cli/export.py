"""`harness export`."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

import typer

from harness.cli.console import option, say, takes
from harness.spec import SUFFIX, Options, Tie, UsageError, paper
from harness.spec.options import place

STEPS, BATCH_SIZE = 10, 20  # of the batch that initial weights are calibrated on


@takes("neunorm", "width", "init", "data_root")
def export(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="NAME or NOTATION.")],
    to: Annotated[str, option("--to", "New file.", "FILE.nir")],
    weights: Annotated[
        str | None, option("--weights", "Kept by --keep-weights. Default: initial weights.", "FILE")
    ] = None,
    dataset: Annotated[
        str, option("--dataset", "Whose neuron and input it has.", "NAME")
    ] = "cifar10",
    fires: Annotated[
        Tie,
        option(
            "--fires",
            "At its threshold, or above: for importers whose neuron does.",
            "at|above",
        ),
    ] = "at",
    seed: Annotated[int, option("--seed", "Of initial weights.", "N", min=0)] = 0,
    **given: Any,
) -> None:
    """Write a network with its weights as a NIR graph. Other frameworks import it."""
    options, path = Options.of(**given), place(to)
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"--to {to}: a name that ends in {SUFFIX} was expected")
    width = options.width or Fraction(1)
    _, chosen = paper.network(network, dataset, neunorm=options.neunorm, width=width)
    kept = place(weights) if weights is not None else None
    from harness import datasets
    from harness.formats import nir_file
    from harness.formats import weights as weights_
    from harness.reference.initialise import initialised

    if kept is not None:
        parameters = weights_.load(kept, chosen)
    else:
        root = datasets.data_root(options.data_root)
        inputs = datasets.load_batch(dataset, STEPS, BATCH_SIZE, seed, root=root).inputs
        module = initialised(chosen, inputs, seed=seed, scheme=options.init)
        parameters = [each.detach() for each in module.parameters()]
    nir_file.write(path, chosen, parameters, fires)
    say(f"{path}: {chosen}")
