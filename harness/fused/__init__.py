"""The reference's function, fast: layer by layer over all steps, neuron and pool in one kernel."""
