"""`whisper-npu serve`: the machine's Whisper for other programs, over HTTP and Wyoming."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from whisper_npu_cli.cli.completion import complete_model
from whisper_npu_cli.cli.fields import from_fields
from whisper_npu_cli.environment import API_KEY_VARIABLE
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import DecodingOptions, EngineOptions, TranscribeOptions
from whisper_npu_cli.serve.settings import ServeOptions

_NEEDED = ("starlette", "uvicorn", "python_multipart", "wyoming")


@from_fields
def serve(
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            autocompletion=complete_model,
            help="As of transcribe; requests may name others that are on this machine.",
        ),
    ] = "base",
    server: ServeOptions,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar=API_KEY_VARIABLE,
            help="What requests must bring as `Authorization: Bearer KEY`; /health needs none.",
            rich_help_panel="Address",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--language", "-l", help="Of requests that name none; detected where not given."
        ),
    ] = None,
    decoding: DecodingOptions,
    engine: EngineOptions,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline/--no-offline", help="Never use the network.", rich_help_panel="Engine"
        ),
    ] = False,
) -> None:
    """Serve OpenAI's audio API, that of whisper.cpp, and Home Assistant's Wyoming.

    Needs the extra [serve]. Loads the model, then answers until Ctrl-C or SIGTERM, which lets what
    is being decoded finish. Logs are lines of JSON on stderr. Options of decoding are those of
    requests that do not say otherwise. `whisper-npu help serve` tells how programs are set up.

    Example: whisper-npu serve --model large-v3-turbo

    Example: WHISPER_NPU_API_KEY=secret whisper-npu serve --host 0.0.0.0

    Example: whisper-npu serve --wyoming tcp://0.0.0.0:10300 --no-auth
    """
    if absent := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(
            f"serve needs {' and '.join(absent)}", hint="pip install 'whisper-npu-cli[serve]'"
        )
    server.check_access(api_key)
    from whisper_npu_cli.audio.isolated import prepare
    from whisper_npu_cli.checkpoints.languages import language_code
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.serve.log import log
    from whisper_npu_cli.serve.models import Models
    from whisper_npu_cli.serve.run import Server, listen, run

    code = None if language is None else language_code(language)
    base = TranscribeOptions(language=code, decoding=decoding)
    listening = listen(server.host, server.port)
    wyoming = listen(*server.wyoming_address) if server.wyoming_address else None
    prepare()

    def load(name: str) -> Transcriber:
        is_offline = offline or name != model  # no request downloads anything
        return Transcriber(
            name, engine, offline=is_offline, notice=lambda text: log("notice", text=text)
        )

    run(Server(Models(model, load, server), server, base, api_key), listening, wyoming)
