"""Requests as they come: slow, too large, cut off, not forms at all. None is a fault or hangs."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile

from tests.support.serving import SAMPLE, TEXT, HeldTranscriber, Served, serving, wait_until
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.serve import forms, frontdesk
from whisper_npu_cli.serve.forms import Form, Upload
from whisper_npu_cli.serve.refusals import Refusal
from whisper_npu_cli.serve.settings import ServeOptions

PATH = "/v1/audio/transcriptions"
BOUNDARY = "frontier"


def make_body(file: bytes, **fields: str) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="talk.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), file, f"\r\n--{BOUNDARY}--\r\n".encode()])


def make_head(*headers: str) -> bytes:
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    lines = [f"POST {PATH} HTTP/1.1", "Host: here", "Connection: close", kind, *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answer(connection: socket.socket) -> str:
    """Return all that the server sends until it closes the connection."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received.decode()


def exchange(served: Served, *pieces: bytes) -> str:
    with served.open() as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_answer(connection)


@pytest.fixture(scope="module")
def small() -> Iterator[Served]:
    """A server that takes 1 MB and 3.6 s."""
    held = HeldTranscriber((TEXT,))
    held.step.release(1000)
    with serving(lambda _: held, ServeOptions(max_mb=1.0, max_hours=0.001)) as one:
        yield one


def test_a_body_that_arrives_byte_by_byte_is_read(served: Served) -> None:
    body = make_body(SAMPLE.read_bytes())
    slow, rest = body[:300], body[300:]
    head = make_head(f"Content-Length: {len(body)}")
    answer = exchange(served, head, *(bytes([byte]) for byte in slow), rest)
    assert answer.startswith("HTTP/1.1 200")
    assert TEXT in answer


def test_a_body_in_chunks_without_a_length_is_read(served: Served) -> None:
    body = make_body(SAMPLE.read_bytes())
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    assert TEXT in exchange(served, make_head("Transfer-Encoding: chunked"), chunk)


def test_a_client_that_falls_silent_is_given_up(
    small: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "SILENCE_S", 0.05)
    monkeypatch.setattr(frontdesk, "LINGER_S", 0.05)
    answer = exchange(small, make_head("Content-Length: 100000"), make_body(b"")[:80])
    assert answer.startswith("HTTP/1.1 408")


def test_a_length_that_is_too_large_is_refused_before_the_body(small: Served) -> None:
    head = make_head("Content-Length: 2000000000000", "Expect: 100-continue")
    answer = exchange(small, head)
    assert answer.startswith("HTTP/1.1 413")
    assert "--max-mb" in answer


def test_a_body_that_grows_too_large_is_refused_while_it_arrives(small: Served) -> None:
    body = make_body(bytes(3_000_000))
    chunks = [body[i : i + 100_000] for i in range(0, len(body), 100_000)]
    pieces = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
    answer = exchange(small, make_head("Transfer-Encoding: chunked"), *pieces, b"0\r\n\r\n")
    assert answer.startswith("HTTP/1.1 413")


def test_the_answer_is_heard_by_a_client_that_sends_before_it_listens(small: Served) -> None:
    assert small.post(PATH, file=bytes(20_000_000)).status_code == 413


def test_a_client_that_is_cut_off_midway_leaves_nothing(small: Served) -> None:
    with small.open() as connection:
        body = make_body(SAMPLE.read_bytes())
        connection.sendall(make_head(f"Content-Length: {len(body)}") + body[: len(body) // 2])
    wait_until(lambda: not small.server.server_state.connections)
    assert small.server.service.jobs.n_open == 0
    assert small.post(PATH).status_code == 200


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (make_head(), b"", 400),  # no length, no body
        (make_head("Content-Length: 3"), b"abc", 400),  # no boundary in it
        (make_head("Content-Length: 200"), make_body(b"RIFF")[:-6].ljust(200, b" "), 400),
        (make_head("Content-Length: x"), b"", 400),
        (b"POST\r\n\r\n", b"", 400),
        (b"\x16\x03\x01 this would be TLS\r\n\r\n", b"", 400),
        (make_head().replace(b"; boundary=frontier", b""), b"", 400),
        (make_head().replace(b"multipart/form-data", b"application/json"), b"", 400),
        (make_head("Content-Length: 5").replace(b"POST", b"BREW"), b"hello", 405),
    ],
)
def test_what_is_no_form_is_refused(small: Served, head: bytes, body: bytes, status: int) -> None:
    assert exchange(small, head, body).startswith(f"HTTP/1.1 {status}")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_forms_are_no_fault_of_the_server(small: Served, data: Any) -> None:
    body = bytearray(make_body(b"RIFF....WAVE", model="x", language="en", temperature="0"))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        stop = data.draw(st.integers(start, min(len(body), start + 20)))
        body[start:stop] = data.draw(st.binary(max_size=20))
    answer = exchange(small, make_head(f"Content-Length: {len(body)}"), bytes(body))
    assert answer[9:12] in ("200", "400")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = ["model", "language", "prompt", "response_format", "temperature", "stream", "keywords[]"]
