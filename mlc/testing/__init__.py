"""For tests: CUDA C runs on a CPU.

    module = HostModule(text)                                     # compiled by g++, as it stands
    module.launch("saxpy", 4, 256, [x, y, np.float32(2), n])      # on NumPy arrays, which it updates

A block's threads run in turns, in an order that the test chooses; barriers, warps, asynchronous copies and tensor cores are the real
ones' in what they compute and in whom they wait for. docs/cuda-on-cpu.md shows what is found that way, and what is not.
"""

from mlc.ir.kernel.address_maps import bank_ways, sectors
from mlc.testing.accesses import Accesses, watch
from mlc.testing.host_backend import on_host
from mlc.testing.host_build import CompileFault
from mlc.testing.host_module import ORDERS, HostModule, KernelFault, Order
from mlc.testing.launches_of_models import RecordedLaunch, recorded
from mlc.testing.sanitizers import CheckReport, check_memory, check_races

__all__ = [
    "ORDERS",
    "Accesses",
    "CheckReport",
    "CompileFault",
    "HostModule",
    "KernelFault",
    "Order",
    "RecordedLaunch",
    "bank_ways",
    "check_memory",
    "check_races",
    "on_host",
    "recorded",
    "sectors",
    "watch",
]
