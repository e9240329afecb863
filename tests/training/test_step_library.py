"""Libraries that train: called from the C program of docs/training.md, and from ctypes."""

import ctypes
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
from mlc import nn
from mlc.errors import MlcError, TargetUnavailable
from mlc.optim import SGD, Adam

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no cc on the PATH")
PAGE = Path(__file__).parents[2] / "docs" / "training.md"
RNG = np.random.default_rng(0)


def batch_of(n: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The batches of the C program on the page."""
    x = (((n * 37 + np.arange(2 * size) * 11) % 64) / 32 - 1).astype(np.float32).reshape(size, 2)
    return x, x[:, :1] * x[:, 1:]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A step with running statistics and random numbers, and the folder of its library."""
    folder = tmp_path_factory.mktemp("library")
    net = nn.Sequential(nn.Linear(2, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1))
    step = mlc.train_step(
        net, "mse", Adam(1e-2), shapes={"x": ("N", 2), "target": ("N", 1)}, dims={"N": (1, 9000)}, threads=2
    )
    step.save(folder / "initial.safetensors")
    step.export(folder / "libstep.so", *batch_of(0), header=folder / "step.h")
    return step, folder


class Handle:
    """A step in a library, as C calls it."""

    def __init__(self, folder: Path):
        self.library = library = ctypes.CDLL(str(folder / "libstep.so"))
        library.step_create.restype = ctypes.c_void_p
        library.step_error.restype = library.step_name.restype = ctypes.c_char_p
        library.step_size.restype = ctypes.c_int64
        self.at = ctypes.c_void_p(library.step_create())
        self.names = [library.step_name(part).decode() for part in range(library.step_parts())]

    def __call__(self, what: str, *values: Any) -> None:
        kinds = {int: ctypes.c_int64, np.ndarray: lambda x: ctypes.c_void_p(x.ctypes.data)}
        given = [kinds.get(type(value), lambda x: x)(value) for value in values]
        if getattr(self.library, f"step_{what}")(self.at, *given):
            raise RuntimeError(self.library.step_error(self.at).decode())

    def train(self, x: np.ndarray, y: np.ndarray) -> bytes:
        loss = np.zeros(1, np.float32)
        self("train", len(x), x, y, loss)
        return loss.tobytes()

    def state(self) -> dict[str, bytes]:
        found = {}
        for part, name in enumerate(self.names):
            values = np.zeros(self.library.step_size(part), np.uint8)
            self("get", ctypes.c_int(part), values)
            found[name] = values.tobytes()
        return found


def test_the_c_program_on_the_page_trains_as_python_does_bit_by_bit(exported: tuple, tmp_path: Path) -> None:
    step, folder = exported
    (program,) = re.findall(r"```c\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "main.c").write_text(program)
    options = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{folder}", f"-L{folder}"]
    subprocess.run(["cc", *options, "main.c", "-o", "main", "-lstep", f"-Wl,-rpath,{folder}"], cwd=tmp_path, check=True)
    said = [
        subprocess.run([tmp_path / "main"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)  # the second finds what the first has saved
    ]
    step.load(folder / "initial.safetensors")
    losses = [step(*batch_of(n)).item() for n in range(600)]
    step.save(tmp_path / "python.safetensors")
    assert said == [f"step 300: loss {losses[299]:.6f}\n", f"step 600: loss {losses[599]:.6f}\n"]
    assert losses[599] < losses[0] / 4
    assert (tmp_path / "step.safetensors").read_bytes() == (tmp_path / "python.safetensors").read_bytes()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_bit_depends_on_the_number_of_threads(exported: tuple, threads: int) -> None:
    step, folder = exported
    step.load(folder / "initial.safetensors")
    handle = Handle(folder)
    assert handle.library.step_threads(threads) == threads
    for n, size in enumerate((8192, 1, 7, 64)):
        x, y = batch_of(n, size)
        assert handle.train(x, y) == step(x, y).numpy().tobytes()
        found = np.zeros((size, 1), np.float32)
        handle("evaluate", size, x, found)
        assert found.tobytes() == step.evaluate(x).numpy().tobytes()
    assert handle.state()["params.0.weight"] == step.parameters["0.weight"].numpy().tobytes()
    assert handle.state()["buffers.1.running_mean"] == step.buffers["1.running_mean"].numpy().tobytes()


def test_a_saved_state_goes_on_in_another_handle_and_in_python(exported: tuple, tmp_path: Path) -> None:
    step, folder = exported
    first, second = Handle(folder), Handle(folder)
    first.train(*batch_of(0))
    first("save", str(tmp_path / "state").encode())
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
    assert second.state() != first.state()
    second("load", str(tmp_path / "state").encode())
    step.load(tmp_path / "state")
    assert second.state() == first.state() and step.count == 1
    assert first.train(*batch_of(1)) == second.train(*batch_of(1)) == step(*batch_of(1)).numpy().tobytes()
    values = RNG.normal(size=(32, 2)).astype(np.float32)
    second("set", ctypes.c_int(second.names.index("params.0.weight")), values)
    assert {name for name, x in second.state().items() if x != first.state()[name]} == {"params.0.weight"}
    assert second.state()["params.0.weight"] == values.tobytes()
    second.library.step_destroy(second.at)
    second.library.step_destroy(None)


def test_what_does_not_fit_is_refused_in_words_and_changes_nothing(exported: tuple, tmp_path: Path) -> None:
    _, folder = exported
    handle, before = Handle(folder), Handle(folder).state()
    handle("save", str(tmp_path / "state").encode())
    whole = (tmp_path / "state").read_bytes()
    for name, content in {"short": whole[:-1], "long": whole + b"0", "other": b"0" * len(whole), "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
    x, y = batch_of(0)
    path = lambda name: str(tmp_path / name).encode()
    for said, *call in (
        ("N is 0, and is from 1 to 9000", "train", 0, x, y, np.zeros(1)),
        ("N is 1099511627776, and is from 1 to 9000", "train", 1 << 40, x, y, np.zeros(1)),
        ("x is NULL", "train", 64, None, y, np.zeros(1)),
        ("result is NULL", "evaluate", 64, x, None),
        ("there is no part 999 of the state", "get", ctypes.c_int(999), x),
        ("there is no part -1 of the state", "set", ctypes.c_int(-1), x),
        ("values is NULL", "set", ctypes.c_int(0), None),
        ("short is damaged: a state of this step has", "load", path("short")),
        ("long is damaged", "load", path("long")),
        ("other is no state of this step", "load", path("other")),
        ("empty is no state of this step", "load", path("empty")),
        ("nowhere: No such file", "load", path("nowhere")),
        ("nowhere/state: No such file", "save", path("nowhere/state")),
        ("path is NULL", "save", None),
    ):
        with pytest.raises(RuntimeError, match=said):
            handle(*call)
    assert handle.state() == before
    assert handle.library.step_size(999) == -1 and handle.library.step_name(-1) is None
    assert handle.library.step_train(None, ctypes.c_int64(1), None, None, None) == 1


def test_threads_may_share_a_handle_and_run_others_beside_it(exported: tuple) -> None:
    _, folder = exported
    shared, own = Handle(folder), [Handle(folder) for _ in range(3)]
    alone = Handle(folder)

    def work(number: int) -> None:
        for n in range(20):
            own[number].train(*batch_of(n, 300))
            shared.train(*batch_of(n))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for n in range(20):
        alone.train(*batch_of(n, 300))
    assert np.frombuffer(shared.state()["count"], np.int64) == 60
    assert all(handle.state() == alone.state() for handle in own)


def test_names_of_a_model_are_none_of_the_library(tmp_path: Path) -> None:
    """Arguments that are called as words of C and functions of the library are."""

    def model(params: Any, int: Any, run: Any) -> Any:
        return ((params["parts"] * int - run["self"]) ** 2).sum()

    step = mlc.train_step(model, None, SGD(0.1), {"parts": np.ones(3, np.float32)})
    x, y = (RNG.normal(size=3).astype(np.float32) for _ in range(2))
    step.export(tmp_path / "libstep.so", x, {"self": y}, header=tmp_path / "step.h")
    assert "int step_train(step_handle *self, const float *int_, const float *run_self, float *loss);" in (
        tmp_path / "step.h"
    ).read_text().replace("\n", " ")
    handle, loss = Handle(tmp_path), np.zeros(1, np.float32)
    for _ in range(2):
        handle("train", x, y, loss)
        assert loss.tobytes() == step(x, {"self": y}).numpy().tobytes()
    handle("evaluate", x, y, loss)
    assert loss.tobytes() == step.evaluate(x, {"self": y}).numpy().tobytes()


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    net = nn.Linear(2, 3)
    mlc.train_step(net, "cross_entropy", SGD(0.1)).export(
        tmp_path / "libstep.so", mlc.TensorSpec((4, 2)), mlc.TensorSpec((4,), "i64")
    )
    handle, loss = Handle(tmp_path), np.zeros(1, np.float32)
    with pytest.raises(RuntimeError, match="target: the value 3 at 2 is outside of 0..2"):
        handle("train", np.ones((4, 2), np.float32), np.array([0, 2, 3, 9]), loss)
    handle("train", np.ones((4, 2), np.float32), np.array([0, 2, 1, 0]), loss)
    assert loss[0] > 0


def test_what_a_library_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = mlc.train_step(nn.Linear(2, 1), "mse", SGD(0.1))
    x, y = batch_of(0)
    with pytest.raises(MlcError, match="a header is for libraries"):
        step.export(tmp_path / "step.mlc", x, y, header=tmp_path / "step.h")
    with pytest.raises(MlcError, match="the same path"):
        step.export(tmp_path / "step.so", x, y, header=tmp_path / "step.so")
    monkeypatch.setenv("CC", "ld")
    with pytest.raises(TargetUnavailable, match="needs a C compiler"):
        step.export(tmp_path / "libstep.so", x, y)
    assert list(tmp_path.iterdir()) == []
