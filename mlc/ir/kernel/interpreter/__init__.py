"""The reference interpreter of kernels and of planned programs: everything below the graph, on NumPy memory.

    run_kernel(kernel, {"A": a, "B": b, "D": d})     at any stage: structured ops, tiles, views, vector code
    run_program(module, inputs)                      @main with its buffers, and the kernels that it calls

It is slow and strict: accesses outside a view, views that are not what their type says, memory read before it is written (NaN in the
result), and, on request, tiles that touch each other's elements are found here, before machine code hides them.
"""

from mlc.ir.kernel.interpreter.main_function import run_program
from mlc.ir.kernel.interpreter.memory import Counters
from mlc.ir.kernel.interpreter.one_kernel import run_kernel

__all__ = ["Counters", "run_kernel", "run_program"]
