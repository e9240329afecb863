"""One program on trial: compiled, run at each size, compared with the interpreter in float64 and with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import ml_dtypes
import numpy as np
import onnxruntime as ort
from xdsl.ir import Operation

import mlc
from benchmarks.random_programs.drawing import Program, model_of
from benchmarks.random_programs.worker import Verdict
from mlc.ir.graph.constants import WeightOp
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype

# Share of the largest element that a result may be away from the one in float64, and how many times worse than the interpreter in the
# program's own dtype, than onnxruntime or than the interpreter with shaken values, which say how well the program is conditioned.
TOLERANCE = {"f64": 1e-12, "f32": 1e-5, "f16": 1e-2, "bf16": 8e-2}
CONDITION = 16
# Above these onnxruntime 1.32.0 does not add integers as integers (findings/onnxruntime-integer-sums.sh).
EXACT_SUMS = {"i32": 2**31, "i64": 2**53}


def inputs_of(program: Program, size: int, dtype: str) -> list[np.ndarray]:
    """The same numbers in every dtype, up to rounding."""
    arrays = []
    for number, shape in enumerate(program.shapes):
        extents = [size if e == "N" else int(e) for e in shape]
        rng = np.random.default_rng(number)
        exact = np.round(rng.uniform(-1, 1, extents) * 128) / 128 if program.floats else rng.integers(-9, 10, extents)
        arrays.append(exact.astype(numpy_dtype(dtype)))
    return arrays


def trial(program: Program, placed: Callable[[np.ndarray], np.ndarray] | None = None) -> Verdict:
    """What became of the program. `placed` puts an input where it shall lie. A crash of the process is not caught."""
    model = model_of(program)
    data = model.SerializeToString()
    try:
        executable = mlc.compile(data, opt_level=program.level, threads=program.threads, cache=False)
    except mlc.MlcError as error:
        return Verdict("refused", f"{type(error).__name__}: {error.message}")
    except mlc.InternalError as error:
        return Verdict("internal", f"compile: {error}")
    own = mlc.load(data)
    exact = mlc.load(model_of(program, "f64").SerializeToString()) if program.floats else own
    session = session_of(data) if program.dtype in ("f32", "f64", "i32", "i64") else None
    skipped = 0
    for size in program.sizes if any("N" in shape for shape in program.shapes) else program.sizes[:1]:
        arrays = inputs_of(program, size, program.dtype)
        if placed is not None:
            arrays = [placed(array) for array in arrays]
        try:
            found = executable.run(None, dict(zip(own.input_names, arrays, strict=True)))
        except mlc.MlcError as error:
            return Verdict("refused", f"N = {size}: {type(error).__name__}: {error.message}")
        verdict = compare(program, size, own, exact, session, arrays, found)
        if verdict is None:
            skipped += 1
        elif verdict.status != "right":
            return verdict
    return Verdict("skipped" if skipped else "right")


def session_of(data: bytes) -> ort.InferenceSession | None:
    """None where onnxruntime has no such kernel."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - it raises classes of its own; there is then one reference less
        return None


def compare(
    program: Program,
    size: int,
    own: Module,
    exact: Module,
    session: ort.InferenceSession | None,
    arrays: list[np.ndarray],
    found: list[np.ndarray],
) -> Verdict | None:
    """None where the exact result is infinite or beyond what the dtype holds."""
    near = run(own, arrays)
    want = run(exact, inputs_of(program, size, "f64")) if program.floats else near
    others = [near]
    if not program.floats and largest_integer(program, size) >= EXACT_SUMS[program.dtype]:
        session = None
    if session is not None and all(array.size for array in arrays):  # kernels of onnxruntime divide by extents
        with suppress(Exception):  # a size that onnxruntime does not take
            others.append(session.run(None, dict(zip(own.input_names, arrays, strict=True))))
    for number, (got, reference) in enumerate(zip(found, want, strict=True)):
        where = f"output {number} at N = {size}"
        if got.shape != reference.shape or got.dtype != numpy_dtype(program.dtype):
            return Verdict("wrong", f"{where}: {got.dtype}{got.shape}, not {program.dtype}{reference.shape}")
        if not program.floats:
            for other in others:
                if not np.array_equal(got, other[number]):
                    return Verdict("wrong", f"{where}: {np.count_nonzero(got != other[number])} elements differ")
            continue
        largest = np.abs(reference).max(initial=0)
        if not np.isfinite(largest) or largest > 6e4:
            return None
        error = distance(got, reference, largest)
        rounding = max(distance(other[number], reference, largest) for other in others)
        allowed = max(TOLERANCE[program.dtype], CONDITION * rounding)
        if np.isfinite(error) and error > allowed:
            rounding = max(
                rounding, *(distance(other[number], reference, largest) for other in shaken(program, arrays))
            )
            allowed = CONDITION * rounding
        if not error <= allowed:
            return Verdict("wrong", f"{where}: {error:.2g} away, the others {rounding:.2g}")
    return Verdict("right")


def shaken(program: Program, arrays: list[np.ndarray], turns: int = 3) -> list[list[np.ndarray]]:
    """Results of the interpreter in which every value is moved by up to one unit in the last place: what rounding alone may do to this program
    (random rounding as in CESTAC, Vignes 1974)."""
    module = mlc.load(
        model_of(program).SerializeToString()
    )  # its own: the interpreter's values are moved where they lie
    rng = np.random.default_rng(0)
    eps = float(ml_dtypes.finfo(numpy_dtype(program.dtype)).eps)

    def shake(op: Operation, results: tuple[np.ndarray, ...]) -> None:
        for array in results:
            if (
                not isinstance(op, WeightOp)
                and array.dtype == numpy_dtype(program.dtype)
                and array.base is None
                and array.flags.writeable
            ):
                array *= (1 + rng.uniform(-eps, eps, array.shape)).astype(array.dtype)

    return [run(module, [array.copy() for array in arrays], observe=shake) for _ in range(turns)]


def largest_integer(program: Program, size: int) -> int:
    """The largest magnitude of any value of a program of integers, computed in 64 bits."""
    found = 0

    def look(op: Operation, results: tuple[np.ndarray, ...]) -> None:
        nonlocal found
        found = max(found, *(int(np.abs(array.astype(np.float64)).max(initial=0)) for array in results))

    run(mlc.load(model_of(program, "i64").SerializeToString()), inputs_of(program, size, "i64"), observe=look)
    return found


def distance(got: np.ndarray, want: np.ndarray, largest: float) -> float:
    """Largest difference as a share of the largest element (or of 1, if that is larger); infinite where NaN or infinity stands."""
    difference = np.abs(got.astype(np.float64) - want).max(initial=0)
    return float(difference / max(largest, 1)) if np.isfinite(difference) else np.inf
