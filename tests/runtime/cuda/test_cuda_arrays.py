"""Arrays that lie on a GPU go in and out without copies; those that would need one are refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.ir.dtypes import TABLE
from mlc.runtime.artifact import Artifact
from mlc.runtime.cuda import capsule
from mlc.runtime.cuda.device_arrays import DeviceArray, DeviceSpace, to_device
from mlc.runtime.executable import Executable
from tests.runtime.cuda import cuda_programs
from tests.runtime.cuda.stand_in import StandIn

Run = Callable[[Artifact], Executable]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class ByInterface:
    """Another library's array, which has __cuda_array_interface__ alone."""

    def __init__(self, array: DeviceArray, **changed: Any):
        self.array = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changed}


class ByDlpack:
    """Another library's array, which has DLPack alone."""

    def __init__(self, array: DeviceArray, device: tuple[int, int] | None = None):
        self.array, self.device = array, device
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device or self.array.__dlpack_device__()

    def __dlpack__(self, stream: Any = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


def copies(driver: StandIn) -> int:
    return sum(driver.bytes(f"cuMemcpy{way}{how}") for way in ("HtoD", "DtoH", "DtoD") for how in ("", "Async"))


@pytest.mark.parametrize("wrapped", [lambda x: x, ByInterface, ByDlpack])
def test_arrays_of_other_libraries_are_read_where_they_lie(run: Run, driver: StandIn, wrapped: Callable) -> None:
    exe, x = run(cuda_programs.two_steps()), numbers(90)
    given = wrapped(to_device(x))
    exe(given)  # uploads the weights
    before = copies(driver)
    y = exe(given)
    assert type(y) is DeviceArray and copies(driver) == before
    np.testing.assert_array_equal(y.numpy(), cuda_programs.expected(x))


def test_work_of_the_producer_is_waited_for(run: Run, driver: StandIn) -> None:
    exe, x = run(cuda_programs.two_steps()), ByDlpack(to_device(numbers(5)))
    exe(x)
    assert x.streams == [1]  # has the producer's work come before the default stream's, which ours waits for
    assert driver.count("cuStreamWaitEvent") == 1
    stream = DeviceSpace().gpu  # a stream of the producer's own, by the interface
    with stream.active:
        import pycuda.driver as cu

        handle = cu.Stream(0)
        before = driver.count("cuStreamSynchronize")
        exe(ByInterface(x.array, stream=int(handle.handle)))
        assert driver.count("cuStreamSynchronize") == before + 2
        del handle


def test_what_is_handed_on_is_the_same_memory_and_lives_as_long_as_it_is_held(driver: StandIn) -> None:
    before = driver.allocations
    array = to_device(numbers(6, 2))
    found = capsule.borrow(array.__dlpack__())
    assert (found.place, found.shape, found.dtype, found.contiguous) == (array.place, (6, 2), np.float32, True)
    unused = array.__dlpack__()
    del array, unused
    gc.collect()
    assert driver.allocations == before + 1
    del found
    gc.collect()
    assert driver.allocations == before and capsule._out == {}


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if not row.storage])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 4)])
def test_every_dtype_and_shape_comes_back_as_it_was(driver: StandIn, name: str, shape: tuple[int, ...]) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(TABLE[name].numpy)
    array = to_device(values)
    assert (array.shape, array.dtype, array.nbytes, array.ndim) == (shape, values.dtype, values.nbytes, len(shape))
    np.testing.assert_array_equal(array.numpy(), values)
    found = capsule.borrow(array.__dlpack__())
    assert (found.shape, found.dtype) == (shape, values.dtype)


def test_an_array_on_the_gpu_is_not_read_by_accident(driver: StandIn) -> None:
    array = to_device(numbers(3))
    for read in (np.asarray, lambda x: np.add(x, 1), float):
        with pytest.raises(TypeError):
            read(array)
    with pytest.raises(BufferError, match="numpy"):
        array.__dlpack__(copy=True)
    with pytest.raises(BufferError):
        array.__dlpack__(dl_device=(1, 0))
    assert repr(array) == "<mlc.DeviceArray float32[3] on GPU 0>"
    bfloat = to_device(numbers(2).astype(TABLE["bf16"].numpy))
    assert not hasattr(bfloat, "__cuda_array_interface__")
    with pytest.raises(mlc.DTypeError, match="complex"):
        to_device(np.zeros(2, np.complex64))


def test_what_needs_a_copy_or_lies_elsewhere_is_refused(run: Run, driver: StandIn) -> None:
    exe, x = run(cuda_programs.two_steps()), to_device(numbers(8, 2))
    flat = to_device(numbers(8))

    def refused(value: Any, match: str, kind: type[Exception] = mlc.MlcError) -> None:
        with pytest.raises(kind, match=match):
            exe(value)

    refused(ByInterface(x, shape=(8,), strides=(8,)), "'x' does not lie row by row without gaps, and is not copied")
    refused(ByInterface(flat, typestr="<i4"), "takes float32, the array is int32", mlc.DTypeError)
    refused(ByInterface(x), "has 1 axes, the array has 2", mlc.ShapeError)
    refused(ByInterface(flat, mask=flat), "masked")
    refused(ByInterface(flat, data=(flat.place + 1, False)), "boundary of its elements")
    refused(ByInterface(flat, data=(64, False)), "0x40, which is no memory of a GPU")
    refused(ByInterface(flat, typestr="nonsense"), "cannot be read")
    refused(ByDlpack(flat, device=(2, 1)), "lies on GPU 1, and the executable runs on GPU 0")
    refused(ByDlpack(flat, device=(10, 0)), "cannot be read as an array")  # a GPU of another maker
    driver.move(flat.place, 3)
    refused(ByInterface(flat), "lies on GPU 3, and the executable runs on GPU 0")
    update = run(cuda_programs.update())
    read_only = ByInterface(to_device(numbers(4)), data=(to_device(numbers(4)).place, True))
    with pytest.raises(mlc.MlcError, match="read-only"):
        update(read_only, numbers(4))
    w = to_device(numbers(4))
    with pytest.raises(mlc.MlcError, match="'w' is updated in place, and shares memory with input 'g'"):
        update(w, w)
