"""A server from its start to its end, as a process."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx2
import numpy as np
import pytest
import soundfile

from tests.cli.conftest import MAIN
from tests.support.digits import compose_clips
from tests.support.serving import SAMPLE, HeldTranscriber, serving, wait_until
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.serve.run import listen
from whisper_npu_cli.serve.settings import ServeOptions


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server, and end it; its address is known once it has told it."""
    command = [sys.executable, "-c", MAIN, "serve", "--model", "demo", "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        try:
            yield started, json.loads(started.stderr.readline())["address"]
        finally:
            started.kill()


def test_a_signal_lets_what_is_being_decoded_finish() -> None:
    arguments = ("--device", "cpu", "--parallel", "1", "--beam-size", "none")
    with process(*arguments) as (server, url):
        file = io.BytesIO()
        soundfile.write(file, np.tile(compose_clips(1)[0].samples, 15), SAMPLE_RATE, format="WAV")
        answers = {}

        def ask(name: str, audio: bytes) -> None:
            files = {"file": ("talk.wav", audio)}
            answers[name] = httpx2.post(f"{url}/inference", files=files, timeout=60)

        long = Thread(target=ask, args=["long", file.getvalue()])
        short = Thread(target=ask, args=["short", SAMPLE.read_bytes()])
        long.start()
        wait_until(lambda: "working 1\n" in httpx2.get(f"{url}/metrics").text)
        short.start()
        wait_until(lambda: "waiting 1\n" in httpx2.get(f"{url}/metrics").text)
        server.send_signal(signal.SIGTERM)
        long.join()
        short.join()
        assert answers["long"].status_code == 200
        assert answers["long"].json()["text"].count("\n") >= 15
        assert answers["short"].status_code == 503
        assert server.wait() == 0


def test_a_server_of_wyoming() -> None:
    with process("--wyoming", "tcp://127.0.0.1:0") as (server, _):
        assert server.stderr is not None
        port = int(json.loads(server.stderr.readline())["address"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b'{"type": "describe"}\n')
            assert json.loads(client.makefile().readline())["type"] == "info"
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0


def test_what_takes_longer_than_the_grace_is_given_up() -> None:
    held = HeldTranscriber()
    with serving(lambda _: held, ServeOptions(grace_s=0)) as served:
        answers = list[httpx2.Response]()
        client = Thread(target=lambda: answers.append(served.post("/inference")))
        client.start()
        wait_until(lambda: len(held.begun) == 1)
        served.server.should_exit = True
        client.join()
        assert answers[0].status_code == 503
        assert held.begun[0].is_stopped
        held.step.release()


def test_a_model_that_cannot_be_had_ends_the_server() -> None:
    command = [sys.executable, "-c", MAIN, "serve", "--model", "nonsense", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: unknown model 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: .*in use"):
            listen("127.0.0.1", port)


def test_ipv6() -> None:
    with listen("::1", 0) as listening:
        assert listening.getsockname()[0] == "::1"
