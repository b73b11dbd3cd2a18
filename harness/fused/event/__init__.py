"""Convolutions and products that visit what spiked, and nothing else; on CPUs, with numba."""
