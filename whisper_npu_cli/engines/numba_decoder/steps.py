"""The kernels of a step: which they are for a precision, and the names of its phases."""

from __future__ import annotations

from whisper_npu_cli.engines.numba_decoder.arrays import Tasks
from whisper_npu_cli.engines.numba_decoder.code import PACKAGE, Kernel, load_all
from whisper_npu_cli.engines.numba_decoder.threads import list_kernels as list_for_threads

_LAYERS, _PRODUCT = (Kernel(f"{PACKAGE}.forward:{name}") for name in ("run_layers", "run_product"))
_NORM, _ROUND, _PROJECT, _SELF_ATTEND, _CROSS_ATTEND_F32, _CROSS_ATTEND_INT8, _EMBED = (
    Kernel(f"{PACKAGE}.kernels:{name}")
    for name in (
        *("add_and_norm_row", "round_one_row", "project_block", "self_attend_head"),
        *("cross_attend_f32", "cross_attend_int8", "embed_row"),
    )
)


def list_phases(n_layer: int) -> list[str]:
    """Return the phases of `run_layers` in their order, under the names of the decoder's parts."""
    layer = [
        *("norms", "self-attention", "rounding", "self-attention out"),
        *("norms", "cross-attention", "rounding", "cross-attention out"),
        *("norms", "mlp in", "rounding", "mlp out"),
    ]
    return ["embedding", *layer * n_layer, "norms", "vocabulary"]


def choose_tasks(cross_kv: str) -> Tasks:
    """Return the kernels of a step over cross-attention keys and values in `cross_kv`."""
    return Tasks(
        layers=_LAYERS,
        product=_PRODUCT,
        embed=_EMBED,
        norm=_NORM,
        round=_ROUND,
        project=_PROJECT,
        self_attend=_SELF_ATTEND,
        cross_attend=_CROSS_ATTEND_INT8 if cross_kv == "int8" else _CROSS_ATTEND_F32,
    )


def list_step(cross_kv: str) -> list[Kernel]:
    """Return the kernels of a step, what takes longest to compile first.

    Of two processes, one compiles the attentions and products, which share functions, the other
    what calls them.
    """
    t = choose_tasks(cross_kv)
    first = (t.cross_attend, t.layers, t.self_attend, t.project)
    return [*first, t.norm, t.embed, t.product, t.round]


def load_tasks(cross_kv: str) -> Tasks:
    """Return the kernels of a step, loaded."""
    load_all([*list_step(cross_kv), *list_for_threads()])
    return choose_tasks(cross_kv)
