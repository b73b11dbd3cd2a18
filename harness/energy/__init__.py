"""What an inference costs: operations counted from spikes, joules from a counter."""
