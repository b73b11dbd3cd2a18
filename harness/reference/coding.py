"""Decoding by vote, and the loss on it: eq. (11)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def vote(spikes: Tensor, classes: int) -> Tensor:  # (T, B, K * population) -> (B, K)
    """Compute the mean vote of eq. (11), (1/T) sum of M o: a class is its population's mean.

    The fixed matrix M gives neuron i to class i // population. The paper draws the labels at
    random; with random weights that is the same up to the neurons' order.
    """
    return spikes.mean(0).unflatten(1, (classes, -1)).mean(2)


def cross_entropy(spikes: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Compute the cross-entropy with each class's spike count over all steps as its logit.

    As frameworks offer it. (T, B, K * population), (B,) -> ()
    """
    counts = spikes.sum(0).unflatten(1, (classes, -1)).sum(2)
    return functional.cross_entropy(counts, labels)


def loss(votes: Tensor, labels: Tensor) -> Tensor:  # (B, K), (B,) -> ()
    """Compute the squared error of eq. (11) against the one-hot label, averaged over B and K."""
    target = functional.one_hot(labels, votes.shape[1]).to(votes.dtype)
    return functional.mse_loss(votes, target)
