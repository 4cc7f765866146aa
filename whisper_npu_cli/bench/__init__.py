"""Measure the engines beside the machine's own limits, in one interleaved run."""
