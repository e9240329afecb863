"""Work of a stream, recorded once and replayed: a CUDA graph. The driver launches all of its kernels for little more than the price of one.

graph = record(gpu, stream, issue)     issue() puts work on the stream, which is noted and not done
graph.launch(stream)                   as often as wanted, with the same pointers
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from mlc.runtime.cuda.driver import Device, Held, call, library

_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads may go on with what they do


class Graph(Held):
    """An executable graph of the driver's."""

    def __init__(self, gpu: Device, handle: int):
        super().__init__(gpu)
        self._made = _Made(handle)

    def launch(self, stream: Any) -> None:
        call("cuGraphLaunch", self._made.handle, stream.handle)


class _Made:
    def __init__(self, handle: int):
        self.handle = handle
        self.destroy = library().cuGraphExecDestroy

    def __del__(self) -> None:
        self.destroy(self.handle)


def record(gpu: Device, stream: Any, issue: Callable[[], None]) -> Graph:
    """The context is current. Raises pycuda.driver.Error for work that cannot be recorded."""
    graph, made = ctypes.c_void_p(), ctypes.c_void_p()
    call("cuStreamBeginCapture_v2", stream.handle, _RELAXED)
    try:
        issue()
    except BaseException:
        library().cuStreamEndCapture(stream.handle, ctypes.byref(graph))  # the error is the one to tell
        raise
    call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
    try:
        call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, 0)
    finally:
        call("cuGraphDestroy", graph)
    assert made.value is not None
    return Graph(gpu, made.value)
