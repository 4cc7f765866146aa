"""Many clients at one engine: turns, the bounded queue, and clients that go away."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import soundfile

from tests.serve.test_forms import PATH, make_body, make_head, read_answer
from tests.support.digits import compose_clips, compose_recording
from tests.support.serving import (
    SAMPLE,
    HeldTranscriber,
    Served,
    serving,
    wait_until,
)
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.serve.settings import ServeOptions


def encode(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def send(served: Served) -> Any:
    """Send a request, and return its connection before it is answered."""
    connection = served.open()
    body = make_body(SAMPLE.read_bytes())
    connection.sendall(make_head(f"Content-Length: {len(body)}") + body)
    return connection


def test_two_requests_at_once_get_what_each_gets_alone(served: Served) -> None:
    files = [encode(clip.samples) for clip in compose_clips(3)]
    files.append(encode(compose_recording(65.0, 2.0)))  # which is decoded in batches

    def ask(file: bytes) -> Any:
        answer = served.post(PATH, file=file, response_format="verbose_json").json()
        return answer["text"], answer["segments"]

    alone = [ask(file) for file in files]
    assert all(text for text, _ in alone)
    with ThreadPoolExecutor(len(files)) as threads:
        assert list(threads.map(ask, files)) == alone


def test_a_short_request_overtakes_a_long_one_whose_client_then_goes(served: Served) -> None:
    jobs = served.server.service.jobs
    file = encode(np.tile(compose_clips(1)[0].samples, 60))  # ten minutes, in several batches
    url, fields = f"{served.url}{PATH}", {"stream": "true"}
    with httpx2.stream("POST", url, data=fields, files={"file": file}, timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        (long,) = jobs.list_open()
        assert served.post(PATH).status_code == 200
        assert not long.result.is_complete
    wait_until(lambda: jobs.n_open == 0)
    assert not long.result.is_complete


def test_a_client_that_goes_before_its_answer_ends_its_work(
    narrow: Served, held: HeldTranscriber
) -> None:
    connection = send(narrow)
    wait_until(lambda: len(held.begun) == 1)
    connection.close()
    wait_until(lambda: held.begun[0].is_stopped)
    held.step.release()
    wait_until(lambda: narrow.server.service.jobs.n_open == 0)


def test_a_client_that_goes_while_it_waits_gives_up_its_place(
    narrow: Served, held: HeldTranscriber
) -> None:
    jobs = narrow.server.service.jobs
    with send(narrow):
        wait_until(lambda: len(held.begun) == 1)
        waiting = send(narrow)
        wait_until(lambda: jobs.n_open == 2)
        waiting.close()
        wait_until(lambda: jobs.n_open == 1)
        held.step.release(3)
    wait_until(lambda: jobs.n_open == 0)
    assert len(held.begun) == 1


def test_who_finds_no_place_is_told_when_to_come_again(
    narrow: Served, held: HeldTranscriber
) -> None:
    with send(narrow) as first, send(narrow) as second:
        wait_until(lambda: narrow.server.service.jobs.n_open == 2)
        refused = narrow.post(PATH)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["type"] == "server_error"
        gauges = narrow.get("/metrics").text
        assert "whisper_npu_working 1\n" in gauges
        assert "whisper_npu_waiting 1\n" in gauges
        held.step.release(6)
        assert all("one two three" in read_answer(one) for one in (first, second))


def test_many_clients_leave_nothing() -> None:
    """Of 18 requests a third vanish and a third are no audio: the others are right."""
    text = compose_clips(1)[0].text
    good, bad = encode(compose_clips(1)[0].samples), b"no audio"
    with serving(options=ServeOptions(queue=100)) as served:

        def ask(i: int) -> Any:
            if i % 3 == 1:
                send(served).close()
                return None
            return served.post(PATH, file=good if i % 3 == 0 else bad)

        served.post(PATH)
        n_threads = threading.active_count()
        with ThreadPoolExecutor(9) as clients:
            answers = list(clients.map(ask, range(18)))
        wait_until(lambda: served.server.service.jobs.n_open == 0)
        assert {answer.json()["text"] for answer in answers[::3]} == {text}
        assert {answer.status_code for answer in answers[2::3]} == {400}
        wait_until(lambda: threading.active_count() <= n_threads + 3)  # the other workers
