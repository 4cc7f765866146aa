"""The decoder on any CPU, compiled by numba."""
