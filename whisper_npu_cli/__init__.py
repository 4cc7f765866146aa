"""Transcribe speech with Whisper on AMD XDNA1 NPUs, and on the CPU everywhere."""

__version__ = "0.1.0"
