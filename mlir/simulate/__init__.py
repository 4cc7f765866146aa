"""A stand-in for `aie.iron` that moves real bytes and enforces the limits of the array."""
