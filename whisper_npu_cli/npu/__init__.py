"""The NPU path of the host: runtime, layouts and schedule. Only `xrt.py` imports pyxrt."""
