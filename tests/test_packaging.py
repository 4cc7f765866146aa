"""The container's lock has what the package needs, each by its hash."""

from __future__ import annotations

import re

from tests.support.places import ROOT

NAME = re.compile(r"^([A-Za-z0-9._-]+)", re.MULTILINE)


def spell(name: str) -> str:
    """Return a name as the index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_has_every_dependency_and_a_hash_of_each() -> None:
    lock = (ROOT / "packaging" / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert all(re.match(r"\S+==\S+ \\\n", one) and "--hash=sha256:" in one for one in entries)
    locked = {spell(one.partition("==")[0]) for one in entries}
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = [
        re.search(rf"^{key} = \[(.*?)\]$", text, re.M | re.S) for key in ("dependencies", "serve")
    ]
    needed = [
        spell(found[1])
        for one in lists
        if one
        for line in re.findall(r'"([^"]+)"', one[1])
        if "python_version <" not in line and (found := NAME.match(line))
    ]
    assert len(needed) > 10
    assert set(needed) <= locked
