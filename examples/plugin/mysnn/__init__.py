"""A framework of one neuron: it stands for yours."""

from mysnn.neuron import Neuron

__all__ = ["Neuron"]
