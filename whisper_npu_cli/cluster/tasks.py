"""What travels between a client and its workers: one recording, what computes it, what came out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from distributed import Worker

from whisper_npu_cli.audio.encoded import EncodedSource, FileSource, StreamSource
from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.audio.recording import Notice
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.cluster.shipping import ShippedFile
from whisper_npu_cli.devices import AUTO
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.environment import collect_versions
from whisper_npu_cli.errors import AudioError, ClusterError, WhisperNpuError
from whisper_npu_cli.longform.parts import Cut, DecidedPart, Part
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
    """One recording or a part of one, where it is, and how it is transcribed."""

    path: str  # absolute
    name: str  # in messages
    track: int | str | None
    is_growing: bool
    options: TranscribeOptions
    progress: Progress | None
    only_language: bool
    is_shipped: bool  # the client sends it to a worker that does not see it
    longest_s: float | None  # what is longer comes back in parts
    part: Part | None = None

    @classmethod
    def describe(
        cls,
        source: Input,
        options: TranscribeOptions,
        progress: Progress | None,
        cluster: ClusterOptions,
        *,
        only_language: bool,
    ) -> Task:
        """Describe an input; AudioError where it is none that workers can read."""
        if not isinstance(source, FileSource) or source.is_arriving:
            raise AudioError(
                f"{source.name}: a stream cannot be sent to a cluster", hint="save it to a file"
            )
        source.check()
        return cls(
            path=str(Path(source.path).absolute()),
            name=source.name,
            track=source.track,
            is_growing=source.is_growing,
            options=options,
            progress=progress,
            only_language=only_language,
            is_shipped=cluster.ship,
            longest_s=cluster.longest_s,
        )

    def open(self, key: str, worker: Worker) -> EncodedSource:
        """Return the source on a worker; AudioError where the file is not there."""
        if self.is_shipped and not can_read(self.path):
            sent = StreamSource(cast(BinaryIO, ShippedFile(key, worker)), self.name)
            sent.track = self.track
            return sent
        if not Path(self.path).exists():
            raise AudioError(
                f"{self.name}: worker {worker.address} has no {self.path}",
                hint="mount its folder at the same place on all machines, or add --ship",
            )
        source = FileSource(self.path, self.track)
        source.name, source.is_growing = self.name, self.is_growing
        return source


def can_read(path: str) -> bool:
    """Return whether this process can read a file."""
    return os.access(path, os.R_OK)


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
    cut: Cut | None = None  # of a long recording, whose parts are to be transcribed
    part: DecidedPart | None = None
    progress: Progress | None = None  # of one whose first parts alone are decided
    error: WhisperNpuError | None = None


_NO_TIMINGS = Timings(0.0, 0.0, ())


class Finished:
    """A transcription that was done elsewhere, as one that is being done: the same attributes."""

    work_done = 1.0

    def __init__(self, outcome: Outcome) -> None:
        self.checkpoint = outcome.progress
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
        """Yield the segments that are not in the `checkpoint`."""
        return iter(self.result.transcript.segments if self.checkpoint is None else ())

    @property
    def progress(self) -> float:
        """Share of the audio that is decided, 0 to 1."""
        if self.checkpoint is None:
            return 1.0
        return self.checkpoint.end_frame / FRAMES_PER_SECOND / self.begin().duration_s

    def stop(self) -> None:
        """Do nothing: it has ended."""

    @property
    def result(self) -> Result:
        """All of it, with what writing took here."""
        assert self._outcome.result is not None
        return replace(self._outcome.result, timings=self.stopwatch.read())
