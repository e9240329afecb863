"""Calls on a GPU, through pycuda, on a driver that stands in for NVIDIA's: values, recordings, memory, threads."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.runtime.artifact import Artifact
from mlc.runtime.cuda.cuda_machine import GRAPHS
from mlc.runtime.cuda.device_arrays import DeviceArray, to_device
from mlc.runtime.executable import Executable, load_package
from tests.runtime.cuda import cuda_programs
from tests.runtime.cuda.stand_in import StandIn

Run = Callable[[Artifact], Executable]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_arrays_of_the_host_come_back_to_the_host_whatever_the_sizes(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())

    @settings(max_examples=30)
    @given(st.lists(st.integers(0, 300) | st.sampled_from([0, 1, 63, 64, 65, 127, 128]), min_size=1, max_size=4))
    def check(sizes: list[int]) -> None:
        for n in sizes:
            x = numbers(n, seed=n)
            y = exe(x)
            assert type(y) is np.ndarray
            np.testing.assert_array_equal(y, cuda_programs.expected(x))

    check()


def test_views_lists_and_other_layouts_are_taken_as_on_the_cpu(run: Run) -> None:
    exe = run(cuda_programs.two_steps())
    x = numbers(40)[::2]
    np.testing.assert_array_equal(exe(x), cuda_programs.expected(x))
    np.testing.assert_array_equal(exe([1.0, 2.0]), [6.5, 3.5])
    with pytest.raises(mlc.DTypeError, match="input 'x' takes float32, the array is float64"):
        exe(np.zeros(3))


def test_results_stay_what_they_were_when_the_next_call_comes(run: Run) -> None:
    exe = run(cuda_programs.two_steps())
    x = [numbers(70, seed=seed) for seed in range(6)]
    for give in (np.asarray, to_device):
        found = [exe(give(each)) for each in x]
        for each, y in zip(x, found, strict=True):
            np.testing.assert_array_equal(y.numpy() if isinstance(y, DeviceArray) else y, cuda_programs.expected(each))


# Recordings ----------------------------------------------------------------------------------------------------------
def test_the_second_call_of_its_sizes_is_recorded_and_later_ones_are_replayed(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())
    for call in range(6):
        x = numbers(100, seed=call)
        np.testing.assert_array_equal(exe(x), cuda_programs.expected(x))
    assert driver.count("cuGraphInstantiate") == 1
    assert driver.count("cuGraphLaunch") == 5
    assert driver.count("cuLaunchKernel") == 2 * 2  # issued once, recorded once
    assert driver.count("kernels") == 6 * 2


def test_recordings_are_bounded(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())
    exe(numbers(200))  # the arena is large enough from here on
    for n in range(1, 31):
        for _ in range(2):
            exe(numbers(n))
    assert driver.count("cuGraphInstantiate") == 30
    assert driver.count("cuGraphExecDestroy") == 30 - GRAPHS
    assert driver.count("cuGraphDestroy") == 30


def test_arrays_at_other_addresses_do_not_run_on_a_recording_of_the_old_ones(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())
    kept = []  # so that addresses are not used again
    for call in range(4):
        x = to_device(numbers(33, seed=call))
        kept += [x, exe(x)]
        np.testing.assert_array_equal(kept[-1].numpy(), cuda_programs.expected(numbers(33, seed=call)))
    assert driver.count("cuGraphLaunch") == 0
    x = kept[0]
    for _ in range(4):
        y = exe(x)
        np.testing.assert_array_equal(y.numpy(), cuda_programs.expected(numbers(33, seed=0)))
        del y
    assert driver.count("cuGraphLaunch") > 0


def test_memory_that_grows_ends_what_was_recorded_with_the_old(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())
    for n in (10, 10, 10, 5000, 5000, 10, 10, 10, 5000):
        x = numbers(n, seed=n)
        np.testing.assert_array_equal(exe(x), cuda_programs.expected(x))
    assert driver.count("cuGraphInstantiate") == 3  # 10, 5000, and 10 anew


def test_recordings_can_be_turned_off(run: Run, driver: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_CUDA_GRAPHS", "0")
    exe = run(cuda_programs.two_steps())
    for _ in range(4):
        exe(numbers(8))
    assert driver.count("cuGraphLaunch") == 0 and driver.count("cuLaunchKernel") == 8
    monkeypatch.setenv("MLC_CUDA_GRAPHS", "few")
    with pytest.raises(mlc.MlcError, match="MLC_CUDA_GRAPHS is 'few'"):
        run(cuda_programs.two_steps())


# Weights -------------------------------------------------------------------------------------------------------------
def test_weights_are_uploaded_once_and_again_where_they_are_new(run: Run, driver: StandIn) -> None:
    artifact = cuda_programs.two_steps()
    exe = run(artifact)
    x = numbers(10)
    for _ in range(3):
        exe(x)
    assert driver.bytes("cuMemcpyHtoD") == 8
    new = {**artifact.weights, "b": np.array([-1.0], np.float32)}
    exe._machine.read(new.__getitem__)
    for _ in range(3):
        np.testing.assert_array_equal(exe(x), (x * np.float32(3))[::-1] - np.float32(1))
    assert driver.bytes("cuMemcpyHtoD") == 12  # w is the one it was
    for _ in range(3):
        exe._machine.read(artifact.weights.__getitem__)
    np.testing.assert_array_equal(exe(x), cuda_programs.expected(x))


# State ---------------------------------------------------------------------------------------------------------------
def test_results_that_live_in_inputs_update_the_callers_array_wherever_it_lies(run: Run) -> None:
    exe = run(cuda_programs.update())
    w, g = numbers(50), numbers(50, seed=1)
    want = w - np.float32(0.5) * g
    host, device = w.copy(), to_device(w)
    new, total = exe(host, g)
    assert new is host and type(total) is np.ndarray
    np.testing.assert_array_equal(host, want)
    np.testing.assert_allclose(total, want.sum(dtype=np.float64), rtol=1e-4, atol=1e-5)
    new, total = exe(device, g)
    assert new is device and type(total) is DeviceArray
    np.testing.assert_array_equal(device.numpy(), want)


def test_state_stays_on_the_gpu(run: Run, driver: StandIn) -> None:
    w, g = numbers(1000), numbers(1000, seed=1)
    step = run(cuda_programs.update()).with_state(initial={"w": w})
    first = driver.bytes("cuMemcpyHtoD")
    for call in range(1, 5):
        w = w - np.float32(0.5) * g
        total = step(g)
        np.testing.assert_allclose(total, w.sum(dtype=np.float64), rtol=1e-4, atol=1e-4)
        assert driver.bytes("cuMemcpyHtoD") == first == 4000
        assert driver.bytes("cuMemcpyHtoDAsync") <= call * 4096  # g, and no w
        assert driver.bytes("cuMemcpyDtoHAsync") <= call * 256
    np.testing.assert_array_equal(step.state["w"], w)
    assert driver.count("cuGraphLaunch") == 3
    other = step.copy()
    other(g)
    np.testing.assert_array_equal(step.state["w"], w)
    np.testing.assert_array_equal(other.state["w"], w - np.float32(0.5) * g)
    step.reset()
    np.testing.assert_array_equal(step.state["w"], numbers(1000))


def test_state_that_grows_stays_in_one_memory_and_moves_into_larger_ones(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.append())
    chat = exe.with_state({"past": "present"}, {"past": np.zeros((0, 3), np.float32)})
    rows = np.zeros((0, 3), np.float32)
    for call in range(20):
        x = numbers(3, seed=call)
        rows = np.vstack([rows, x + (rows[-1] if len(rows) else 0)])
        assert chat(x) is None
        np.testing.assert_array_equal(chat.state["past"], rows)
    assert driver.bytes("cuMemcpyDtoDAsync") == 0  # it is written behind what is there
    restored = pickle.loads(pickle.dumps(chat))
    np.testing.assert_array_equal(restored.state["past"], rows)


def test_a_result_begins_with_its_input_also_without_state(run: Run) -> None:
    exe = run(cuda_programs.append())
    past, x = numbers(4, 3), numbers(3, seed=5)
    want = np.vstack([past, x + past[-1]])
    np.testing.assert_array_equal(exe(past, x), want)
    np.testing.assert_array_equal(exe(past, x), want)
    np.testing.assert_array_equal(exe(to_device(past), x).numpy(), want)
    np.testing.assert_array_equal(exe(past, to_device(x)).numpy(), want)


# Threads -------------------------------------------------------------------------------------------------------------
def test_threads_call_at_the_same_time(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())

    def calls(number: int) -> None:
        for call in range(12):
            x = numbers(20 + 37 * number, seed=100 * number + call)
            y = exe(to_device(x)).numpy() if call % 3 == 0 else exe(x)
            np.testing.assert_array_equal(y, cuda_programs.expected(x))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(calls, range(6)))


def test_what_one_thread_made_another_may_drop(run: Run, driver: StandIn) -> None:
    before = driver.allocations
    held = [run(cuda_programs.two_steps())]
    held += [held[0](to_device(numbers(9)))]
    assert driver.allocations > before

    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert driver.allocations == before


# The rest of an executable -------------------------------------------------------------------------------------------
def test_a_package_is_written_and_loaded_without_a_driver(
    driver: StandIn, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    exe = Executable(cuda_programs.two_steps())
    exe.save(tmp_path / "two.mlc")  # type: ignore[operator]
    loaded = load_package(tmp_path / "two.mlc")  # type: ignore[operator]
    assert driver.count("cuDeviceGet") == 0
    np.testing.assert_array_equal(loaded(numbers(5)), cuda_programs.expected(numbers(5)))
    np.testing.assert_array_equal(copy.deepcopy(loaded)(numbers(5)), cuda_programs.expected(numbers(5)))
    assert "cuda" in str(loaded.target) or "sm_90" in repr(loaded)


def test_times_of_steps_are_taken_between_events(run: Run) -> None:
    exe = run(cuda_programs.two_steps())
    times = exe.profile(numbers(100), repeats=3)
    assert [(time.kernel, time.turns, time.nanoseconds) for time in times] == [
        ("scale", 1.0, 1e6),  # the stand-in's clock goes on by a millisecond per kernel
        ("reverse_add", 1.0, 1e6),
    ]


def test_trim_gives_back_what_calls_keep(run: Run, driver: StandIn) -> None:
    exe = run(cuda_programs.two_steps())
    exe(numbers(100_000))
    before = driver.used
    assert exe.trim() >= 3 * 400_000
    gc.collect()
    assert driver.used < before - 3 * 400_000 + 4096
    np.testing.assert_array_equal(exe(numbers(7)), cuda_programs.expected(numbers(7)))
