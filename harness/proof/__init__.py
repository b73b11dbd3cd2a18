"""That a contender computes the reference's function."""
