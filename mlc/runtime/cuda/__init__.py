"""Calls on NVIDIA GPUs, through pycuda.

    driver.py         the driver, a GPU and its primary context, errors in words
    device_memory.py  memory of the GPU, and pinned memory of the host
    device_arrays.py  DeviceArrays, with DLPack and __cuda_array_interface__ (capsule.py)
    device_work.py    the launches of a plan at one set of sizes
    device_walk.py    loops and branches of a plan, decided on the host
    staging.py        arrays of the host on their way to the GPU and back
    graph.py          work that is recorded once and replayed
    cuda_machine.py   the machine: code, weights, workspaces, calls

pycuda is imported, and the driver asked, when something runs for the first time: compiling, saving and loading need neither.
"""
