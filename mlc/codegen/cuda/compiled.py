"""What a compiler makes of a file of CUDA C, and what `ptxas -v` says of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlc.codegen.cuda.launches import Resources
from mlc.errors import InternalError


@dataclass(frozen=True)
class Compiled:
    """The machine code of one file by what it is for (FileCode of launches.py), and what each of its functions takes on each architecture;
    by which compiler, with its version; whether it was `cached`."""

    code: Mapping[str, bytes]
    resources: Mapping[str, Mapping[str, Resources]]  # symbol -> architecture -> what it takes
    compiler: str = ""
    cached: bool = False


def refused(compiler: str, text: str, lines: Sequence[str]) -> InternalError:
    """The error of a compiler that does not take a generated text, which is kept to be looked at."""
    kept = Path(tempfile.mkdtemp(prefix="mlc-")) / "kernels.cu"
    kept.write_text(text)
    errors = [line for line in lines if "error" in line] or lines
    return InternalError(f"{compiler} refuses generated CUDA C ({kept}): {'; '.join(errors[:3])}")


_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def resources(log: str) -> dict[str, dict[str, Resources]]:
    """What `ptxas -v` says of each function, by architecture."""
    found: dict[str, dict[str, Resources]] = {}
    symbol, arch, stack, spills = "", "", 0, 0
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            symbol, arch = match.groups()
        elif match := _STACK.search(line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        elif (match := _USED.search(line)) and symbol:
            found.setdefault(symbol, {})[arch] = Resources(int(match[1]), spills, stack, int(match[2] or 0))
    return found
