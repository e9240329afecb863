"""Arrays in the memory of a GPU, and the space that an executable for one takes them from.

    y = exe(x)               y is a DeviceArray where x lies on the GPU: a torch.Tensor, a cupy.ndarray, a DeviceArray
    torch.from_dlpack(y)     the same memory; also cupy.asarray(y), by __cuda_array_interface__
    y.numpy()                a copy in host memory; nothing is ever copied there without being asked for

Work on an array is complete when a call returns it. Work that others still have under way on an input is waited for, by DLPack's protocol or
that of the interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir.dtypes import BY_NUMPY
from mlc.runtime.arrays import address as host_address
from mlc.runtime.arrays import as_array, as_updated
from mlc.runtime.cuda.capsule import CUDA_DEVICES, Borrowed, borrow, export
from mlc.runtime.cuda.device_memory import DeviceMemory
from mlc.runtime.cuda.driver import Device, call, device, pycuda
from mlc.runtime.dlpack import array_type

_LEGACY_STREAM = 1  # the default stream, as DLPack and __cuda_array_interface__ number streams


class DeviceArray:
    """A row-major array in the memory of a GPU. `block` owns the memory, `place` is the address.

    It has the shape, dtype, size and nbytes of a NumPy array; numpy() gives its values.
    """

    __slots__ = ("__weakref__", "block", "device", "dtype", "place", "shape")

    def __init__(self, gpu: Device, shape: Sequence[int], dtype: np.dtype, block: Any, place: int):
        self.device, self.shape, self.dtype = gpu, tuple(shape), dtype
        self.block, self.place = block, place

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<mlc.DeviceArray {self.dtype.name}{list(self.shape)} on GPU {self.device.ordinal}>"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def numpy(self) -> np.ndarray:
        """The values, copied to host memory."""
        found = np.ndarray(self.shape, self.dtype).view(array_type(self.dtype))
        if found.nbytes:
            gpu = self.device
            gpu.require_alive()
            with gpu.active:
                try:
                    pycuda().memcpy_dtoh(words(found), self.place)
                except pycuda().Error as error:
                    raise gpu.error(error, "reading an array") from error
        return found

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("the array lies on a GPU: array.numpy() copies it to host memory")

    # Other libraries -------------------------------------------------------------------------------------------------
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype.kind == "V":  # of ml_dtypes, which NumPy has no letters for
            raise AttributeError(f"__cuda_array_interface__ has no {self.dtype.name}: use DLPack")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.place if self.size else 0, False),
            "version": 3,
            "strides": None,
            "stream": None,  # nothing is under way
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA_DEVICES[0], self.device.ordinal

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """Raises BufferError for another device, or a copy."""
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("an array on a GPU is handed on where it is; array.numpy() copies it to host memory")
        return export(self, self.shape, self.dtype, self.place, self.device.ordinal)


def to_device(array: Any) -> DeviceArray:
    """A copy of a NumPy array, or of what becomes one, in the memory of the GPU. Raises TargetUnavailable where there is none, DTypeError for
    a dtype that kernels do not have."""
    gpu = device()
    values = np.asarray(array)
    if values.dtype not in BY_NUMPY:
        raise DTypeError(f"kernels have no {values.dtype.name}")
    space = DeviceSpace(gpu)
    made = space.array(values.shape, values.dtype, space.memory(values.nbytes))
    space.fill(made, values)
    return made


class DeviceSpace:
    """As mlc.runtime.space.Space has it. Values that lie in host memory stay there: a call copies them."""

    own = True

    def __init__(self, gpu: Device | None = None):
        self._gpu = gpu

    @property
    def gpu(self) -> Device:
        """Looked for on first use."""
        if self._gpu is None:
            self._gpu = device()
        return self._gpu

    # Arguments -------------------------------------------------------------------------------------------------------
    def argument(self, value: Any, dtype: np.dtype, name: str) -> Any:
        found = self._on_device(value, name)
        if found is None:
            return as_array(value, dtype, name)
        if found.dtype != dtype:
            raise DTypeError(
                f"input '{name}' takes {dtype.name}, the array is {found.dtype.name}",
                remedy="Convert it where it lies: nothing is converted on the GPU unasked.",
            )
        return found

    def updated(self, value: Any, dtype: np.dtype, name: str, result: str) -> Any:
        found = self._on_device(value, name, writes=True)
        if found is None:
            return as_updated(value, dtype, name, result)
        if found.dtype != dtype:
            raise DTypeError(
                f"input '{name}' is updated in place, for the result '{result}' lives in it: it takes {dtype.name}, the array is"
                f" {found.dtype.name}"
            )
        return found

    def _on_device(self, value: Any, name: str, writes: bool = False) -> DeviceArray | None:
        """The value, where it lies on a GPU: this one. Raises MlcError where it lies on another one, or not row by row."""
        if type(value) is DeviceArray:
            self._require_here(value.device.ordinal, name)
            return value
        if isinstance(value, np.ndarray):
            return None
        kind, ordinal = _dlpack_device(value)
        if kind in CUDA_DEVICES:
            self._require_here(ordinal, name)
            return self._borrowed(self._by_dlpack(value, name), name)
        interface = None if kind else getattr(value, "__cuda_array_interface__", None)
        return None if interface is None else self._borrowed(self._by_interface(value, interface, name, writes), name)

    def _require_here(self, ordinal: int, name: str) -> None:
        if ordinal != self.gpu.ordinal:
            raise MlcError(
                f"input '{name}' lies on GPU {ordinal}, and the executable runs on GPU {self.gpu.ordinal}",
                remedy="Move it there, or start the process with the GPU that CUDA_VISIBLE_DEVICES names.",
            )

    def _by_dlpack(self, value: Any, name: str) -> Borrowed:
        try:
            return borrow(value.__dlpack__(stream=_LEGACY_STREAM))
        except (TypeError, ValueError, RuntimeError, BufferError) as error:
            raise MlcError(
                f"input '{name}' is a {type(value).__name__} that does not give its memory: {str(error).strip()}",
                remedy="Hand in its values alone: x.detach()." if getattr(value, "requires_grad", False) else None,
            ) from error

    def _by_interface(self, value: Any, interface: Any, name: str, writes: bool) -> Borrowed:
        try:
            place, read_only = interface["data"]
            shape, dtype = tuple(map(int, interface["shape"])), np.dtype(interface["typestr"])
            strides, stream, mask = (interface.get(key) for key in ("strides", "stream", "mask"))
        except (KeyError, TypeError, ValueError) as error:
            raise MlcError(
                f"input '{name}': the __cuda_array_interface__ of a {type(value).__name__} cannot be read: {error}"
            ) from error
        if mask is not None:
            raise MlcError(f"input '{name}' is a masked array", remedy="Say what its masked elements are.")
        if writes and read_only:
            raise MlcError(f"input '{name}' is updated in place, and the array is read-only", remedy="Hand in a copy.")
        if prod(shape):
            self._require_here(self._ordinal_of(int(place), name), name)
        if stream not in (None, _LEGACY_STREAM):
            with self.gpu.active:
                call("cuStreamSynchronize", stream)
        return Borrowed(value, int(place or 0), shape, dtype, None if strides is None else tuple(map(int, strides)))

    def _ordinal_of(self, place: int, name: str) -> int:
        import ctypes

        found = ctypes.c_int()
        with self.gpu.active:
            try:
                call("cuPointerGetAttribute", ctypes.byref(found), _DEVICE_ORDINAL, place)
            except pycuda().Error:
                raise MlcError(f"input '{name}' points at {place:#x}, which is no memory of a GPU") from None
        return found.value

    def _borrowed(self, found: Borrowed, name: str) -> DeviceArray:
        if not found.contiguous:
            raise MlcError(
                f"input '{name}' does not lie row by row without gaps, and is not copied unasked",
                shapes=[(name, name, f"{found.dtype.name}{list(found.shape)}", f"strides {list(found.strides or ())}")],
                remedy="Hand in a copy: x.contiguous() of PyTorch, cupy.ascontiguousarray(x).",
            )
        if found.place % max(1, found.dtype.itemsize):
            raise MlcError(f"input '{name}' does not lie on a boundary of its elements", remedy="Hand in a copy.")
        return DeviceArray(self.gpu, found.shape, found.dtype, found, found.place)

    # Memory ----------------------------------------------------------------------------------------------------------
    def memory(self, bytes: int) -> DeviceMemory:
        return DeviceMemory(self.gpu, bytes)

    def array(self, shape: Sequence[int], dtype: np.dtype, memory: Any) -> DeviceArray:
        return DeviceArray(self.gpu, shape, dtype, memory.block, memory.place)

    def place(self, array: Any) -> int:
        return array.place if type(array) is DeviceArray else host_address(array)

    def fill(self, array: DeviceArray, value: Any) -> None:
        if tuple(value.shape) != array.shape:
            raise ShapeError(f"an array of shape {list(array.shape)} cannot take {list(value.shape)}")
        gpu = self.gpu
        gpu.require_alive()
        if not array.nbytes:
            return
        cu = pycuda()
        with gpu.active:
            try:
                if type(value) is DeviceArray:
                    cu.memcpy_dtod(array.place, value.place, array.nbytes)
                    cu.Context.synchronize()  # copies inside of a GPU are not waited for
                else:
                    cu.memcpy_htod(array.place, words(np.ascontiguousarray(value)))
            except cu.Error as error:
                raise gpu.error(error, "writing an array") from error

    def front(self, array: Any, shape: Sequence[int]) -> Any:
        if type(array) is DeviceArray:
            return DeviceArray(array.device, shape, array.dtype, array.block, array.place)
        return array.reshape(-1)[: prod(shape)].reshape(shape)

    def numpy(self, array: Any) -> np.ndarray:
        return array.numpy() if type(array) is DeviceArray else array

    def copied(self, array: Any) -> np.ndarray:
        return array.numpy() if type(array) is DeviceArray else array.copy()


_DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL


def _dlpack_device(value: Any) -> tuple[int, int]:
    """Kind and number of the device that an object with DLPack lies on; (0, 0) for others."""
    ask = getattr(value, "__dlpack_device__", None)
    if ask is None:
        return 0, 0
    kind, ordinal = ask()
    return int(kind), int(ordinal)


def words(array: np.ndarray) -> np.ndarray:
    """The bytes of a row-major array: pycuda takes no dtypes that are not NumPy's own."""
    return array.reshape(-1).view(np.ndarray).view(np.uint8)
