"""What is kept of a whole compilation: an artifact, and in place of its weights how they are made of the source's.

A weight that is the source's, moved and packed, is a WeightRow: no byte of it is kept. Numbers that were computed (a normalisation folded
into a convolution) are kept, for computing them anew takes the IR.

    head       one line of JSON: plan, target, report, rows, files, sizes of the parts
    parts      objects, the portable module, the arrays that are kept
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from typing import Any, cast

import numpy as np

from mlc.ir import work
from mlc.ir.dtypes import TABLE
from mlc.ir.kernel.pack import Pack
from mlc.ir.kernel.plan import Plan
from mlc.ir.processors import available_cpus
from mlc.ir.slabs import Slabs
from mlc.ir.weight_origin import Move, Origin, Place
from mlc.runtime.artifact import Artifact, WeightsToMake
from mlc.runtime.loaders import LOADERS

FORMAT = 1
LARGEST = (
    256 << 20
)  # bytes of the weights of one record: those of a large convolutional network, transformed for fewer products, take less


@dataclass(frozen=True)
class WeightRow:
    """A weight of the plan.

    key      as kernels know it, of this dtype and shape
    roots    the source's weights that it depends on
    origin   how it is made of one of them, if by moving elements alone
    source   dtype and shape of that one
    place    where that lies, if in a file of the source
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    roots: tuple[str, ...] = ()
    origin: Origin | None = None
    source: tuple[str, tuple[int, ...]] | None = None
    place: Place | None = None

    def mapped(self) -> np.ndarray:
        """The weight of the source, in its file."""
        assert self.source is not None and self.place is not None
        dtype, shape = TABLE[self.source[0]].numpy, self.source[1]
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.asarray(np.memmap(self.place.file, dtype, "r", self.place.offset, shape))


@dataclass(frozen=True)
class CompilationRecord:
    """`artifact` has no weights; `kept` are those that have no origin, by key. `files` are those of the source with their SHA-256, `looked_at` its
    weights whose numbers have become a part of the code, `forms` what its outputs are that are no tensors, `objects` how many there were
    to be compiled."""

    artifact: Artifact
    rows: Sequence[WeightRow]
    kept: Mapping[str, np.ndarray]
    files: Mapping[str, str]
    looked_at: Sequence[str] = ()
    forms: Sequence[Any] | None = None
    objects: int = 0
    slabs: Slabs = field(default_factory=Slabs)

    def weights(self) -> dict[str, np.ndarray]:
        """All weights of a source whose weights lie in files; several at a time, since NumPy copies without Python's lock."""
        with ThreadPoolExecutor(available_cpus(), "mlc weights") as workers:
            arrays = workers.map(self._weight, self.rows)
            found = {}
            for number, row in enumerate(self.rows):
                work.at(row.key, number, len(self.rows))
                found[row.key] = next(arrays)
            return found

    def _weight(self, row: WeightRow) -> np.ndarray:
        return self.kept[row.key] if row.origin is None else row.origin.make(row.mapped(), self.slabs)

    def weights_to_make(self) -> WeightsToMake:
        """As `weights`, for one who writes them: each in memory of its own, given back behind it."""
        rows, apart = {row.key: row for row in self.rows}, Slabs(least=0)

        def make(key: str) -> np.ndarray:
            row = rows[key]
            return self.kept[key] if row.origin is None else row.origin.make(row.mapped(), apart)

        return WeightsToMake({row.key: (TABLE[row.dtype].numpy, row.shape) for row in self.rows}, make)

    def to_parts(self) -> list[bytes | memoryview]:
        """What from_bytes reads, of which the arrays that are kept are most: no copies of them."""
        artifact, target = self.artifact, self.artifact.target
        kept = [np.ascontiguousarray(self.kept[row.key]) for row in self.rows if row.origin is None]
        parts: list[Any] = [*artifact.objects, artifact.module_text.encode()]
        parts += [array.reshape(-1).view(np.uint8).data if array.size else b"" for array in kept]
        head = {
            "format": FORMAT,
            "plan": artifact.plan.to_json(),
            "target": {"kind": target.kind, **asdict(cast(Any, target))},
            "entry": artifact.entry,
            "names": list(artifact.names),
            "report": artifact.report,
            "rows": [_row_text(row) for row in self.rows],
            "files": dict(self.files),
            "looked_at": list(self.looked_at),
            "forms": self.forms,
            "objects": [self.objects, len(artifact.objects)],
            "sizes": [len(part) for part in parts],
        }
        return [json.dumps(head, default=str).encode(), b"\n", *parts]

    @classmethod
    def from_bytes(cls, content: bytes, threads: int | None = None) -> CompilationRecord:
        """Raises KeyError, TypeError, ValueError or MlcError for what to_parts did not give."""
        start = content.index(b"\n")
        head = json.loads(content[:start])
        if head["format"] != FORMAT:
            raise ValueError(f"the format is {head['format']}")
        view = memoryview(content)
        parts = [view[a:b] for a, b in pairwise(accumulate(head["sizes"], initial=start + 1))]
        objects, (number, count) = parts[: head["objects"][1]], head["objects"]
        rows = [_row_of(row) for row in head["rows"]]
        arrays = iter(parts[count + 1 :])
        kept = {
            row.key: np.frombuffer(next(arrays), TABLE[row.dtype].numpy).reshape(row.shape)
            for row in rows
            if row.origin is None
        }
        kind = head["target"].pop("kind")
        artifact = Artifact(
            Plan.from_json(head["plan"]),
            [bytes(part) for part in objects],
            {},
            LOADERS[kind].target(head["target"]),
            head["entry"],
            head["report"],
            bytes(parts[count]).decode(),
            threads,
            head["names"],
        )
        forms = head["forms"] and [(name, form, tuple(tensors)) for name, form, tensors in head["forms"]]
        return cls(artifact, rows, kept, head["files"], head["looked_at"], forms, number)


def _row_text(row: WeightRow) -> list[Any]:
    text = [row.key, row.dtype, row.shape, row.roots]
    if row.origin is None:
        return text
    how = row.origin.how
    packing = None if how is None else [how.shape, list(how.tiles.items()), how.order, how.lanes]
    return [*text, row.origin.key, row.origin.moves, packing, row.source, row.place]


def _row_of(text: Sequence[Any]) -> WeightRow:
    key, dtype, shape, roots, *made = text
    row = WeightRow(key, dtype, tuple(shape), tuple(roots))
    if not made:
        return row
    root, moves, packing, (kind, extents), place = made
    how = None
    if packing is not None:
        whole, tiles, order, lanes = packing
        how = Pack(tuple(whole), {axis: size for axis, size in tiles}, tuple(order), lanes)
    origin = Origin(root, tuple(Move(name, tuple(numbers)) for name, numbers in moves), how)
    where = None if place is None else Place(*place)
    return WeightRow(row.key, row.dtype, row.shape, row.roots, origin, (kind, tuple(extents)), where)
