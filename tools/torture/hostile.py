"""Checkpoints that a stranger made to run code, to read other files, or to have no end."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.support.bad_checkpoints import FC1, edit_header, edit_json, write_good_checkpoint
from tests.support.formats import call, dict_of, text, tuple_of, whole, write_archive
from whisper_npu_cli.checkpoints.huggingface import INDEX_FILE, PYTORCH_FILE, WEIGHTS_FILE
from whisper_npu_cli.dims import ModelDims

MARKER = "executed"  # a file that code of a stranger would make
SECRET = "secret.safetensors"  # a file beside the checkpoint's folder, which is not for it
_DEEP = 100_000
_HUGE = (1 << 31, 1 << 62, 10**30)

Maker = Callable[[Path], Path]  # writes it in an empty folder and returns what is to be opened


def _good(folder: Path) -> Path:
    path = folder / "model"
    write_good_checkpoint(path)
    return path


def _code(folder: Path) -> bytes:
    """Return a pickle that makes a file where it is run."""
    return call("os", "system", tuple_of(text(f"touch {folder / MARKER}")))


def _pickle(*, in_folder: bool) -> Maker:
    def make(folder: Path) -> Path:
        path = _good(folder) / PYTORCH_FILE if in_folder else folder / "model.pt"
        (path.parent / WEIGHTS_FILE).unlink(missing_ok=True)
        write_archive(path, _code(folder), {})
        return path.parent if in_folder else path

    return make


def _bare_pickle(folder: Path) -> Path:
    path = _good(folder)
    (path / WEIGHTS_FILE).unlink()
    (path / PYTORCH_FILE).write_bytes(b"\x80\x02" + _code(folder) + b".")
    return path


def _doubled(n: int) -> bytes:
    """Return a pickle of a tuple in a tuple, twice each: 2^n values in some bytes a level."""
    doubled = b")q\0"
    for _ in range(n):
        doubled += b"h\0h\0\x86q\0"
    return doubled


def _doubling(where: str) -> Maker:
    def make(folder: Path) -> Path:
        value = _doubled(60)
        if where == "dims":
            numbers = {field.name: whole(1) for field in fields(ModelDims)}
            dims = dict_of(numbers | {"n_mels": value})
            value = dict_of({"dims": dims, "model_state_dict": b"}"})
        elif where == "names":
            value = b"}" + value + whole(1) + b"s"
        elif where == "function":
            value = value + b")R"
        write_archive(folder / "model.pt", value, {})
        return folder / "model.pt"

    return make


def _archive_bomb(folder: Path) -> Path:
    """Write an archive of 250 kB whose pickle has 256 MB."""
    path = folder / "model.pt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as file,
    ):
        for _ in range(256):
            file.write(bytes(1 << 20))
    return path


def _index(name: str) -> Maker:
    """Let an index name a file outside."""

    def make(folder: Path) -> Path:
        path = _good(folder)
        shutil.move(path / WEIGHTS_FILE, folder / SECRET)
        shard = name.format(folder=folder)
        (path / INDEX_FILE).write_text(json.dumps({"weight_map": {FC1: shard}}))
        return path

    return make


def _link(name: str, target: str) -> Maker:
    def make(folder: Path) -> Path:
        path = _good(folder)
        (path / name).unlink()
        (path / name).symlink_to(target)
        return path

    return make


def _pipe(name: str) -> Maker:
    def make(folder: Path) -> Path:
        path = _good(folder)
        (path / name).unlink()
        os.mkfifo(path / name)
        return path

    return make


def _text(name: str, content: str) -> Maker:
    def make(folder: Path) -> Path:
        path = _good(folder)
        if name == INDEX_FILE:
            (path / WEIGHTS_FILE).unlink()
        (path / name).write_text(content)
        return path

    return make


def _nested_header(folder: Path) -> Path:
    path = _good(folder)
    header = b"[" * _DEEP
    (path / WEIGHTS_FILE).write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def _config(**changes: Any) -> Maker:
    def make(folder: Path) -> Path:
        edit_json(_good(folder) / "config.json", **changes)
        return folder / "model"

    return make


def _header(**changes: Any) -> Maker:
    def make(folder: Path) -> Path:
        edit_header(_good(folder) / WEIGHTS_FILE, lambda header: header[FC1].update(changes))
        return folder / "model"

    return make


def _added_token(**changes: Any) -> Maker:
    def make(folder: Path) -> Path:
        file = _good(folder) / "tokenizer.json"
        content = json.loads(file.read_text())
        content["added_tokens"][0].update(changes)
        file.write_text(json.dumps(content))
        return folder / "model"

    return make


def _slow_pattern(folder: Path) -> Path:
    """Let the tokenizer split by a pattern that takes for ever on some texts."""
    file = _good(folder) / "tokenizer.json"
    content = json.loads(file.read_text())
    content["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(.*)*(.*)*(.*)*(.*)*x"},
        "behavior": "Isolated",
        "invert": False,
    }
    file.write_text(json.dumps(content))
    return folder / "model"


_JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", INDEX_FILE)

HOSTILE: dict[str, Maker] = {
    "code in a .pt": _pickle(in_folder=False),
    "code in pytorch_model.bin": _pickle(in_folder=True),
    "code in a pickle without an archive": _bare_pickle,
    **{
        f"2^60 values as {where}": _doubling(where)
        for where in ("dims", "names", "function", "all")
    },
    "an archive bomb": _archive_bomb,
    "an index that names a file above": _index(f"../{SECRET}"),
    "an index that names a file by its whole path": _index(f"{{folder}}/{SECRET}"),
    "weights that are a link to /etc/passwd": _link(WEIGHTS_FILE, "/etc/passwd"),
    "weights that are a link to /dev/zero": _link(WEIGHTS_FILE, "/dev/zero"),
    **{f"{name} that is a link to /dev/zero": _link(name, "/dev/zero") for name in _JSON_FILES[:3]},
    **{f"{name} that is a pipe": _pipe(name) for name in (*_JSON_FILES[:3], WEIGHTS_FILE)},
    **{f"{name} of {_DEEP} brackets": _text(name, "[" * _DEEP) for name in _JSON_FILES},
    **{f"{name} of {_DEEP} objects": _text(name, '{"a":' * _DEEP) for name in _JSON_FILES},
    "weights with a header of brackets": _nested_header,
    **{
        f"config.json with {key} of {n:.0e}": _config(**{key: n})
        for n in _HUGE
        for key in ("d_model", "decoder_layers", "vocab_size", "max_target_positions")
    },
    **{f"a tensor of shape {n:.0e}": _header(shape=[n, 1 << 62]) for n in _HUGE},
    "a tensor of 10^5 dimensions": _header(shape=[1] * _DEEP),
    "a tensor that begins behind the end": _header(data_offsets=[1 << 62, (1 << 62) + 65536]),
    **{f"a special token {n}": _added_token(id=n) for n in (-1, 1 << 31, 1 << 62, 10**30, True)},
    "a special token of 10 MB": _added_token(content="a" * 10_000_000),
    "a pattern that takes for ever": _slow_pattern,
}
