"""The decoder on any CPU: encoded windows and tokens in, logits out, at memory speed.

Owns the int8 weights, the caches and the bookkeeping of rows; `forward.py` does the arithmetic.
Knows nothing of files, text or how tokens are chosen.

Its methods are called from one Python thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.base import CrossKV, EncodedWindow
from whisper_npu_cli.engines.numba_decoder.arrays import Caches, Rounded, Scratch
from whisper_npu_cli.engines.numba_decoder.code import PACKAGE, Kernel, Packed
from whisper_npu_cli.engines.numba_decoder.logits import list_kernels as list_passes
from whisper_npu_cli.engines.numba_decoder.packing import LANES
from whisper_npu_cli.engines.numba_decoder.steps import list_phases, list_step, load_tasks
from whisper_npu_cli.engines.numba_decoder.stored import load_quantized
from whisper_npu_cli.engines.numba_decoder.threads import BEGAN, make_team, run_team
from whisper_npu_cli.errors import CheckpointError
from whisper_npu_cli.options import EngineOptions

Array = NDArray[np.float32]

# Rows x positions of one pass of a prefill. Far more than the ~10 at which arithmetic, not
# memory, becomes the limit, and few enough for the activations to stay in the second-level cache.
PREFILL_SIZE = 64
# Positions that a cache begins with; then it doubles. A window of 30 s has some 100 tokens, the
# whole context takes 11 MB a row for whisper-base.
FEW_POSITIONS = 64

_QUANTIZE_CROSS = Kernel(f"{PACKAGE}.cross:quantize_cross")
_QUANTIZE_CROSS_BF16 = Kernel(f"{PACKAGE}.cross:quantize_cross_bf16")


class NumbaDecoder:
    """Whisper's text decoder: int8 weights, compiled steps, caches allocated once.

    `cross_kv` is the precision of the cached cross-attention keys and values.
    CheckpointError where the sizes of `checkpoint` do not suit the kernels.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        cross_kv: Literal["int8", "f32"] = "int8",
    ) -> None:
        self.name = "numba int8" if cross_kv == "int8" else "numba int8, cross-attention f32"
        self.dims = checkpoint.dims
        if self.dims.text_head_size % LANES:
            raise CheckpointError(
                f"{checkpoint.name}: attention heads of {self.dims.text_head_size} channels, which"
                f" is no multiple of {LANES}",
                hint="use --device reference",
            )
        self.weights = load_quantized(checkpoint)
        self._cross_dtype = np.dtype(np.int8 if cross_kv == "int8" else np.float32)
        self._heads = checkpoint.generation.alignment_heads
        self._n_padded = -(-self.dims.n_audio_ctx // LANES) * LANES
        self._one_slot = np.zeros(self.dims.n_audio_ctx, np.int64)
        self._allocate(n_slots=1, n_positions=FEW_POSITIONS)
        self.tasks = load_tasks(cross_kv)
        self.packed_tasks = Packed(tuple(task.address for task in self.tasks))
        self.packed_weights = Packed(self.weights)
        self.n_sessions = 0  # sessions started; only the last one may use the caches

    def cross_kv(self, window: EncodedWindow) -> CrossKV:
        """Quantise the window's cross-attention keys and values, or lay them out as they are."""
        dims = self.dims
        expected = (dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state)
        keys, values = window.cross_keys, window.cross_values
        if keys.shape != expected or values.shape != expected:
            raise ValueError(
                f"cross-attention keys and values of {keys.shape} and {values.shape},"
                f" expected {expected}"
            )
        kept = self._make_window()
        if self._cross_dtype == np.int8:
            quantize = _QUANTIZE_CROSS if keys.dtype == np.float32 else _QUANTIZE_CROSS_BF16
            scratch = _zeros(1 + dims.n_audio_ctx, dims.text_head_size)
            for transposed, x, codes, scale in (
                (False, keys, kept.keys, kept.key_scale),
                (True, values, kept.values, kept.value_scale),
            ):
                quantize(transposed, np.ascontiguousarray(x), codes, scale, scratch)
        else:
            wide = window.widen()
            heads = (*expected[:2], dims.n_text_head, dims.text_head_size)
            kept.keys[:] = wide.cross_keys.reshape(heads).transpose(0, 2, 1, 3)
            kept.values[:] = wide.cross_values.reshape(heads).transpose(0, 2, 1, 3)
        return kept

    def start(self, windows: Sequence[CrossKV], max_rows: int | None = None) -> NumbaSession:
        """Begin decoding `windows`, one row each; `max_rows` bounds later gathers.

        Ends the session before, takes over its caches, and enlarges them where they are too small.
        """
        n_slots = max(len(windows), max_rows or 0)
        if n_slots > self.logits.shape[0]:
            self._allocate(n_slots, self.self_keys.shape[3])
        self.n_sessions += 1
        return NumbaSession(self, windows, n_slots)

    def close(self) -> None:
        """End the session; memory goes with the decoder itself."""
        self.n_sessions += 1

    def make_caches(self, windows: Sequence[CrossKV]) -> Caches:
        """Return the caches of a session over `windows`, which must stay in memory meanwhile."""
        dims = self.dims
        shape, _ = self._cross_shapes
        addresses = []
        for w in windows:  # checked, for the kernels read whatever lies at an address
            is_ours = w.keys.shape == shape and w.keys.dtype == self._cross_dtype
            if not is_ours or w.key_scale is None or w.value_scale is None:
                raise ValueError("a window that is not of this decoder's cross_kv()")
            arrays = w.keys, w.values, w.key_scale, w.value_scale
            addresses.append([array.ctypes.data for array in arrays])
        cross = np.array(addresses, np.int64).reshape(-1, 4)
        sizes = dims.n_audio_ctx, self._n_padded
        return Caches(self.self_keys, self.self_values, self._one_slot, cross, *sizes)

    @property
    def scratch(self) -> Scratch:
        """What a pass keeps its intermediate results in."""
        return self._scratch

    @scratch.setter
    def scratch(self, scratch: Scratch) -> None:
        self._scratch, self.packed_scratch = scratch, Packed(scratch)

    @property
    def _cross_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of a window's keys and values, as `Caches` describes them."""
        dims, n_padded, head_size = self.dims, self._n_padded, self.dims.text_head_size
        heads = dims.n_text_layer, dims.n_text_head
        if self._cross_dtype == np.float32:
            return ((*heads, dims.n_audio_ctx, head_size),) * 2
        return (
            (*heads, n_padded // LANES, head_size // 2, 2 * LANES),
            (*heads, head_size // LANES, n_padded // 2, 2 * LANES),
        )

    def _make_window(self) -> CrossKV:
        """Return a window of zeros."""
        scales = self.dims.n_text_layer, self.dims.n_text_head, self.dims.text_head_size
        keys, values = (np.zeros(shape, self._cross_dtype) for shape in self._cross_shapes)
        return CrossKV(keys, values, np.ones(scales, np.float32), np.ones(scales, np.float32))

    def _allocate(self, n_slots: int, n_positions: int) -> None:
        """Allocate the arrays for `n_slots` rows of `n_positions` tokens."""
        dims, head_size = self.dims, self.dims.text_head_size
        n_layer, n_head, n_state = dims.n_text_layer, dims.n_text_head, dims.n_text_state
        n_x = max(PREFILL_SIZE, n_slots)
        self.scratch = Scratch(
            x=_zeros(n_x, n_state),
            branch=_zeros(n_x, n_state),
            normed=_zeros(n_x, n_state),
            qkv=_zeros(n_x, 3 * n_state),
            attended=_zeros(n_x, n_state),
            mlp=_zeros(n_x, 4 * n_state),
            queries=_zeros(n_head, n_x, head_size),
            scores=_zeros(n_head, n_x, max(self._n_padded, dims.n_text_ctx)),
            codes=np.zeros((n_x, n_state), np.int16),
            mlp_codes=np.zeros((n_x, 4 * n_state), np.int16),
            code_scale=_zeros(n_x),
            head_codes=np.zeros((n_head, n_x, self._n_padded), np.int16),
            head_scale=_zeros(n_head, n_x),
            capture_index=np.full((n_layer, n_head), -1),
            captured=_zeros(0, 0, dims.n_audio_ctx),
            team=make_team(),
        )
        self.logits = _zeros(n_slots, dims.n_vocab)
        self._allocate_positions(n_positions)

    def _allocate_positions(self, n_positions: int) -> None:
        """Allocate the self-attention caches, for `n_positions` tokens in each slot."""
        dims, n_slots = self.dims, self.logits.shape[0]
        n_positions = min(n_positions, dims.n_text_ctx)
        heads = dims.n_text_layer, dims.n_text_head
        self.self_keys, self.self_values = (
            _zeros(*heads, n_slots, n_positions, dims.text_head_size) for _ in range(2)
        )

    def lengthen(self) -> None:
        """Double the positions of the self-attention caches, up to the length of the context."""
        keys, values = self.self_keys, self.self_values
        n_positions = keys.shape[3]
        self._allocate_positions(2 * n_positions)
        self.self_keys[..., :n_positions, :] = keys
        self.self_values[..., :n_positions, :] = values

    @contextmanager
    def clocked(self) -> Iterator[Callable[[], dict[str, float]]]:
        """Clock the phases of each step meanwhile; the function gives those of the last one in ms.

        Phases of one name are added up; what a step does before the first and after the last one
        (starting threads, Python) is in none.
        """
        names, plain = list_phases(self.dims.n_text_layer), self.scratch
        team = make_team(n_times=len(names) + 1)
        self.scratch = plain._replace(team=team)

        def read() -> dict[str, float]:
            parts = dict.fromkeys(names, 0.0)
            for name, ns in zip(names, np.diff(team[BEGAN:]), strict=True):
                parts[name] += float(ns) / 1e6
            return parts

        yield read
        self.scratch = plain

    def align(self, window: CrossKV, tokens: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return logits (n_tokens, n_vocab) and the alignment heads' cross-attention weights.

        The weights have the shape (n_heads, n_tokens, n_audio_ctx). Ends the session before.
        """
        session, dims = self.start([window]), self.dims
        index = np.full((dims.n_text_layer, dims.n_text_head), -1)
        for i, head in enumerate(self._heads):
            index[head] = i
        captured = _zeros(len(self._heads), PREFILL_SIZE, dims.n_audio_ctx)
        plain = self.scratch
        self.scratch = plain._replace(capture_index=index, captured=captured)
        parts = []
        logits = _zeros(len(tokens), dims.n_vocab)
        for first in range(0, len(tokens), PREFILL_SIZE):
            fed = tokens[first : first + PREFILL_SIZE]
            logits[first : first + len(fed)] = session.prefill(fed[None], range(len(fed)))[0]
            parts.append(captured[:, : len(fed)].copy())
        self.scratch = plain
        return logits, np.concatenate(parts, axis=1)


def load(checkpoint: Checkpoint, options: EngineOptions) -> NumbaDecoder:
    """Load the decoder that works beside any encoder."""
    return NumbaDecoder(checkpoint, cross_kv=options.cross_kv)


def list_kernels(options: EngineOptions) -> list[Kernel]:
    """Return all that is compiled for a run with this decoder, what takes longest first."""
    return [*list_step(options.cross_kv), *list_passes(options), _QUANTIZE_CROSS]


def list_kernels_bf16(options: EngineOptions) -> list[Kernel]:
    """Return the same where the encoder's keys and values are bf16."""
    return [*list_step(options.cross_kv), *list_passes(options), _QUANTIZE_CROSS_BF16]


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def _make_rounded(*shape: int) -> Rounded:
    return Rounded(np.zeros(shape, np.int16), np.zeros(shape[:-1], np.float32))


class NumbaSession:
    """Rows of tokens being decoded.

    Row i attends to window `_row_windows[i]`, and to position t in slot `_slots[i, t]`.
    """

    def __init__(self, decoder: NumbaDecoder, windows: Sequence[CrossKV], n_slots: int) -> None:
        self._decoder = decoder
        self._number = decoder.n_sessions
        self._windows = tuple(windows)  # kept: the caches hold addresses of their arrays
        self._caches = Packed(decoder.make_caches(windows))
        self._row_windows = np.arange(len(windows))
        self._slots = np.zeros((len(windows), decoder.dims.n_text_ctx), np.int64)
        self._n_slots = n_slots
        self._length = 0  # positions cached, of every row

    def prefill(self, prompts: NDArray[np.int64], logits_at: Sequence[int]) -> Array:
        """Feed `prompts` (n_rows, n_prompt); return logits (n_rows, len(logits_at), n_vocab)."""
        n_rows, n_prompt = prompts.shape
        decoder = self._use(n_rows, n_prompt)
        n_new = max(1, PREFILL_SIZE // n_rows)
        normed = [
            self._forward(prompts[:, first : first + n_new], decoder.logits[:0]).copy()
            for first in range(0, n_prompt, n_new)
        ]
        chosen = np.concatenate(normed, axis=1)[:, list(logits_at)]
        logits = np.empty((n_rows, len(logits_at), decoder.dims.n_vocab), np.float32)
        vocabulary = decoder.weights.vocabulary
        x, out = (array.reshape(-1, array.shape[-1]) for array in (chosen, logits))
        team, rounded = decoder.scratch.team, _make_rounded(*x.shape)
        arguments = Packed(decoder.packed_tasks, team, vocabulary, x, rounded, out)
        run_team(team, decoder.tasks.product, arguments)
        return logits

    def step(self, tokens: NDArray[np.int64]) -> Array:
        """Feed one token a row (n_rows,); return a view of logits (n_rows, n_vocab)."""
        logits = self._use(len(tokens), 1).logits[: len(tokens)]
        self._forward(tokens[:, None], logits)
        return logits

    def _forward(self, tokens: NDArray[np.int64], logits: Array) -> Array:
        """Feed tokens (n_rows, n_new); return a view of the vocabulary product's input."""
        decoder = self._decoder
        end = self._length + tokens.shape[1]
        self._slots[:, self._length : end] = np.arange(len(tokens))[:, None]
        arguments = Packed(
            decoder.packed_tasks,
            np.array(tokens, np.int64, order="C"),
            decoder.packed_weights,
            self._caches,
            decoder.packed_scratch,
            self._row_windows,
            self._slots,
            self._length,
            logits,
        )
        run_team(decoder.scratch.team, decoder.tasks.layers, arguments)
        self._length = end
        return decoder.scratch.normed[: tokens.size].reshape(*tokens.shape, -1)

    def gather(self, rows: NDArray[np.int64]) -> None:
        """Make row i what row `rows[i]` was; ValueError beyond `max_rows`."""
        if len(rows) > self._n_slots:
            raise ValueError(f"{len(rows)} rows gathered, the session holds {self._n_slots}")
        self._use(len(self._slots), 0)
        self._row_windows, self._slots = self._row_windows[rows], self._slots[rows]

    def _use(self, n_rows: int, n_new: int) -> NumbaDecoder:
        """Check that the session can take `n_new` tokens for `n_rows` rows; return its decoder."""
        n_text_ctx = self._decoder.dims.n_text_ctx
        if self._decoder.n_sessions != self._number:
            raise ValueError("a later session has taken over the decoder's caches")
        if n_rows != len(self._slots):
            raise ValueError(f"tokens for {n_rows} rows, the session has {len(self._slots)}")
        if self._length + n_new > n_text_ctx:
            raise ValueError(f"the context of {n_text_ctx} tokens is full")
        while self._length + n_new > self._decoder.self_keys.shape[3]:
            self._decoder.lengthen()
            self._caches = Packed(self._decoder.make_caches(self._windows))
        return self._decoder
