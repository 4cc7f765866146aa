"""What a server does for each request: its models, its jobs, and the answer of every path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from time import time
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from whisper_npu_cli.errors import WhisperNpuError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve import openai
from whisper_npu_cli.serve.forms import Form, read_form
from whisper_npu_cli.serve.jobs import Job, Jobs, Order
from whisper_npu_cli.serve.log import log_fault
from whisper_npu_cli.serve.metrics import MEDIA_TYPE, Metrics
from whisper_npu_cli.serve.models import Models
from whisper_npu_cli.serve.openapi import describe_api
from whisper_npu_cli.serve.refusals import FAULT, ClientGone, Refusal, to_refusal
from whisper_npu_cli.serve.settings import ServeOptions
from whisper_npu_cli.serve.whispercpp import Inference
from whisper_npu_cli.writers.remarks import list_warnings

NOTE = "note"  # the key of a request's scope with what its log line tells besides


class Wanted(Protocol):
    """How a request wants to be answered."""

    options: TranscribeOptions

    def make(self, job: Job) -> Response:
        """Return the answer."""


_Wanted = TypeVar("_Wanted", bound=Wanted)


class Service:
    """The answers. `base` are the options of what requests do not say."""

    def __init__(self, models: Models, options: ServeOptions, base: TranscribeOptions) -> None:
        self.models = models
        self.jobs = Jobs(models, options.parallel, options.queue)
        self.metrics = Metrics()
        self.options = options
        self.base = base
        self._created_s = int(time())

    async def close(self) -> None:
        """Give up what is being decoded, and unload the models."""
        self.jobs.give_up()
        await self.jobs.close()
        self.models.close()

    async def transcribe(self, request: Request) -> Response:
        """Answer /v1/audio/transcriptions."""
        return await self._answer(request, "transcribe")

    async def translate(self, request: Request) -> Response:
        """Answer /v1/audio/translations."""
        return await self._answer(request, "translate")

    async def infer(self, request: Request) -> Response:
        """Answer /inference."""
        inference, job = await self._take(request, lambda form: Inference(form, self.base))
        return await self._finish(request, job, inference)

    async def load(self, request: Request) -> Response:
        """Answer /load: another model becomes the one of names that mean none."""
        form = await read_form(request, self.options.max_bytes)
        form.close()
        name = form.get_text("model")
        if name is None:
            raise Refusal(400, "no 'model' field in the request", param="model")
        await asyncio.to_thread(self.models.change_default, name)
        return PlainTextResponse("Load was successful!")

    async def tell_health(self, _request: Request) -> Response:
        """Answer /health: whether the model is loaded."""
        if self.models.is_ready:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "loading model"}, 503)

    async def tell_metrics(self, _request: Request) -> Response:
        """Answer /metrics."""
        loaded, jobs = self.models.list_loaded().values(), self.jobs
        gauges = {
            "working": min(jobs.n_open, jobs.n_working),
            "waiting": max(0, jobs.n_open - jobs.n_working),
            "waiting_limit": jobs.n_waiting,
            "models_loaded": len(loaded),
            "fallbacks": sum(len(one.engines.incidents) for one in loaded),
        }
        return Response(self.metrics.format(gauges), media_type=MEDIA_TYPE)

    async def tell_api(self, _request: Request) -> Response:
        """Answer /openapi.json."""
        return JSONResponse(describe_api(self.base))

    async def list_models(self, _request: Request) -> Response:
        """Answer /v1/models."""
        names = await asyncio.to_thread(self.models.list_names)
        models = openai.describe_models(names, self._created_s)
        return JSONResponse({"object": "list", "data": models})

    async def get_model(self, request: Request) -> Response:
        """Answer /v1/models/NAME."""
        name = request.path_params["name"]
        if name not in await asyncio.to_thread(self.models.list_names):
            message = f"the model {name!r} is not served here"
            raise Refusal(404, message, param="model", code="model_not_found")
        (model,) = openai.describe_models([name], self._created_s)
        return JSONResponse(model)

    async def _answer(self, request: Request, task: openai.Task) -> Response:
        answer, job = await self._take(request, lambda form: openai.Answer(form, self.base, task))
        if not answer.is_streamed:
            return await self._finish(request, job, answer)
        await job.begin()  # what is wrong with the audio has a status of its own
        events = self._stream(request, job, answer)
        return StreamingResponse(events, headers=_describe(job), media_type="text/event-stream")

    async def _take(self, request: Request, read: Callable[[Form], _Wanted]) -> tuple[_Wanted, Job]:
        """Return what a request wants, and the job of it."""
        options = self.options
        form = await read_form(request, options.max_bytes)
        try:
            wanted, upload = read(form), form.take_file(options.max_s)
            order = Order(form.get_text("model") or self.models.default, upload, wanted.options)
            return wanted, self.jobs.submit(order, partial(_wait_until_gone, request))
        except BaseException:
            form.close()
            raise

    async def _finish(self, request: Request, job: Job, wanted: Wanted) -> Response:
        await job.begin()
        async for _ in job.segments():
            pass
        request.scope[NOTE] |= self.count(job)
        response = wanted.make(job)
        response.headers.update(_describe(job))
        return response

    async def _stream(
        self, request: Request, job: Job, answer: openai.Answer
    ) -> AsyncIterator[bytes]:
        """Yield the events of a job; an error is the last of them."""
        try:
            async for event in answer.stream(job):
                yield event
            request.scope[NOTE] |= self.count(job)
        except ClientGone:
            return
        except (Refusal, WhisperNpuError) as error:
            yield openai.format_event(**openai.describe_error(to_refusal(error)))
        except Exception as error:  # the status is sent: without an event the answer would be cut
            log_fault(error)
            yield openai.format_event(**openai.describe_error(FAULT))

    def count(self, job: Job) -> dict[str, Any]:
        """Count a finished job, and return what the log tells of it."""
        result = job.result
        self.metrics.add_result(result)
        return {
            "model": job.model,
            "device": job.device,
            "audio_s": round(result.timings.audio_s, 3),
            "work_s": round(result.timings.total_s, 3),
            "queue_s": round(job.queue_s, 3),
        }


async def _wait_until_gone(request: Request) -> None:
    """Return once the client of a request that was read has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _describe(job: Job) -> dict[str, str]:
    """Return the headers that tell what served a job, how long, and what it may lack so far."""
    result = job.result
    rows = result.timings.rows
    stages = [f'{r.stage};dur={1000 * r.seconds:.1f};desc="{r.engine}"' for r in rows]
    headers = {
        "X-Whisper-Npu-Device": job.device,
        "X-Whisper-Npu-Model": quote(job.model),
        "Server-Timing": ", ".join([f"queue;dur={1000 * job.queue_s:.1f}", *stages]),
    }
    if warnings := list_warnings(result):
        headers["X-Whisper-Npu-Warning"] = "; ".join(warnings).encode("ascii", "replace").decode()
    return headers
