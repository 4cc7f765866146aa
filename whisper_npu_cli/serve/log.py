"""The server's log: lines of JSON on stderr, and a traceback where a fault is the program's own.

None has a word of a transcript, a prompt, or the name of a file. What cannot be written, on a disk
that is full, costs no answer.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any


def log(event: str, **content: Any) -> None:
    """Print a line."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    with suppress(OSError):
        print(json.dumps({"time": now, "event": event, **content}), file=sys.stderr, flush=True)


def log_fault(error: Exception) -> None:
    """Print where a fault of the program was."""
    with suppress(OSError):
        traceback.print_exception(error)
