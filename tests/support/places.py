"""Where the checkout has what tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
GOLDEN = ROOT / "tests" / "golden"
DEMO = ROOT / "whisper_npu_cli" / "demo"
SAMPLES = ROOT / "samples"
SHARED = ROOT.parent / "shared"  # real recordings, beside the checkout where it is developed
