"""Oriented Gabor filters, the first layer of HFirst (Orchard et al. 2015a) and of Gabor-SNN."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# HFirst's bank, after its authors' code: 12 filters of 7 x 7 pixels.
ORIENTATIONS = 12
SIZE = 7
SIGMA = 2.8  # pixels: the envelope's deviation across the stripes
WAVELENGTH = 5.0  # pixels: from one stripe to the next
ASPECT = 0.3  # gamma: the envelope is 1 / 0.3 times as long along the stripes
PHASE = 0.0  # psi: a bright stripe lies in the middle


def bank(
    orientations: int = ORIENTATIONS,
    size: int = SIZE,
    sigma: float = SIGMA,
    wavelength: float = WAVELENGTH,
    aspect: float = ASPECT,
    phase: float = PHASE,
) -> NDArray[np.float64]:
    """The filters (K, size, size), of zero mean and L2 norm 1 each, indexed [k, y, x].

    The k-th varies along the direction k pi / K from the x axis towards the y axis: the 0th has
    vertical stripes.
    """
    theta = np.pi * np.arange(orientations)[:, None, None] / orientations
    offset = np.arange(size) - (size - 1) / 2
    y, x = offset[None, :, None], offset[None, None, :]
    across = x * np.cos(theta) + y * np.sin(theta)
    along = y * np.cos(theta) - x * np.sin(theta)
    envelope = np.exp(-(across**2 + (aspect * along) ** 2) / (2 * sigma**2))
    filters = envelope * np.cos(2 * np.pi * across / wavelength + phase)
    filters -= filters.mean((1, 2), keepdims=True)
    return filters / np.sqrt((filters**2).sum((1, 2), keepdims=True))
