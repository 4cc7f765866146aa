"""Which models a server has in memory, and which of them a request gets."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import httpx2
import pytest

from tests.support.serving import HeldTranscriber, Served, serving, wait_until
from whisper_npu_cli.errors import CheckpointError
from whisper_npu_cli.serve import models as models_module
from whisper_npu_cli.serve.models import Models
from whisper_npu_cli.serve.refusals import Refusal
from whisper_npu_cli.serve.settings import ServeOptions


@pytest.fixture(autouse=True)
def models_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"demo", "tiny", "base", "someone/whisper"}
    monkeypatch.setattr(models_module, "_list_here", lambda: here)


@pytest.fixture
def loaded() -> dict[str, HeldTranscriber]:
    """The models that were loaded, by name; the last of each."""
    return {}


@pytest.fixture
def models(loaded: dict[str, HeldTranscriber]) -> Iterator[Models]:
    one = Models("demo", lambda name: load(loaded, name), ServeOptions(max_models=2, keep_s=0))
    one.load_default()
    yield one
    one.close()


def load(loaded: dict[str, HeldTranscriber], name: str) -> Any:
    loaded[name] = HeldTranscriber()
    return loaded[name]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("demo", "demo"),
        ("tiny", "tiny"),
        ("someone/whisper", "someone/whisper"),
        ("whisper-1", "demo"),
        ("nobody/whisper", "demo"),
        ("/etc/passwd", "demo"),
        ("../tiny", "demo"),
    ],
)
def test_a_name_means_a_model_here_or_the_default(models: Models, asked: str, meant: str) -> None:
    assert models.resolve(asked) == meant


def test_an_alias_that_is_not_here_means_nothing_else(models: Models) -> None:
    with pytest.raises(Refusal, match="small") as refused:
        models.resolve("small")
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


def test_one_model_alone_where_no_more_may_be_loaded() -> None:
    one = Models("base", lambda _: None, ServeOptions(max_models=1))  # type: ignore[arg-type,return-value]
    assert one.list_names() == ["base"]
    for name in ("tiny", "demo"):
        with pytest.raises(Refusal):
            one.resolve(name)


def test_the_idlest_makes_room(models: Models, loaded: dict[str, HeldTranscriber]) -> None:
    with models.use("tiny"):
        with pytest.raises(Refusal, match="in use") as refused, models.use("base"):
            pass
        assert refused.value.status == 503
    with models.use("base"):
        assert loaded["tiny"].is_closed
        assert models.list_loaded().keys() == {"demo", "base"}


def test_who_is_idle_is_unloaded_but_not_the_default(
    models: Models, loaded: dict[str, HeldTranscriber]
) -> None:
    with models.use("tiny"):
        models.unload_idle()
        assert not loaded["tiny"].is_closed
    models.unload_idle()
    assert loaded["tiny"].is_closed
    assert models.list_loaded().keys() == {"demo"}


def test_a_model_that_cannot_be_loaded_leaves_no_place() -> None:
    def fail(_name: str) -> Any:
        raise CheckpointError("damaged")

    one = Models("demo", fail, ServeOptions())
    for _ in range(3):
        with pytest.raises(CheckpointError), one.use("tiny"):
            pass
    assert one.list_loaded() == {}
    assert not one.is_ready


def test_another_default(models: Models, loaded: dict[str, HeldTranscriber]) -> None:
    models.change_default("tiny")
    assert models.resolve("whisper-1") == "tiny"
    models.unload_idle()
    assert loaded["demo"].is_closed
    with pytest.raises(Refusal):
        models.change_default("/home/someone/model.bin")
    assert models.default == "tiny"


def test_load_and_health() -> None:
    may_load = Event()

    def wait(_name: str) -> Any:
        may_load.wait()
        return HeldTranscriber()

    may_load.set()
    with serving(wait) as served:

        def ask_to_load(name: str) -> httpx2.Response:
            return httpx2.post(f"{served.url}/load", files={"model": (None, name)})

        assert served.get("/health").json() == {"status": "ok"}
        assert ask_to_load("tiny").text == "Load was successful!"
        names = [model["id"] for model in served.get("/v1/models").json()["data"]]
        assert names[0] == "tiny"
        refused = ask_to_load("huge")
        assert (refused.status_code, refused.json()) == (400, {"error": "model not found!"})
        may_load.clear()
        served.server.service.models.default = "base"  # as while a model is loaded
        answer = served.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading model"})
        may_load.set()


def test_a_request_loads_the_model_that_it_names(served: Served) -> None:
    models = served.server.service.models
    tiny = HeldTranscriber((" tiny",))
    tiny.step.release(9)
    models._load = lambda _: tiny  # type: ignore[assignment,return-value]
    answer = served.post("/v1/audio/transcriptions", model="tiny")
    assert answer.json()["text"] == "tiny"
    assert answer.headers["x-whisper-npu-model"] == "tiny"
    assert "whisper_npu_models_loaded 2\n" in served.get("/metrics").text
    wait_until(lambda: served.server.service.jobs.n_open == 0)
