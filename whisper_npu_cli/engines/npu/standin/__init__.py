"""An XDNA1 machine without the silicon: `pyxrt`'s surface over a strict model of the chip.

`pyxrt.py` has the binding's names, types and errors, `chip.py` executes instruction streams and
keeps the predicted clock, `faults.py` breaks things on demand. It is stricter than hardware where
hardware would be wrong only sometimes: without a sync no byte moves, fresh memory is never zero.
"""
