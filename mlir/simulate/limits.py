"""What the array has, by tile and by descriptor: DesignError where a Program needs more.

The numbers are those of AIE2's target model and of the driver. IRON refuses some excesses; it lets
the others through, and the hardware does not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import prod

from mlir.simulate.iron import (
    NPU1,
    Buffer,
    DesignError,
    Handle,
    ObjectFifo,
    Tile,
    Worker,
    WorkerRuntimeBarrier,
    itemsize,
)
from mlir.simulate.runtime import Program, Transfer


@dataclass(frozen=True)
class Limit:
    """The resources of one kind of tile."""

    kind: str
    memory_bytes: int
    channels: int  # DMA channels per direction
    descriptors: int


SHIM = Limit("shim", 0, 2, 16)
MEMORY = Limit("memory tile", 512 * 1024, 6, 48)
CORE = Limit("core", 64 * 1024, 2, 16)
CORE_LOCKS = 16  # a memory tile's 64 cannot run out before its channels do
DESCRIPTORS_PER_PARITY = 24  # a memory tile's even channels reach half of them, the odd the rest
MAX_ARGUMENTS = 5  # bo0 to bo4 of every xclbin
WORD_BYTES = 4
MAX_DIMENSIONS = 4
MAX_WRAP = 1023  # words of the innermost two dimensions, unless all is one line
MAX_REPEAT = 64  # size of the outermost of four dimensions
MAX_STEP = 2**20  # words
QUEUE_DEPTH = 4  # pushes on one channel that may wait; eight compile


def find_limit(tile: Tile) -> Limit:
    """Return the limits of a tile; DesignError where the device has none there."""
    if not (0 <= tile.col < NPU1.cols and 0 <= tile.row < NPU1.rows):
        raise DesignError(f"{tile}: npu1 has columns 0 to 3 and rows 0 to 5")
    return SHIM if tile.row == 0 else MEMORY if tile.row == 1 else CORE


def check(program: Program) -> None:
    """Check everything that does not depend on the running of the program."""
    if len(program.runtime.data) > MAX_ARGUMENTS:
        raise DesignError(f"sequence: {len(program.runtime.data)} buffers, at most {MAX_ARGUMENTS}")
    fifos = program.find_fifos()
    for fifo in fifos:
        _check_ends(fifo)
    _check_workers(program.runtime.workers)
    _check_channels(fifos)
    _check_memory(program.runtime.workers, fifos)
    for step in program.runtime.steps:
        if isinstance(step, Transfer):
            check_tap(step)
    _check_shim_descriptors(program)


def _check_shim_descriptors(program: Program) -> None:
    """Count the descriptors that are in use until their group is finished."""
    in_use: dict[Tile, list[object]] = defaultdict(list)
    for step in program.runtime.steps:
        if isinstance(step, Transfer):
            in_use[step.tile].append(step.group)
            if len(in_use[step.tile]) > SHIM.descriptors:
                raise DesignError(
                    f"{step.tile}, fifo {step.handle.fifo.name}: more than {SHIM.descriptors} "
                    "descriptors in use"
                )
        elif step.kind == "finish":
            for groups in in_use.values():
                groups[:] = [group for group in groups if group is not step.what]


def _check_ends(fifo: ObjectFifo) -> None:
    if fifo.producer is None or not fifo.consumers:
        raise DesignError(
            f"fifo {fifo.name}: it has no {'consumer' * bool(fifo.producer) or 'producer'}"
        )
    for end in (fifo.producer, *fifo.consumers):
        if end.tile is None:
            raise DesignError(f"fifo {fifo.name}: an end is used by no worker and no sequence")
        if end.link is not None and find_limit(end.tile) is not MEMORY:
            raise DesignError(f"fifo {fifo.name}: {end.tile} is no memory tile")
    for end in (fifo.producer, *fifo.consumers):
        link = end.link
        if link is not None and link.whole is end:
            parts = zip(link.offsets, link.parts, strict=True)
            for offset, part in parts:
                if offset + part.fifo.size_bytes > fifo.size_bytes:
                    raise DesignError(f"fifo {part.fifo.name}: reaches beyond {fifo.name}")


def _check_workers(workers: list[Worker]) -> None:
    places = set()
    for worker in workers:
        if find_limit(worker.tile) is not CORE:
            raise DesignError(f"{worker.tile}: not a core")
        if worker.tile in places:
            raise DesignError(f"{worker.tile}: two workers")
        places.add(worker.tile)
        locks = 2 * len(worker.of(Handle)) + len(worker.of(WorkerRuntimeBarrier))
        if locks > CORE_LOCKS:
            raise DesignError(f"{worker.tile}: {locks} locks, at most {CORE_LOCKS}")


def _check_channels(fifos: list[ObjectFifo]) -> None:
    """Count DMA channels per tile and direction, and the descriptors that serve them."""
    ends = defaultdict(list)  # (tile, outgoing) -> handles
    for fifo in fifos:
        for end in (fifo.producer, *fifo.consumers):
            assert end is not None and end.tile is not None
            ends[end.tile, end.is_prod].append(end)
    descriptors: dict[tuple[Tile, int], int] = defaultdict(int)
    for (tile, outgoing), handles in ends.items():
        limit, way = find_limit(tile), "out" if outgoing else "in"
        if len(handles) > limit.channels:
            names = ", ".join(sorted(handle.fifo.name for handle in handles))
            raise DesignError(
                f"{tile}: {len(handles)} DMA channels {way}, a {limit.kind} has "
                f"{limit.channels} ({names})"
            )
        for channel, handle in enumerate(handles):
            descriptors[tile, channel % 2] += _count_descriptors(handle)
    for tile in {tile for tile, _ in descriptors}:
        limit = find_limit(tile)
        if limit is SHIM:
            continue  # its descriptors come and go with the sequence
        even, odd = descriptors[tile, 0], descriptors[tile, 1]
        if even + odd > limit.descriptors:
            raise DesignError(
                f"{tile}: {even + odd} descriptors, a {limit.kind} has {limit.descriptors}"
            )
        if limit is MEMORY and max(even, odd) > DESCRIPTORS_PER_PARITY:
            raise DesignError(
                f"{tile}: {max(even, odd)} descriptors for channels of one parity, "
                f"at most {DESCRIPTORS_PER_PARITY}"
            )


def _count_descriptors(handle: Handle) -> int:
    """Return the descriptors behind an end: one for each part of each buffer that it passes."""
    link = handle.link
    if link is None:
        return handle.depth
    return link.whole.depth * (len(link.parts) if link.whole is handle else 1)


def _check_memory(workers: list[Worker], fifos: list[ObjectFifo]) -> None:
    used = {worker.tile: map_memory(worker) for worker in workers}
    for fifo in fifos:
        for end in (fifo.producer, *fifo.consumers):
            assert end is not None and end.tile is not None
            if end.link is not None and end.link.whole is end:  # parts live in its buffers
                used.setdefault(end.tile, {})[fifo.name] = end.depth * fifo.size_bytes
    for tile, rows in used.items():
        total = sum(rows.values())
        if total > find_limit(tile).memory_bytes:
            table = ", ".join(f"{name} {size}" for name, size in rows.items())
            raise DesignError(
                f"{tile}: {total} bytes, a {find_limit(tile).kind} has "
                f"{find_limit(tile).memory_bytes} ({table})"
            )


def map_memory(worker: Worker) -> dict[str, int]:
    """Return where the bytes of a core go."""
    ends = worker.of(Handle)
    rows = {"stack": worker.stack_size}
    rows |= {buffer.name: buffer.size_bytes for buffer in worker.of(Buffer)}
    rows |= {end.fifo.name: end.depth * end.fifo.size_bytes for end in ends}
    return rows | {"positions in fifos": WORD_BYTES * len(ends)}  # kept by the dynamic lowering


def check_tap(transfer: Transfer) -> None:
    """Check a transfer against what a shim descriptor can express."""
    tap, name = transfer.tap, f"{transfer.tile}, fifo {transfer.handle.fifo.name}"
    width = itemsize(transfer.data.array_type)
    if find_limit(transfer.tile) is not SHIM:
        raise DesignError(f"{name}: a sequence moves data through shim tiles only")
    if len(tap.sizes) > MAX_DIMENSIONS:
        raise DesignError(f"{name}: {len(tap.sizes)} dimensions, at most {MAX_DIMENSIONS}")
    if width < WORD_BYTES and (tap.strides[-1] != 1 and tap.sizes[-1] > 1):
        raise DesignError(
            f"{name}: a DMA moves runs of 4 bytes; innermost stride {tap.strides[-1]}"
        )
    if any(x * width % WORD_BYTES for x in (tap.offset, tap.sizes[-1], *tap.strides[:-1])):
        raise DesignError(f"{name}: lengths, offsets and strides are multiples of 4 bytes")
    _check_steps(tap.sizes, tap.strides, width, name)
    last = tap.offset + sum((s - 1) * d for s, d in zip(tap.sizes, tap.strides, strict=True))
    if last >= tap.n_elements:
        raise DesignError(f"{name}: reaches element {last} of {tap.n_elements}")
    if prod(tap.sizes) * width % transfer.handle.fifo.size_bytes:
        raise DesignError(f"{name}: {prod(tap.sizes) * width} bytes are no whole elements")


def _check_steps(sizes: list[int], strides: list[int], width: int, name: str) -> None:
    used = [(s, d) for s, d in zip(sizes, strides, strict=True) if s > 1]
    if len(used) <= 1 and (not used or used[0][1] == 1):
        return  # one line, of any length
    for size in (sizes[-1] * width // WORD_BYTES, *sizes[-2:-1]):
        if size > MAX_WRAP:
            raise DesignError(f"{name}: wrap {size}, at most {MAX_WRAP} words")
    if len(sizes) == MAX_DIMENSIONS and sizes[0] > MAX_REPEAT:
        raise DesignError(f"{name}: outermost size {sizes[0]}, at most {MAX_REPEAT}")
    for size, stride in zip(sizes[1:], strides[1:], strict=True):
        if size > 1 and stride == 0:
            raise DesignError(f"{name}: stride 0 is for the outermost dimension")
    for stride in strides:
        if stride * width // WORD_BYTES > MAX_STEP:
            raise DesignError(f"{name}: step {stride * width // WORD_BYTES}, at most {MAX_STEP}")
