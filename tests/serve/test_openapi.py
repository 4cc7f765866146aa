"""The published document, and requests that are made of it, right and wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.serving import HeldTranscriber, Served, serving
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve.app import list_routes
from whisper_npu_cli.serve.openapi import describe_api

API = describe_api(TranscribeOptions())
SCHEMA = schemathesis.openapi.from_dict(API)
OPERATIONS = [(path, method) for path, methods in API["paths"].items() for method in methods]
CHECKS = [
    *(checks.not_a_server_error, status_code_conformance),
    *(content_type_conformance, response_schema_conformance),
]
SOUGHT = (Phase.generate,)  # a failure is told as it was found


@pytest.fixture(scope="module")
def quick() -> Iterator[Served]:
    held = HeldTranscriber((" one",))
    held.step.release(1_000_000)
    with serving(lambda _: held) as one:
        yield one


def test_it_is_served_and_names_what_takes_requests(quick: Served) -> None:
    assert quick.get("/openapi.json").json() == API
    methods = {
        route.path.replace(":path", ""): route.methods or set()
        for route in list_routes(quick.server.service)
    }
    assert set(API["paths"]) <= set(methods)
    assert {path for path, ones in methods.items() if "POST" in ones} <= set(API["paths"])


def test_it_has_the_fields_that_are_read() -> None:
    body = API["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]
    fields = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert fields["stream"] == {"type": "boolean", "default": False}
    assert "diarized_json" in fields["response_format"]["enum"]
    expected = {"file", "model", "language", "prompt", "temperature", "keywords[]", "include[]"}
    assert expected <= set(fields)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_requests_that_follow_it_and_that_do_not(quick: Served, path: str, method: str) -> None:
    operation = SCHEMA[path][method.upper()]
    positive = operation.as_strategy()
    negative = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(max_examples=40, phases=SOUGHT, suppress_health_check=list(HealthCheck))
    @given(case=positive | negative)
    def ask(case: Any) -> None:
        case.call_and_validate(
            base_url=quick.url,
            timeout=20,
            checks=CHECKS,
        )

    ask()
