"""Between compilations and the records that are kept of them: what becomes of weights.

record_of(request, module, lowered, made)      on the way there: which weights are the source's own, moved and packed, and which were computed
derived_weights(record, module, text, lower)   on the way back, for a module: a store like that which compiling it would have made
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.compilation_cache import Request
from mlc.errors import InternalError
from mlc.ir.dtypes import BY_NUMPY
from mlc.ir.module import Module
from mlc.ir.weight_origin import Origin
from mlc.ir.weights import WeightStore
from mlc.provenance import source_digest
from mlc.runtime.compilation_record import CompilationRecord, WeightRow

if TYPE_CHECKING:
    from mlc.runtime.executable import Executable


def record_of(
    asked: Request, module: Module, lowered: Module, made: Executable, report: Mapping[str, Any], objects: int
) -> CompilationRecord:
    """What is kept of a compilation of `module`, whose source the request names."""
    files = {} if asked.file is None else _files(asked.file, asked.digest())
    artifact, store = made.artifact, lowered.weights
    rows = []
    for key in artifact.plan.weights:
        array, origin = artifact.weights[key], store.origin(key)
        row = WeightRow(key, BY_NUMPY[array.dtype], tuple(array.shape), tuple(store.roots([key])))
        shape, dtype = store.type_of(origin.key)
        place = store.place_of(origin.key)
        if asked.text is not None and origin.key in module.weights:
            row = replace(row, origin=origin, source=(dtype, shape))
        elif place is not None and place.file in files:
            row = replace(row, origin=origin, source=(dtype, shape), place=place)
        rows.append(row)
    return CompilationRecord(
        replace(artifact, weights={}, report=dict(report)),
        rows,
        {row.key: artifact.weights[row.key] for row in rows if row.origin is None},
        files,
        store.roots(store.looked_at()),
        None if module.forms is None else [(form.name, form.kind, form.tensors) for form in module.forms],
        objects,
    )


def _files(file: str, digest: str | None) -> dict[str, str]:
    """The files of an ONNX model, each with its digest."""
    from mlc.frontends.onnx.reader import external_files, read

    beside = {str(path.resolve()): source_digest(path) for path in external_files(read(file))}
    return {file: str(digest), **{name: str(wait()) for name, wait in beside.items()}}


def derived_weights(
    record: CompilationRecord, module: Module, text: str, lower: Callable[[Module], Module]
) -> WeightStore:
    """The store of a module of this text with the weights of a plan in it, made of its own. Those whose numbers were computed are those of the
    record, until a weight that they depend on is replaced: then `lower` computes them anew, from what the text says."""
    store = module.weights.branch()

    @cache
    def lowered() -> WeightStore:
        again = Module.parse(text, module.weights.branch())
        return lower(again).weights

    def computed(key: str) -> np.ndarray:
        return lowered().get(key)

    def moved(origin: Origin) -> np.ndarray:
        return origin.make(store.get(origin.key), store.slabs)

    for row in record.rows:
        if row.key in store:  # the module's own, packed already if it was lowered
            continue
        if row.origin is not None:
            key = store.add_lazy(row.key, row.shape, row.dtype, partial(moved, row.origin), [row.origin.key])
        else:
            key = store.add(record.kept[row.key], row.key)
            if row.roots != (key,):
                store.derive(key, partial(computed, key), row.roots)
        if key != row.key:
            raise InternalError(f"the weight '{row.key}' of a compilation from the cache is called '{key}'")
    store.look_at(record.looked_at)
    return store
