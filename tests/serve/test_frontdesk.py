"""Keys, ids, log lines and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import openai
import pytest

from tests.support.serving import SAMPLE, TEXT, HeldTranscriber, Served, serving

PATH = "/v1/audio/transcriptions"


@pytest.fixture
def held() -> HeldTranscriber:
    one = HeldTranscriber((f" {TEXT}",))
    one.step.release(100)
    return one


@pytest.fixture
def locked(held: HeldTranscriber) -> Iterator[Served]:
    with serving(lambda _: held, api_key="secret") as one:
        yield one


@pytest.mark.parametrize("key", [None, "Bearer wrong", "secret", "Bearer \xff"])
def test_a_wrong_key_is_refused(locked: Served, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": key.encode("latin-1")}
    files = {"file": SAMPLE.read_bytes()}
    for path in (PATH, "/inference", "/load"):
        answer = httpx2.post(f"{locked.url}{path}", files=files, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/metrics", "/nowhere"):
        assert httpx2.get(f"{locked.url}{path}", headers=headers).status_code == 401
    for path in ("/health", "/", "/page/page.js"):
        assert locked.get(path).status_code == 200


def test_the_right_key(locked: Served) -> None:
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key="secret") as client:
        assert client.audio.transcriptions.create(file=SAMPLE, model="x").text == TEXT
    wrong = openai.OpenAI(base_url=f"{locked.url}/v1", api_key="other")
    with wrong as client, pytest.raises(openai.AuthenticationError):
        client.audio.transcriptions.create(file=SAMPLE, model="x")


def test_a_log_line_tells_everything_but_what_was_said(
    held: HeldTranscriber, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda _: held) as served:
        fields = {"prompt": "my secret", "model": "whisper-1"}
        answer = served.post(PATH, **fields)
        served.post(f"{PATH}?token=secret", response_format="talk")
        served.get("/health")
        served.get("/secret")
    printed = capfd.readouterr().err
    lines = [json.loads(line) for line in printed.splitlines()]
    good, bad, other = (line for line in lines if line["event"] == "request")
    assert good["id"] == answer.headers["x-request-id"]
    assert (good["path"], good["status"]) == (PATH, 200)
    assert (good["model"], good["device"], good["audio_s"]) == ("demo", "cpu", 1.0)
    assert (bad["path"], bad["status"]) == (PATH, 400)
    assert (other["path"], other["status"]) == ("other", 404)
    assert not any(word in printed for word in ("secret", "talk", *TEXT.split()))


def test_a_fault_is_answered_and_logged(
    held: HeldTranscriber, capfd: pytest.CaptureFixture[str]
) -> None:
    held.engines = None  # type: ignore[assignment]
    with serving(lambda _: held) as served:
        answer = served.post(PATH)
        assert answer.status_code == 500
        assert "AttributeError" not in answer.text
        held.__post_init__()
        assert served.post(PATH).status_code == 200
    assert "AttributeError" in capfd.readouterr().err


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.post(PATH)
    served.post(PATH, file=b"no audio")
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {name.partition("{")[0] for name in values} <= described
    assert values[f'whisper_npu_requests_total{{path="{PATH}",status="200"}}'] == "1.0"
    assert values[f'whisper_npu_requests_total{{path="{PATH}",status="400"}}'] == "1.0"
    assert float(values["whisper_npu_audio_seconds_total"]) == pytest.approx(4.85, abs=0.01)
    encode = [
        name for name in values if name.startswith('whisper_npu_stage_seconds_total{stage="e')
    ]
    assert float(values[encode[0]]) > 0
    assert 'engine="openvino' in encode[0]
    assert values["whisper_npu_models_loaded"] == "1"
