"""Proof that a contender computes the reference's function."""