FIELDS += ["timestamp_granularities[]", "chunking_strategy", "chunking_strategy[threshold]"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), TEXTS))
def test_odd_fields_are_no_fault_of_the_server(small: Served, fields: dict[str, str]) -> None:
    assert small.post(PATH, **fields).status_code in (200, 400)


@pytest.mark.parametrize(
    "charset", ["utf-16", "nonsense", "undefined", "idna", "punycode", "hex", ""]
)
def test_wrong_encodings_are_no_fault_of_the_server(small: Served, charset: str) -> None:
    body = make_body(b"RIFF", prompt="x\xe4", language="en").replace(
        b'talk.wav"', b'\xff\xfe\x00.wav"'
    )
    head = make_head(f"Content-Length: {len(body)}").replace(
        b"; boundary", f"; charset={charset}; boundary".encode()
    )
    assert exchange(small, head, body)[9:12] in ("200", "400")
    packed = make_head(f"Content-Length: {len(body)}", "Content-Encoding: gzip")
    assert exchange(small, packed, body)[9:12] in ("200", "400")


@pytest.mark.parametrize("chunk", [b"zz\r\nab\r\n", b"-5\r\n", b"ffffffffffffffffffff\r\nab"])
def test_broken_chunks_are_refused(
    small: Served, chunk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontdesk, "LINGER_S", 0.05)
    monkeypatch.setattr(forms, "SILENCE_S", 0.05)
    answer = exchange(small, make_head("Transfer-Encoding: chunked"), chunk)
    assert not answer or answer[9:12] in ("400", "408", "413")


def make_form(*items: tuple[str, str]) -> Form:
    return Form(items)


def test_a_list_in_any_spelling() -> None:
    spellings = [
        make_form(("x[]", "a"), ("x[]", "b")),
        make_form(("x", "a"), ("x", "b")),
        make_form(("x[0]", "a"), ("x[1]", "b")),
        make_form(("x", "a, b")),
        make_form(("x[]", '["a", "b"]')),
    ]
    assert [form.get_list("x") for form in spellings] == [["a", "b"]] * len(spellings)
    assert make_form(("x", ""), ("xy", "a")).get_list("x") == []


def test_an_object_in_any_spelling() -> None:
    expected = {"type": "server_vad", "threshold": "0.5"}
    inner = make_form(("x[type]", "server_vad"), ("x[threshold]", "0.5"))
    as_json = make_form(("x", '{"type": "server_vad", "threshold": 0.5}'))
    assert inner.get_object("x") == as_json.get_object("x") == expected
    assert make_form(("x", "auto")).get_object("x") == "auto"
    assert make_form().get_object("x") is None
    assert make_form(("x", "[" * 100_000)).get_object("x") is not None  # no recursion


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1.5", "x"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        make_form(("n", text)).get_count("n")


def test_no_more_is_decoded_than_is_allowed() -> None:
    """Memory and time end with the limit, not with the file: 8 hours of Opus are 25 MB."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(300 * SAMPLE_RATE), SAMPLE_RATE, format="OGG", subtype="OPUS")
    file.seek(0)
    upload = Upload(UploadFile(file, filename="long.ogg"), max_s=20.0)
    heard = 0
    with pytest.raises(Refusal, match=r"long\.ogg: longer than") as refused:
        for block in upload.blocks():
            heard += block.size
    assert refused.value.status == 413
    assert heard <= 20 * SAMPLE_RATE
    upload.close()
    assert file.closed


def test_audio_that_is_too_long_is_refused() -> None:
    with serving(options=ServeOptions(max_hours=0.001)) as served:
        answer = served.post(PATH)
        assert answer.status_code == 413
        assert "--max-hours" in answer.json()["error"]["message"]
        assert served.post(PATH, stream="true").status_code == 413
