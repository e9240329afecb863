"""What runs the calls of an executable: memory, weights and the launch, for one kind of machine.

    executable.py  the call: arguments, sizes, checks, outputs       cpu_machine.py  one kind of machine
    loaders.py     which kinds there are                             space.py                         where arrays lie

A call writes the addresses of inputs and outputs into a Workspace and has the machine run what it loaded. A machine with memory of its own
(`space.own`) gets the arrays themselves, in a WorkspaceApart, and makes the outputs. What it keeps for one set of sizes (a recorded
sequence of launches) it finds by the Binding, which is the same object for every call of these sizes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol

import numpy as np

from mlc.ir.kernel.target import Target
from mlc.runtime.arrays import Memory
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Binding
from mlc.runtime.space import Space

# Run the code at one set of sizes. The table is the binding's, or a copy for this call where the run counts sizes and writes them there.
Run = Callable[[Any, Binding, Any], None]


class Workspace:
    """What one call at a time uses: the array of pointers in host memory (inputs, outputs, one more for the machine), and the memory of the
    last outputs. Machines add what is theirs."""

    def __init__(self, inputs: int, outputs: int):
        self.io = (ctypes.c_void_p * (inputs + outputs + 1))()
        self.place = ctypes.addressof(self.io)
        self.outputs = [Memory(0)] * outputs

    @property
    def bytes(self) -> int:
        """What is kept here for the next call."""
        return sum(memory.bytes for memory in self.outputs)


class WorkspaceApart(Protocol):
    """A Workspace of a machine with memory of its own. A call is answer_where, take, run, leave."""

    def answer_where(self, given: Sequence[Any]) -> None:
        """Outputs lie in the machine's memory where one of the arrays that the caller gave does, else in that of the host."""

    def take(self, binding: Binding, arrays: Sequence[Any], outputs: list[Any], fresh: Sequence[int]) -> None:
        """The inputs of the next run, and its outputs; those whose numbers are in `fresh` are made, and put into the list."""

    def leave(self) -> None:
        """Let go of the arrays: they are the caller's."""


class Machine(Protocol):
    """The code of one executable, loaded.

    target   the machine that the code is for
    threads  the shares of a launch that run at once at most, each with scratch memory of its own
    grain    bytes that a share must touch to be worth it
    space    where kernels read and write
    weights  by key, as kernels read them
    """

    target: Target
    threads: int
    grain: int

    @property
    def space(self) -> Space: ...

    @property
    def weights(self) -> Mapping[str, np.ndarray]: ...

    def read(self, get: Callable[[str], np.ndarray]) -> None:
        """Take the weights anew. The next call sees them; calls that are under way go on with the old ones."""

    def run(self, workspace: Any, binding: Binding, table: Any) -> None:
        """See Run. Any number of Python threads may be in it, each with a workspace of its own."""

    def workspace(self) -> Any:
        """A new Workspace, with what the machine needs for one call at a time."""

    def arena(self, workspace: Any) -> np.ndarray:
        """The bytes of the arena after a call, where the offsets of the binding lead."""

    def timed(self) -> tuple[Run, Callable[[], Sequence[tuple[float, float]]]]:
        """A Run that takes times, and what gives them: nanoseconds and turns of each step of the plan, over all runs. Raises MlcError where
        the machine cannot."""


class Loader(Protocol):
    """Makes machines of one kind."""

    def target(self, facts: Mapping[str, Any]) -> Target:
        """The target that a package states, from the fields of its dataclass. Raises TypeError or ValueError for what is none."""

    def lacking(self) -> list[str]:
        """What this machine has to get before it runs code of the kind, as words for a message: compiling again would not help."""

    def load(self, artifact: Artifact, threads: int | None) -> Machine:
        """Raises TargetUnavailable where the code does not run on this machine, InternalError where it is no code."""

    def export_library(self, artifact: Artifact, path: str | PathLike[str], header: str | PathLike[str] | None) -> None:
        """Write a shared library, and its C header. Raises TargetUnavailable where there is none for this kind."""
