"""Which addresses are taken, and which only with a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_npu_cli.cluster.settings import TLS_FILES, ClusterOptions
from whisper_npu_cli.errors import UsageError


@pytest.mark.parametrize(
    "address", ["local", "127.0.0.1:8786", "tcp://[::1]:8786", "localhost:1", "tls://10.0.0.1:8786"]
)
def test_what_others_cannot_use_is_taken(address: str) -> None:
    assert ClusterOptions(cluster=address).cluster == address


@pytest.mark.parametrize("address", ["10.0.0.1:8786", "tcp://npu-1:8786", "tcp://0.0.0.0:8786"])
def test_what_others_could_use_needs_a_word(address: str) -> None:
    with pytest.raises(UsageError, match="without TLS") as caught:
        ClusterOptions(cluster=address)
    assert "tls://" in str(caught.value.hint)
    assert ClusterOptions(cluster=address, insecure=True).insecure


@pytest.mark.parametrize("address", ["npu-1", "ucx://npu-1:8786", "http://npu-1:8787", "tcp://:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a scheduler"):
        ClusterOptions(cluster=address, insecure=True)


def test_certificates_are_for_tls_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are for a cluster at an address"):
        ClusterOptions(cluster_tls=tmp_path)
    with pytest.raises(UsageError, match="is without TLS"):
        ClusterOptions(cluster="tcp://127.0.0.1:8786", cluster_tls=tmp_path)
    options = ClusterOptions(cluster="tls://npu-1:8786", cluster_tls=tmp_path)
    with pytest.raises(UsageError, match=r"ca\.pem: no such file"):
        options.list_tls_files()
    for name in TLS_FILES:
        (tmp_path / name).touch()
    assert [file.name for file in options.list_tls_files()] == list(TLS_FILES)


def test_what_has_no_effect_is_refused() -> None:
    for cluster in (None, "local"):
        with pytest.raises(UsageError, match="--ship are for a cluster at an address"):
            ClusterOptions(cluster=cluster, ship=True)
    with pytest.raises(UsageError, match="--split-minutes is for a cluster"):
        ClusterOptions(split_minutes=30)
    assert ClusterOptions(cluster="local", split_minutes=30).longest_s == 1800


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5"])
def test_what_is_no_shard_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="a shard is K/N"):
        ClusterOptions(shard=shard)
