"""A cluster of this machine alone: what it leaves, and a worker that cannot begin."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from whisper_npu_cli.cluster import local
from whisper_npu_cli.cluster.local import start_local
from whisper_npu_cli.errors import ClusterError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_cluster_leaves_no_file(temporary: Path) -> None:
    with start_local("cpu") as cluster:
        assert len(cluster.workers) == 1
        assert [*temporary.rglob("*.lock")]  # Dask's, which it would leave
    assert not [*temporary.iterdir()]


def test_a_worker_that_cannot_begin_is_an_error_in_a_line(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("Nanny failed to start.")  # as Dask says it

    monkeypatch.setattr(local, "SpecCluster", fail)
    with pytest.raises(ClusterError, match="ended before it had begun"), start_local("cpu"):
        pass
    assert not [*temporary.iterdir()]
