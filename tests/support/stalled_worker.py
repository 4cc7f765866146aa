"""A worker process of the NPU that is ready, beats, and never encodes a window."""

from __future__ import annotations

import socket
import sys
import time

from whisper_npu_cli.engines.npu.worker import BEAT_S, send

if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    send(channel, "ready", name="stalled", mel_name="", clock_mhz=0, known_answer_ms=0)
    while True:
        send(channel, "beat")
        time.sleep(BEAT_S)
