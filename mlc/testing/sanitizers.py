"""Checks of a kernel as it runs, by g++'s sanitizers, in a process of its own.

    check_races(module, "saxpy", 4, 256, [x, y, 2.0, n]).require_clean()       # ThreadSanitizer: a thread of a block is a thread to it
    check_memory(module, "saxpy", 4, 256, [x, y, 2.0, n]).require_clean()      # AddressSanitizer and UndefinedBehaviorSanitizer

Barriers order a block, __syncwarp a warp, an mbarrier those who arrive before those who wait; shuffles order nothing, as on a GPU. Blocks
count as ordered: what one reads of another is found by launches with blocks in another order, and by watching (accesses.py).
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlc.errors import MlcError
from mlc.testing import host_build
from mlc.testing.host_module import HostModule, KernelFault, Order, geometry, packed, require_kernel

Check = Literal["races", "memory"]

_KERNEL_FLAGS: dict[Check, tuple[str, ...]] = {
    "races": ("-O1", "-g", "-fsanitize=thread"),
    "memory": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
}
_RUNTIME_FLAGS: dict[Check, tuple[str, ...]] = {"races": ("-DMLC_RACE",), "memory": ()}
_OPTIONS = {
    "TSAN_OPTIONS": "halt_on_error=0 report_thread_leaks=0 exitcode=66 history_size=7",
    "ASAN_OPTIONS": "detect_leaks=0 exitcode=67",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
SECONDS = 120
_SUMMARY = re.compile(r"^finished: .*$", re.MULTILINE)


@dataclass(frozen=True)
class CheckReport:
    """What one run found.

    findings  a line each: what it is, and the lines of the text that take part
    summary   the program's last line, which says how far it came; empty where it did not come to its end
    output    all that was printed
    """

    check: Check
    kernel: str
    order: Order
    findings: tuple[str, ...]
    summary: str
    output: str

    @property
    def clean(self) -> bool:
        """A run that did not come to its end found nothing, and shows nothing either."""
        return not self.findings and bool(self.summary)

    def require_clean(self) -> None:
        """Raises KernelFault with the findings."""
        if not self.clean:
            found = self.findings or ("the check did not come to its end",)
            raise KernelFault(
                f"kernel '{self.kernel}': {self.check} ({self.order}): " + "; ".join(found), remedy=self.output[-3000:]
            )


def check_races(
    module: HostModule,
    kernel: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Any],
    *,
    shared: int = 0,
    order: Order = Order(),  # noqa: B008 (frozen)
) -> CheckReport:
    """Two threads of a block that touch the same memory, one of them writing, with nothing that orders them. Arguments as for
    HostModule.launch, without addresses; arrays are updated."""
    return _checked("races", module, kernel, grid, block, args, shared, order)


def check_memory(
    module: HostModule,
    kernel: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Any],
    *,
    shared: int = 0,
    order: Order = Order(),  # noqa: B008
) -> CheckReport:
    """Accesses outside of arrays, of shared memory and of a thread's own; vectors that are not aligned; integers that overflow. It stops at the
    first."""
    return _checked("memory", module, kernel, grid, block, args, shared, order)


def _checked(
    check: Check,
    module: HostModule,
    kernel: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Any],
    shared: int,
    order: Order,
) -> CheckReport:
    require_kernel(kernel, module.names)
    values = packed(kernel, module.parameters[kernel], args)
    content, places = _file(geometry(grid, block), shared, values, args)
    made = host_build.program(module.text, (*_KERNEL_FLAGS[check], *module.defines), _RUNTIME_FLAGS[check])
    program, file = host_build.placed(made, ""), host_build.placed(content, ".args")
    try:
        os.chmod(program, 0o700)
        # Sanitizers keep their books at fixed addresses, where a system that lays out memory at random may have put something.
        fixed = ["setarch", platform.machine(), "-R"] if shutil.which("setarch") else []
        command = [*fixed, program, file, kernel, *order.numbers]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | _OPTIONS,
            timeout=SECONDS,
            errors="replace",
        )
        with open(file, "rb") as written:
            result = written.read()
    except subprocess.TimeoutExpired:
        return CheckReport(check, kernel, order, (f"no end after {SECONDS} seconds",), "", "")
    finally:
        os.unlink(program)
        os.unlink(file)
    for array, place in places:
        if array.flags.writeable:
            array[...] = np.frombuffer(result, array.dtype, array.size, place).reshape(array.shape)
    summary = _SUMMARY.search(done.stdout)
    findings = tuple(dict.fromkeys(_findings(done.stderr)))
    if done.returncode and not findings:
        findings = (f"it ended with code {done.returncode}",)
    return CheckReport(check, kernel, order, findings, summary[0] if summary else "", done.stderr + done.stdout)


def _file(
    sizes: Sequence[int], shared: int, values: Sequence[Any], args: Sequence[Any]
) -> tuple[bytes, list[tuple[np.ndarray, int]]]:
    """What main.cpp reads, and where arrays lie in it."""
    content = bytearray(struct.pack("<6IQI", *sizes, shared, len(args)))
    places: list[tuple[np.ndarray, int]] = []
    seen: dict[int, int] = {}  # address -> number of the argument: an array that is given twice is one
    for number, (value, arg) in enumerate(zip(values, args, strict=True)):
        if not isinstance(arg, np.ndarray) or not arg.ndim:
            raw = bytes(value)
            if isinstance(value, ctypes.c_void_p):
                raise MlcError(f"argument {number} is an address", remedy="A check needs the array itself.")
            content += struct.pack("<IQ", 0, len(raw)) + raw
        elif arg.nbytes and arg.ctypes.data in seen:
            content += struct.pack("<IQ", 2, seen[arg.ctypes.data])
        else:
            seen[arg.ctypes.data] = number
            content += struct.pack("<IQ", 1, arg.nbytes)
            places.append((arg, len(content)))
            content += arg.tobytes()
    return bytes(content), places


# What sanitizers print -----------------------------------------------------------------------------------------------
_WARNING = re.compile(r"WARNING: ThreadSanitizer: ([^(\n]+)(.*?)(?:SUMMARY|={18})", re.DOTALL)
_ERROR = re.compile(r"ERROR: AddressSanitizer: ([\w-]+)(.*?)(?:SUMMARY|\Z)", re.DOTALL)
_UNDEFINED = re.compile(r"kernel\.cu:(\d+):\d+: runtime error: ([^\n]+)")
_LINE = re.compile(r"kernel\.cu:(\d+)")
_FAULT = re.compile(r"^fault: (.*)$", re.MULTILINE)


def _findings(output: str) -> list[str]:
    found = []
    for what, rest in _WARNING.findall(output):
        accesses = [part for part in rest.split("\n\n") if " of size " in part]
        lines = [match[1] for part in accesses if (match := _LINE.search(part))]
        found.append(f"{what.strip()} at lines {' and '.join(lines)}" if lines else what.strip())
    for what, rest in _ERROR.findall(output):
        line = _LINE.search(rest)
        found.append(f"{what} at line {line[1]}" if line else what)
    found += [f"{what} at line {line}" for line, what in _UNDEFINED.findall(output)]
    return found + _FAULT.findall(output)
