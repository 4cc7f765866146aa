"""What a check of the doctor found: one row of its report."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAILED = "ok", "warning", "failed"
ABSENT = "absent"  # there is nothing to check, and that is no fault
SKIPPED = "skipped"  # cannot be told before an earlier check passes


@dataclass(frozen=True)
class Check:
    """One finding; `id` is stable, the rest is for people."""

    id: str
    status: str
    detail: str  # the evidence: what was seen, and where
    hint: str | None = None  # the fix
    cause: str | None = None  # why it is so, where that is known

    @property
    def passed(self) -> bool:
        """Whether the checks that depend on this one can be made."""
        return self.status in (OK, WARNING)


def fail(name: str, detail: str, cause: str, hint: str) -> Check:
    """Return a failed check that knows its cause and its fix."""
    return Check(name, FAILED, detail, hint, cause)


def warn(name: str, detail: str, cause: str, hint: str) -> Check:
    """Return what works, or may, and what to do if it does not."""
    return Check(name, WARNING, detail, hint, cause)
