"""For tests: CUDA C runs on a CPU.

    module = HostModule(text)                                     # compiled by g++, as it stands
    module.launch("saxpy", 4, 256, [x, y, np.float32(2), n])      # on NumPy arrays, which it updates

A block's threads run in turns, in an order that the test chooses; barriers, warps, asynchronous copies and tensor cores are the real
ones' in what they compute and in whom they wait for.
"""

from mlc.testing.host_module import ORDERS, HostModule, KernelFault, Order

__all__ = ["ORDERS", "HostModule", "KernelFault", "Order"]
