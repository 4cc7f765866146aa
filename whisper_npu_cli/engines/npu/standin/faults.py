"""Faults that the stand-in commits on demand, so that each recovery can be tried from outside.

A plan is written as `kind@n`, several separated by commas: the fault strikes at command `n` of
the first worker process. A trailing `+` makes it last: it strikes every later command, and those
of later workers from their beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_npu_cli.environment import FAULTS_VARIABLE
from whisper_npu_cli.errors import UsageError

KINDS = {
    "no-device": "XRT enumerates no device",
    "no-context": "creating a hardware context is refused: six are in use",
    "bank": "a buffer is taken for one in the wrong bank: XRT warns and runs on a copy",
    "error": "the command ends in ERROR, later members of its run list in ABORT",
    "hang": "the command hangs until the driver resets the context after 2 s: TIMEOUT",
    "freeze": "the wait never returns",
    "die": "the process is killed",
    "zeros": "the command completes and its output is zero",
    "skip": "the command completes and writes nothing",
    "garbage": "the command completes with noise, like a stale instruction stream",
    "nan": "the command completes and its output is not a number",
    "chain": "of a run list, commands from number `n` on complete and write nothing",
    "suspend": "the device was suspended: the command takes 20 ms longer",
}


@dataclass(frozen=True)
class Fault:
    """One fault: `kind` of `KINDS`, striking at command `at`; `lasting` ones strike on."""

    kind: str
    at: int = 0
    lasting: bool = False

    def strikes(self, command: int) -> bool:
        """Say whether command number `command` is hit."""
        return command >= self.at if self.lasting else command == self.at


def parse_faults(plan: str, attempt: int) -> tuple[Fault, ...]:
    """Read a plan for worker number `attempt` (0 is the first); UsageError on an unknown kind."""
    faults = tuple(_parse(word.strip()) for word in plan.split(",") if word.strip())
    if attempt == 0:
        return faults
    return tuple(Fault(fault.kind, 0, lasting=True) for fault in faults if fault.lasting)


def _parse(word: str) -> Fault:
    kind, _, at = word.removesuffix("+").partition("@")
    if kind not in KINDS or not (at or "0").isdecimal():
        hint = f"write kind@command, with kind one of {', '.join(KINDS)}"
        raise UsageError(f"{FAULTS_VARIABLE}: {word!r} is not a fault", hint=hint)
    return Fault(kind, int(at or 0), word.endswith("+"))
