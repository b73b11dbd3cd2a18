"""The instrument: measures spiking-network frameworks on the networks of Wu et al. (AAAI 2019).

Shape letters, used on every signature of the package: T time steps, B batch, C channels or feature
maps, H and W height and width, N neurons of a flat layer, K classes.
"""

__version__ = "0.1.0"
