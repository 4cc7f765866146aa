"""The NPU as the host sees it: runtime, layouts and checks. Only `xrt.py` imports pyxrt."""
