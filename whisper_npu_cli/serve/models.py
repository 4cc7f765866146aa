"""The models that a server has in memory: the one that it was started with, and others on request.

Any number of threads use them. What is loaded is counted and idle ones go; what is not on this
machine is never downloaded for a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

from whisper_npu_cli.checkpoints.caches import ALIASES
from whisper_npu_cli.checkpoints.copies import list_copies
from whisper_npu_cli.checkpoints.names import DEMO
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.serve.refusals import Refusal
from whisper_npu_cli.serve.settings import ServeOptions


class _Place:
    """One model's place in memory, which it takes once it is loaded."""

    def __init__(self) -> None:
        self.transcriber: Transcriber | None = None
        self.n_users = 0
        self.idle_since = 0.0
        self.loading = Lock()


class Models:
    """Models by their names; `load` makes one."""

    def __init__(
        self, default: str, load: Callable[[str], Transcriber], options: ServeOptions
    ) -> None:
        self.default = default  # for every name that is not one of a model here
        self._load = load
        self._options = options
        self._places: dict[str, _Place] = {}
        self._guard = Lock()  # of the places and their counts

    @property
    def is_ready(self) -> bool:
        """Whether the default is loaded."""
        place = self._places.get(self.default)
        return place is not None and place.transcriber is not None

    def list_loaded(self) -> dict[str, Transcriber]:
        """Return the models in memory."""
        with self._guard:
            places = self._places.items()
            return {name: place.transcriber for name, place in places if place.transcriber}

    def list_names(self) -> list[str]:
        """Return what a request may name: the default first, then the others on this machine."""
        others = sorted(_list_here()) if self._options.max_models > 1 else []
        return list(dict.fromkeys([self.default, *others]))

    def resolve(self, name: str) -> str:
        """Return the model that a request means by `name`.

        Clients insist on names such as whisper-1: what is no model here means the default. A
        Refusal for an alias that is not on this machine: another model is not what was asked for.
        """
        has_name_of_model = name in ALIASES or name == DEMO
        if not has_name_of_model and "/" not in name:
            return self.default
        if name in self.list_names():
            return name
        if has_name_of_model:
            message = f"the model {name} is not served here; /v1/models lists those that are"
            raise Refusal(404, message, param="model", code="model_not_found")
        return self.default

    @contextmanager
    def use(self, name: str) -> Iterator[Transcriber]:
        """Have a model, which is loaded first where it has to be; `name` is a resolved one.

        Refusal where as many others are in use as may be loaded, and what loading raises.
        """
        with self._guard:
            if name not in self._places:
                self._make_room()
            place = self._places.setdefault(name, _Place())
            place.n_users += 1
        try:
            with place.loading:
                if place.transcriber is None:
                    place.transcriber = self._load(name)
            yield place.transcriber
        finally:
            with self._guard:
                place.n_users -= 1
                place.idle_since = monotonic()
                if place.transcriber is None and not place.n_users:
                    del self._places[name]

    def load_default(self) -> None:
        """Load the default, and wait for it."""
        with self.use(self.default):
            pass

    def change_default(self, name: str) -> None:
        """Load a model and let it be the default; where that fails, the old one stays."""
        if name not in (self.default, *_list_here()):
            raise Refusal(400, "model not found!", param="model")
        before, self.default = self.default, name  # which may be unloaded to make room
        try:
            self.load_default()
        except BaseException:
            self.default = before
            raise

    def unload_idle(self) -> None:
        """Unload the models that nobody asked for within the time that they are kept."""
        with self._guard:
            for name in self._list_idle():
                if monotonic() - self._places[name].idle_since >= self._options.keep_s:
                    self._unload(name)

    def close(self) -> None:
        """Unload every model; nobody uses one any more."""
        with self._guard:
            for name in list(self._places):
                self._unload(name)

    def _make_room(self) -> None:
        if len(self._places) < self._options.max_models:
            return
        idle = self._list_idle()
        if not idle:
            n = self._options.max_models
            raise Refusal(503, f"all {n} models that may be loaded are in use (--max-models)")
        self._unload(min(idle, key=lambda name: self._places[name].idle_since))

    def _list_idle(self) -> list[str]:
        """Return the loaded models that are in no use, without the default."""
        places = self._places.items()
        return [name for name, place in places if not place.n_users and name != self.default]

    def _unload(self, name: str) -> None:
        place = self._places.pop(name)
        if place.transcriber is not None:
            place.transcriber.close()


def _list_here() -> set[str]:
    """Return the models on this machine that need no path."""
    return {DEMO, *(copy.name for copy in list_copies())}
