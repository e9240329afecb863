"""A run of a plan with loops, branches or counts: the host walks it, and reads back from the GPU what decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlc.ir.kernel.places import Argument
from mlc.runtime.cuda.device_work import Launch, Move, Places, Worker
from mlc.runtime.cuda.driver import pycuda

ValueOf = Callable[[Argument], int]

_TYPES = {"i1": np.uint8, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "index": np.int64}


class Steering:
    """What mlc.runtime.steered.Walk asks of a machine, on one stream. `put` issues work on it; the context is current."""

    def __init__(self, worker: Worker, places: Places, stream: Any, put: Callable[[Launch | Move], None]):
        self.worker, self.places, self.stream, self.put = worker, places, stream, put

    def address(self, kind: str, number: int) -> int:
        return self.places.value((kind, number))

    def call(self, number: int, known: ValueOf) -> None:
        for launch in self.worker.launches(number, known):
            self.put(launch)

    def copy(self, number: int, known: ValueOf) -> None:
        copy = self.worker.plan.copies[number]
        bytes = known(Argument("size", copy.bytes))
        self.put(Move(("size", known(copy.target)), ("size", known(copy.source)), bytes, self.worker.copy))

    def load(self, address: int, type: str) -> int:
        self.stream.synchronize()
        element = np.zeros(1, _TYPES[type])
        pycuda().memcpy_dtoh(element, address)
        return int(element[0] != 0 if type == "i1" else element[0])

    def store(self, address: int, type: str, value: int) -> None:
        self.stream.synchronize()
        pycuda().memcpy_htod(address, np.array([value], _TYPES[type]))
