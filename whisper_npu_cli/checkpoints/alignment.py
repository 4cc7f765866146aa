"""The alignment heads of OpenAI's models, for files that do not tell them.

They are those heads of cross-attention that follow the audio in time (openai/whisper
`__init__.py`, `_ALIGNMENT_HEADS`, decoded).
"""

from __future__ import annotations

from pathlib import Path

from whisper_npu_cli.checkpoints.checkpoint import Head, choose_heads
from whisper_npu_cli.dims import ModelDims

# By name: for each layer the heads of it
ALIGNMENT_HEADS: dict[str, dict[int, tuple[int, ...]]] = {
    "tiny.en": {1: (0,), 2: (0, 5), 3: (0, 1, 2, 3, 4)},
    "tiny": {2: (2,), 3: (0, 2, 3, 4, 5)},
    "base.en": {3: (3,), 4: (7,), 5: (1, 5, 7)},
    "base": {3: (1,), 4: (2, 3, 7), 5: (1, 2, 4, 6)},
    "small.en": {
        6: (6,),
        7: (0, 3, 8),
        8: (2, 5, 7),
        9: (0, 4, 8, 10),
        10: (0, 1, 2, 3, 6, 11),
        11: (2, 4),
    },
    "small": {5: (3, 9), 8: (0, 4, 7, 8), 9: (0, 7, 9), 10: (5,)},
    "medium.en": {
        11: (4,),
        14: (1, 12, 14),
        15: (4,),
        16: (0, 4, 9),
        17: (12, 14),
        18: (7, 10, 15),
        20: (0, 3, 9, 14),
        21: (12,),
    },
    "medium": {13: (15,), 15: (4, 15), 16: (1,), 20: (0,), 23: (4,)},
    "large-v1": {9: (19,), 11: (2, 4, 17), 22: (7, 11, 17), 23: (2, 15)},
    "large-v2": {
        10: (12,),
        13: (17,),
        16: (11, 12, 13),
        17: (15, 16),
        18: (4, 11, 19),
        19: (11,),
        21: (2, 3),
        22: (3, 9, 12),
        23: (5, 7, 13),
        25: (5,),
        26: (1, 12),
        27: (15,),
    },
    "large-v3": {
        7: (0,),
        10: (17,),
        12: (18,),
        13: (12,),
        16: (1,),
        17: (14,),
        19: (11,),
        21: (4,),
        24: (1,),
        25: (6,),
    },
    "large-v3-turbo": {2: (4, 11), 3: (3, 6, 11, 14)},
}
# (n_vocab, encoder layers, decoder layers) -> name. Two models have those of LARGE.
_NAMES = {
    (51864, 4, 4): "tiny.en",
    (51865, 4, 4): "tiny",
    (51864, 6, 6): "base.en",
    (51865, 6, 6): "base",
    (51864, 12, 12): "small.en",
    (51865, 12, 12): "small",
    (51864, 24, 24): "medium.en",
    (51865, 24, 24): "medium",
    (51866, 32, 32): "large-v3",
    (51866, 32, 4): "large-v3-turbo",
}
_LARGE = (51865, 32, 32)


def find_alignment_heads(dims: ModelDims, path: Path) -> tuple[Head, ...]:
    """Return the heads of the model that has `dims`; all of the upper half if OpenAI's have not.

    large-v1 and large-v2 have equal dimensions: there the name of the file `path` decides, as
    openai-whisper and whisper.cpp call theirs.
    """
    architecture = (dims.n_vocab, dims.n_audio_layer, dims.n_text_layer)
    name = _NAMES.get(architecture, "")
    if architecture == _LARGE:
        name = next((n for n in ("large-v1", "large-v2") if n in path.name), "")
    heads = ALIGNMENT_HEADS.get(name, {})
    return choose_heads(((layer, head) for layer in heads for head in heads[layer]), dims)
