"""The kernels compiled for the host: a subset of aie_api for g++, and their loader."""
