"""`whisper-npu serve` before it serves: who may reach it, and what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import Cli
from tests.support.places import ROOT
from whisper_npu_cli.cli import serve
from whisper_npu_cli.environment import API_KEY_VARIABLE
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.serve.settings import ServeOptions

SAMPLE = min((ROOT / "samples").glob("*.wav"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    ServeOptions(host=host).check_access(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "myhost"])
def test_other_machines_need_a_key(cli: Cli, host: str) -> None:
    result = cli("serve", "--host", host, "--port", "0")
    assert result.status == 2
    assert f"--host {host}" in result.stderr
    assert "--no-auth" in result.stderr
    ServeOptions(host=host).check_access("secret")
    ServeOptions(host=host, no_auth=True).check_access(None)


def test_keys_that_contradict() -> None:
    with pytest.raises(UsageError, match="empty"):
        ServeOptions().check_access("")
    with pytest.raises(UsageError, match="exclude"):
        ServeOptions(no_auth=True).check_access("secret")


def test_wyoming_beyond_this_machine_has_no_key(cli: Cli) -> None:
    result = cli("serve", "--wyoming", "tcp://0.0.0.0:10300", "--port", "0")
    assert result.status == 2
    assert "its protocol has no key" in result.stderr
    assert "--no-auth" in result.stderr
    ServeOptions(wyoming="tcp://127.0.0.1:10300").check_access(None)
    for key in (None, "secret"):  # which requests of HTTP need nevertheless
        ServeOptions(wyoming="tcp://0.0.0.0:10300", no_auth=True).check_access(key)
    with pytest.raises(UsageError, match="exclude"):
        ServeOptions(wyoming="tcp://[::1]:1", no_auth=True).check_access("secret")


@pytest.mark.parametrize(
    "url", ["0.0.0.0:10300", "tcp://0.0.0.0", "tcp://:1", "tcp://a:b", "http://a:1"]
)
def test_what_is_no_address_of_wyoming(url: str) -> None:
    with pytest.raises(UsageError, match="no address for Wyoming"):
        ServeOptions(wyoming=url)


def test_a_key_in_the_environment_is_no_option_of_transcribe(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    assert cli("transcribe", SAMPLE, "--model", "demo").status == 0
    assert cli("serve", "--host", "0.0.0.0", "--port", "70000").stderr.startswith(
        "error: the port must be from 0 to 65535"
    )


def test_what_is_missing_is_said_in_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_NEEDED", ("starlette", "no_such_package"))
    result = cli("serve")
    assert result.status == 2
    assert result.stderr.splitlines() == [
        "error: serve needs no_such_package",
        "hint: pip install 'whisper-npu-cli[serve]'",
    ]


def test_other_commands_import_nothing_of_a_server() -> None:
    of_servers = ("starlette", "uvicorn", "python_multipart", "anyio", "wyoming")
    program = (
        "import sys; from whisper_npu_cli.cli.app import main; "
        f"sys.argv = ['whisper-npu', 'transcribe', {str(SAMPLE)!r}, '--model', 'demo', '--quiet']\n"
        "try: main()\nexcept SystemExit: print([m for m in sys.modules "
        f"if m.partition('.')[0] in {of_servers}])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
