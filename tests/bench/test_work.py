from __future__ import annotations

import pytest

from whisper_npu_cli.bench.work import Step, count_attention_flop, count_linear_flop
from whisper_npu_cli.checkpoints.checkpoint import expected_shapes
from whisper_npu_cli.checkpoints.random import random_dims


def test_encoder_of_base_is_87_gflop_and_its_cross_attention_keys_and_values_9() -> None:
    # 87.4 is the figure that others publish for base's encoder; 6 layers x 2 x 1500 x 512 x 512
    # multiply-adds are added for the decoder's keys and values.
    dims = random_dims("base")
    assert count_linear_flop(dims) + count_attention_flop(dims) == pytest.approx(
        87.4e9 + 9.44e9, rel=0.01
    )


@pytest.mark.parametrize("size", ["tiny", "base", "large-v3-turbo"])
def test_step_reads_every_weight_once(size: str) -> None:
    dims = random_dims(size)
    shapes = expected_shapes(dims)
    used = [
        rows * columns
        for name, (rows, *rest) in shapes.items()
        for columns in rest
        if name.startswith("model.decoder")
        and "embed_positions" not in name
        and not ("encoder_attn" in name and ("k_proj" in name or "v_proj" in name))
    ]
    assert Step(dims, n_windows=0, n_rows=0, n_positions=0).count_bytes() == sum(used)


def test_windows_and_rows_add_their_keys_and_values() -> None:
    dims = random_dims("base")
    one, nine = (Step(dims, n, 9, 50, cross_bytes=4).count_bytes() for n in (1, 9))
    assert nine - one == 8 * 2 * 6 * 1500 * 512 * 4
    short, long = (Step(dims, 1, 5, n).count_bytes() for n in (50, 60))
    assert long - short == 5 * 10 * 2 * 6 * 512 * 4


def test_each_row_multiplies_with_every_weight_and_its_window() -> None:
    dims = random_dims("base")
    one, five = (Step(dims, 1, n, 50).count_multiplications() for n in (1, 5))
    assert five == 5 * one
    assert one == Step(dims, 1, 0, 0).count_bytes()  # of which each has a byte
