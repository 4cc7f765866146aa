"""What the compiled decoder works on: its weights, its caches and its intermediate results.

Named tuples of arrays, which kernels find in memory (`code.Packed`). Their types are in `kinds.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F32Array = NDArray[np.float32]
I8Array = NDArray[np.int8]


class Linear(NamedTuple):
    """One product y = (weight . x) * scale + bias for all layers, int8 rows with a scale each."""

    weight: I8Array  # (n_layer, n_blocks, n_in // 2, 2 * LANES), packed as in `products.py`
    scale: F32Array  # (n_layer, n_out)
    bias: F32Array  # (n_layer, n_out)
    limit: F32Array  # (n_layer,), largest activation code with which no int32 sum overflows
    with_gelu: bool = False  # whether GELU follows; a field, for numba specialises on literals


class Rounded(NamedTuple):
    """Activations as integers: codes * scale[:, None]."""

    codes: NDArray[np.int16]  # (n_x, n)
    scale: F32Array  # (n_x,)


class Norm(NamedTuple):
    """One LayerNorm for all layers."""

    gain: F32Array  # (n_layer, n_state)
    bias: F32Array  # (n_layer, n_state)


class Weights(NamedTuple):
    """All weights of a decoder; queries are already scaled by head_size ** -0.5."""

    vocabulary: Linear  # n_layer = 1; (n_vocab, n_state), also the token embedding
    columns: F32Array  # (n_state,), scale of the vocabulary's columns, also in `final_norm`
    positions: F32Array  # (n_text_ctx, n_state)
    self_norm: Norm
    self_qkv: Linear  # n_out = 3 * n_state: queries, keys, values
    self_out: Linear
    cross_norm: Norm
    cross_q: Linear
    cross_out: Linear
    mlp_norm: Norm
    fc1: Linear
    fc2: Linear
    final_norm: Norm  # n_layer = 1


class Caches(NamedTuple):
    """Cached keys and values.

    Those of self-attention are in slots. Row i of a step writes into slot i, so rows of a common
    past find it in one place, and a row that goes on from another one copies nothing: it has the
    slot of each of its positions.

    Cross-attention reads each window where it lies: `cross` has the addresses of its keys and
    values, f32 (n_layer, n_head, n_audio_ctx, head_size) or int8 and packed as in `products.py`,
    and of the scales of both (n_layer, n_head, head_size) f32. The scales of int8 are per channel:
    they fold into the query and into the result, so that the loops over positions read nothing but
    int8. n_padded is n_audio_ctx up to a multiple of LANES, which packed ones have, with zeros.
    """

    self_keys: F32Array  # (n_layer, n_head, n_slots, n_positions, head_size)
    self_values: F32Array  # the same
    one_slot: NDArray[np.int64]  # (n_audio_ctx,) zeros: an f32 window is a cache of one slot
    cross: NDArray[np.int64]  # (n_windows, 4), addresses
    n_audio_ctx: int
    n_padded: int


class Scratch(NamedTuple):
    """Intermediate results, allocated once; n_x here is the most rows that one call may process."""

    x: F32Array  # (n_x, n_state), the residual stream
    branch: F32Array  # (n_x, n_state), what the last product adds to it
    normed: F32Array  # (n_x, n_state)
    qkv: F32Array  # (n_x, 3 * n_state)
    attended: F32Array  # (n_x, n_state)
    mlp: F32Array  # (n_x, 4 * n_state)
    codes: NDArray[np.int16]  # (n_x, n_state), a product's input
    mlp_codes: NDArray[np.int16]  # (n_x, 4 * n_state)
    code_scale: F32Array  # (n_x,), scales of `codes` or `mlp_codes`
    queries: F32Array  # (n_head, n_x, head_size), of cross-attention
    scores: F32Array  # (n_head, n_x, max(n_padded, n_text_ctx))
    head_codes: NDArray[np.int16]  # (n_head, n_x, n_padded), cross-attention's input
    head_scale: F32Array  # (n_head, n_x)
    capture_index: NDArray[np.int64]  # (n_layer, n_head), a head's place in `captured`, or -1
    captured: F32Array  # (n_captured, n_x, n_audio_ctx), cross-attention weights of those heads
    team: NDArray[np.int64]  # what the threads share, see `team.py`


class Tasks(NamedTuple):
    """The kernels of a step, or their addresses."""

    layers: Any
    product: Any
    embed: Any
    norm: Any
    round: Any
    project: Any
    self_attend: Any
    cross_attend: Any
