"""IRON programs: plain `aie.iron`, for the real one as for its stand-in."""
