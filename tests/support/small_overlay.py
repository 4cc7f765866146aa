"""Two instruction streams that several tests of the NPU's host run."""

from __future__ import annotations

from whisper_npu_cli.engines.npu.spec import StreamSpec

SMALL = StreamSpec("gemm", 256, 64, 256, "bf16")
NORM = StreamSpec("layernorm", 256, 0, 256, valid=128)
SPECS = (SMALL, NORM)
