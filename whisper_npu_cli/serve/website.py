"""The page at `/`: its files, and what a browser may do with them."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from whisper_npu_cli.checkpoints.languages import LANGUAGES

_PATH, _FILES_PATH = "/", "/page/"
_FOLDER = Path(__file__).parent / "page"
_INDEX = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_LANGUAGES = "<!-- languages -->"  # stands in the page for an option each
_HEADERS = {
    # Nothing from other hosts, nor to them; blob: is the recording that the person gave
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_page(path: str) -> bool:
    """Return whether a path is of the page, which asks for a key itself where one is wanted."""
    return path == _PATH or path.startswith(_FILES_PATH)


async def show(request: Request) -> Response:
    """Answer `/` and the files of the page."""
    name = request.path_params.get("name", _INDEX)
    if name not in _read_files():
        raise HTTPException(404)
    media_type = _MEDIA_TYPES[Path(name).suffix]
    return Response(_read_files()[name], headers=_HEADERS, media_type=media_type)


@cache
def _read_files() -> dict[str, str]:
    texts = {path.name: path.read_text(encoding="utf-8") for path in _FOLDER.iterdir()}
    texts[_INDEX] = texts[_INDEX].replace(_LANGUAGES, _list_languages())
    return texts


def _list_languages() -> str:
    names = sorted((name.title(), code) for code, name in LANGUAGES.items())
    return "\n".join(f'<option value="{code}">{escape(name)}</option>' for name, code in names)
