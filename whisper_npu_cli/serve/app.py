"""The paths of a server, and how errors are answered on each."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from whisper_npu_cli.errors import WhisperNpuError
from whisper_npu_cli.serve import openai, website, whispercpp
from whisper_npu_cli.serve.frontdesk import FrontDesk
from whisper_npu_cli.serve.refusals import CLIENT_GONE, FAULT, ClientGone, Refusal, to_refusal
from whisper_npu_cli.serve.service import Service


def make_app(service: Service, api_key: str | None) -> ASGIApp:
    """Return the application; without a key everyone may use it."""
    routes = list_routes(service)
    app = Starlette(
        routes=routes,
        exception_handlers={
            Refusal: _refuse,
            WhisperNpuError: _refuse,
            HTTPException: _answer_http,
            ClientGone: _answer_nobody,
            ClientDisconnect: _answer_nobody,
            Exception: _answer_fault,
        },
    )
    return FrontDesk(app, service.metrics, [route.path for route in routes], api_key)


def list_routes(service: Service) -> list[Route]:
    """Return every path with what answers it."""
    return [
        Route("/", website.show),
        Route("/page/{name:path}", website.show),
        Route("/v1/audio/transcriptions", service.transcribe, methods=["POST"]),
        Route("/v1/audio/translations", service.translate, methods=["POST"]),
        Route("/v1/models", service.list_models),
        Route("/v1/models/{name:path}", service.get_model),
        Route("/inference", service.infer, methods=["POST"]),
        Route("/load", service.load, methods=["POST"]),
        Route("/health", service.tell_health),
        Route("/metrics", service.tell_metrics),
        Route("/openapi.json", service.tell_api),
    ]


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal | WhisperNpuError)
    return _describe(request, to_refusal(error))


async def _answer_http(request: Request, error: Exception) -> Response:
    """Answer a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    return _describe(request, Refusal(error.status_code, error.detail))


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _answer_fault(request: Request, _error: Exception) -> Response:
    return _describe(request, FAULT)


def _describe(request: Request, refusal: Refusal) -> Response:
    is_whispercpp = request.url.path in whispercpp.PATHS
    describe = whispercpp.describe_error if is_whispercpp else openai.describe_error
    return JSONResponse(describe(refusal), refusal.status, refusal.headers)
