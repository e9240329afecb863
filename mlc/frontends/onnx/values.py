"""What the importer knows of an ONNX value: its type, where it comes from, and its contents as far as they are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import TypeProto
from onnx.helper import make_tensor_type_proto
from xdsl.ir import SSAValue

from mlc.errors import ShapeNote
from mlc.frontends.onnx import shapes
from mlc.frontends.onnx.element_types import ELEMENT_TYPES
from mlc.frontends.onnx.shapes import Entries
from mlc.frontends.onnx.table import Absent, Items
from mlc.frontends.onnx.tensor import Tensor
from mlc.ir.types import Shape, dtype_of, numpy_dtype, shape_of, shape_text


@dataclass
class Record:
    """A value of the ONNX graph. It becomes an op (`value`) when a handler takes it as data.

    origin    "graph input", "initializer", "node 4": for error tables
    tensor    an initializer or Constant, read on demand
    known     entries found by partial evaluation
    contents  the value given for a graph input, or computed from constants
    make      builds the ops of a known value whose entries cannot be spelled as one
    constant  nothing but constants went into it, so that its ops can be run at import
    made_of   what it is computed from; a graph input is made of its name
    items     the elements of a sequence, or an empty optional; dtype and shape mean nothing then
    broken    the node that makes it is unsupported (and reported); what depends on it is left out
    """

    name: str
    dtype: str
    shape: Shape
    origin: str
    value: SSAValue | None = None
    tensor: Tensor | None = None
    known: Entries | None = None
    contents: np.ndarray | None = None
    make: Callable[[], SSAValue] | None = None
    constant: bool = False
    made_of: tuple[Record | str | None, ...] = field(default=(), repr=False, compare=False)
    broken: bool = False
    items: Items | Absent | None = None

    @classmethod
    def of_value(
        cls, name: str, value: SSAValue, origin: str, constant: bool, made_of: tuple[Record | None, ...]
    ) -> Record:
        return cls(name, dtype_of(value), shape_of(value), origin, value=value, constant=constant, made_of=made_of)

    @classmethod
    def of_tensor(cls, tensor: Tensor, origin: str) -> Record:
        return cls(tensor.name, tensor.dtype, tensor.shape, origin, tensor=tensor, constant=True)

    @property
    def sources(self) -> tuple[str, ...]:
        """The graph inputs that decide its contents, each once. Found when asked for: kept in every record they would be as many as there are
        pairs of records and inputs."""
        found: dict[str, None] = {}
        seen: set[int] = set()
        waiting: list[Record | str | None] = [self]
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                found[part] = None
            elif part is not None and id(part) not in seen:
                seen.add(id(part))
                waiting += reversed(part.made_of)
        return tuple(found)

    @property
    def may_be_known(self) -> bool:
        """Whether asking for its entries can succeed at little cost."""
        if self.known is not None:
            return True
        size = self.size
        return self.constant and size is not None and size <= shapes.LARGEST

    @property
    def size(self) -> int | None:
        size = 1
        for extent in self.shape:
            if not isinstance(extent, int):
                return None
            size *= extent
        return size

    def array(self) -> np.ndarray | None:
        """Its contents where they are numbers at hand: read from the file, or evaluated entry by entry."""
        if self.contents is not None:
            return self.contents
        if self.tensor is not None:
            return self.tensor.load()
        if self.known is not None and self.known.is_constant:
            return np.array(self.known.entries.tolist(), numpy_dtype(self.dtype)).reshape(self.known.entries.shape)
        return None

    def note(self, role: str) -> ShapeNote:
        """Its line in the table of an error."""
        return ShapeNote(role, self.name, self.type_text(), self.origin)

    def type_text(self) -> str:
        return f"{self.dtype}{shape_text(self.shape)}"

    def type_proto(self) -> TypeProto:
        extents = [e if isinstance(e, int) else str(e) for e in self.shape]
        return make_tensor_type_proto(ELEMENT_TYPES[self.dtype], extents)
