"""What travels between a client and its workers: one recording, what computes it, what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.audio.recording import Notice
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.devices import AUTO
from whisper_npu_cli.environment import collect_versions
from whisper_npu_cli.errors import AudioError, ClusterError, WhisperNpuError
from whisper_npu_cli.options import EngineOptions, TranscribeOptions
from whisper_npu_cli.timings import Stopwatch, Timings
from whisper_npu_cli.transcript import (
    Damage,
    Progress,
    Result,
    Segment,
    TranscriptionInfo,
)

_NOT_COMPARED = "python"  # it computes nothing


@dataclass(frozen=True)
class Setup:
    """The model and the engine, and what of them must be the same everywhere."""

    model: str
    engine: EngineOptions
    offline: bool
    versions: Mapping[str, str]
    fingerprint: str  # of the model

    @classmethod
    def describe(cls, model: str, engine: EngineOptions, *, offline: bool) -> Setup:
        """Describe this machine; CheckpointError for a model that cannot be had."""
        fingerprint = open_checkpoint(model, offline=offline).fingerprint()
        return cls(model, engine, offline, collect_versions(), fingerprint)

    def check(self, worker: str) -> None:
        """Raise ClusterError where this process, the worker at an address, computes otherwise."""
        here = Setup.describe(self.model, self.engine, offline=self.offline)
        for name, version in self.versions.items():
            if name != _NOT_COMPARED and here.versions.get(name) != version:
                raise ClusterError(
                    f"worker {worker}: {name} is {here.versions.get(name, 'absent')} there and "
                    f"{version} here",
                    hint="install the same version on all machines",
                )
        if here.fingerprint != self.fingerprint:
            raise ClusterError(
                f"worker {worker}: the model {self.model} is {here.fingerprint[:12]} there and "
                f"{self.fingerprint[:12]} here (SHA-256)",
                hint="copy it from one machine to the others, or name another",
            )

    def for_worker(self, *, has_npu: bool) -> EngineOptions:
        """Return the engine of a worker: `auto` is the CPU where it was given no NPU."""
        takes_cpu = self.engine.device == AUTO and not has_npu
        return self.engine.for_device("cpu") if takes_cpu else self.engine


@dataclass(frozen=True)
class Task:
    """One recording, where it is, and how it is transcribed."""

    path: str  # absolute
    name: str  # in messages
    track: int | str | None
    is_growing: bool
    options: TranscribeOptions
    progress: Progress | None
    only_language: bool

    @classmethod
    def describe(
        cls,
        source: Input,
        options: TranscribeOptions,
        progress: Progress | None,
        *,
        only_language: bool,
    ) -> Task:
        """Describe an input; AudioError where it is none that workers can read."""
        if not isinstance(source, FileSource) or source.is_arriving:
            raise AudioError(
                f"{source.name}: a stream cannot be sent to a cluster", hint="save it to a file"
            )
        source.check()
        path = str(Path(source.path).absolute())
        return cls(
            path, source.name, source.track, source.is_growing, options, progress, only_language
        )

    def open(self, worker: str) -> FileSource:
        """Return the source on the worker at an address; AudioError where the file is not there."""
        if not Path(self.path).exists():
            raise AudioError(
                f"{self.name}: worker {worker} has no {self.path}",
                hint="mount its folder at the same place on all machines",
            )
        source = FileSource(self.path, self.track)
        source.name, source.is_growing = self.name, self.is_growing
        return source


@dataclass(frozen=True)
class Outcome:
    """What a worker made of a recording; an `error` has what the same would raise here."""

    worker: str
    device: str = ""
    reason: str = ""  # why that device
    load_s: float = 0.0
    incidents: tuple[str, ...] = ()  # of the worker's engine so far
    remarks: tuple[Damage | Notice, ...] = ()
    info: TranscriptionInfo | None = None
    result: Result | None = None
    error: WhisperNpuError | None = None


_NO_TIMINGS = Timings(0.0, 0.0, ())


class Finished:
    """A transcription that was done elsewhere, as one that is being done: the same attributes."""

    work_done = progress = 1.0
    checkpoint = None

    def __init__(self, outcome: Outcome) -> None:
        timings = outcome.result.timings if outcome.result else _NO_TIMINGS
        self.stopwatch = Stopwatch.go_on_from(timings)
        self._outcome = outcome

    def begin(self) -> TranscriptionInfo:
        """Return what was known before the first segment; raise what the worker raised."""
        if self._outcome.error is not None:
            raise self._outcome.error
        assert self._outcome.info is not None
        return self._outcome.info

    def __iter__(self) -> Iterator[Segment]:
        """Yield all segments."""
        return iter(self.result.transcript.segments)

    def stop(self) -> None:
        """Do nothing: it has ended."""

    @property
    def result(self) -> Result:
        """All of it, with what writing took here."""
        assert self._outcome.result is not None
        return replace(self._outcome.result, timings=self.stopwatch.read())
