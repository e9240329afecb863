"""One step of training as native code: the batch goes in, the loss comes out, and the parameters have moved.

step = mlc.train_step(model, loss, mlc.optim.Adam(lr=1e-3), params)
for x, y in batches:
    loss = step(x, y)
step.parameters, step.evaluate(x), step.save("step.safetensors")
"""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr

import mlc.numpy as mnp
from mlc import random
from mlc.compiler import Compilation, Inspection
from mlc.differentiation import hvp, value_and_grad
from mlc.dist.parallel import DataParallel, digest
from mlc.dist.processes import agreed, barrier, first_of_the_machine_first
from mlc.errors import MlcError
from mlc.frontends.trace.pytree import Tree, difference, flatten, flatten_named
from mlc.frontends.trace.tensor import Tensor, array_of, wrap
from mlc.frontends.trace.traced import Arguments, TensorSpec, Traced, arguments_of, spec_of
from mlc.frontends.trace.tracing import current_trace, user_line
from mlc.ir.alias import ALIAS
from mlc.ir.dims import Extent
from mlc.ir.files import require_path
from mlc.ir.graph.base import role
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.jitted import Jitted, known_shapes, traced_call
from mlc.optim.update_rule import keep_options
from mlc.options import CompileOptions
from mlc.runtime.executable import Executable
from mlc.runtime.state import Stateful
from mlc.runtime.step_library import export_step
from mlc.training import checkpoint
from mlc.training.models import objective_of
from mlc.training.nan_check import first_nan, has_nan
from mlc.training.objective import Objective, names_apart, require_float, require_influence, require_number

if TYPE_CHECKING:
    from mlc.insight.view.recorder import Recorder

_log = logging.getLogger("mlc.train")
_STATE = ("params", "optimizer", "buffers", "count", "key")  # arguments of the traced step; what follows is the batch
_CHANGING = _STATE[:-1]
_SEEN = 1024  # sizes of batches that are known again at once; others take a look at their structure
SIGNATURES = 16  # compilations that a step keeps, each with memory for the state; the oldest goes first


class TrainStep:
    """See `train_step`. Calls wait for each other; what reads the state sees it between two of them."""

    def __init__(
        self,
        objective: Objective,
        optimizer: Any,
        seed: int,
        shapes: Mapping[str, Sequence[Extent | str]],
        options: CompileOptions,
        nan_check: bool = False,
        parallel: DataParallel | None = None,
    ):
        self.nan_check, self.parallel = nan_check, parallel
        options = options if parallel is None else parallel.compile_options(options)
        self.objective, self.optimizer, self.options = objective, optimizer, options
        # what a batch consists of, and what is known of its shapes, by names that no part of the state has
        apart = dict(zip(objective.inputs, names_apart(objective.inputs, _STATE), strict=True))
        self._inputs = tuple(apart.values())
        self.shapes = {
            apart.get(name, name): shape for name, shape in {**objective.shapes, **known_shapes(shapes)}.items()
        }
        if not flatten(objective.params)[0]:
            raise MlcError(f"{objective.name} has no parameters to train", file=user_line())
        for path, leaf in zip(flatten(objective.params)[1].paths(), flatten(objective.params)[0], strict=True):
            require_float(path, leaf)
        params, buffers = (_as_tensors(tree) for tree in (objective.params, objective.buffers))
        values = (params, _as_tensors(optimizer.init(params)), buffers, mnp.zeros((), "i64"), random.key(seed))
        keep_options(optimizer)
        leaves, self._tree = flatten_named(dict(zip(_STATE, values, strict=True)))
        self._names = checkpoint.plain_names([path.lstrip(".") for path in self._tree.paths()])
        arrays = [np.array(leaf.data) for leaf in leaves]
        self._state: MutableMapping[str, np.ndarray] = dict(zip(self._names, arrays, strict=True))
        self._compiled: dict[Any, _CompiledStep] = {}
        self._seen: dict[Hashable, _CompiledStep] = {}  # those of batches that are told by shapes and dtypes alone
        self._current: _CompiledStep | None = None
        places = {name: f"inputs[{number}]" for number, name in enumerate(objective.inputs)}
        open_shapes = {places[name]: shape for name, shape in objective.shapes.items()}
        self._predict = Jitted(objective.predict, (), open_shapes, options)
        self._lock = RLock()

    # Calls ---------------------------------------------------------------------------------------------------------------

    def __call__(self, *batch: Any, **named: Any) -> Any:
        """The loss of a batch, before the parameters follow its gradient; with what else the loss function gives, a tuple. Raises MlcError for a
        batch that the model does not take."""
        if named:
            batch = self._in_order(self.objective.inputs, batch, named)
        if (trace := current_trace()) is not None:
            raise MlcError(
                f"a step of {self.objective.name} is compiled already, and cannot be a part of '{trace.name}'",
                file=user_line(),
                remedy="Inside of a traced function, mlc.value_and_grad and optimizer.update are what a step is made of.",
            )
        seen = self._seen_as(batch)
        with self._lock:
            compiled = self._seen.get(seen)
            leaves: Sequence[Any] = batch
            if compiled is None or compiled is not self._current:
                leaves, tree = flatten(batch)
                compiled = self._compiled_for(batch, leaves, tree)
                if seen is not None and len(self._seen) < _SEEN:
                    self._seen[seen] = compiled
            before = dict(self._state) if self.nan_check else {}
            loss, more = compiled(leaves)
            if self.nan_check:
                self._require_numbers(compiled, leaves, loss, before)
        return (loss, *more) if more else loss

    def _seen_as(self, batch: Sequence[Any]) -> Hashable:
        """What tells a batch of arrays and tensors from others at little cost; None for one of containers and numbers."""
        kinds = [(x.shape, x.dtype) for x in batch if type(x) is np.ndarray or (type(x) is Tensor and x.trace is None)]
        return (self.objective.mode(), *kinds) if len(kinds) == len(batch) else None

    def _require_numbers(
        self, compiled: _CompiledStep, leaves: Sequence[Any], loss: Tensor, before: Mapping[str, np.ndarray]
    ) -> None:
        """Raises MlcError where the step made a NaN, and takes the state back to what it was before."""
        found = {"the loss": loss.data, **self._state}
        wrong = next((name for name, array in found.items() if has_nan(array)), None)
        if wrong is None:
            return
        for name, array in before.items():
            self._state[name] = array
        module = compiled.traced.module
        batch = zip(module.input_names[len(self._names) :], compiled.arrays(leaves), strict=True)
        raise first_nan(module, {**before, **dict(batch)}, f"{wrong} has become NaN in step {int(before['count'])}")

    def _in_order(self, names: Sequence[str], given: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """What is given by position and by name, in the order of the names. Raises MlcError where it is not exactly that."""
        left = names[len(given) :]
        if set(left) != set(named):
            raise MlcError(
                f"{self.objective.name} takes {', '.join(names)}: {len(given)} by position and {', '.join(named)} were given",
                file=user_line(),
            )
        return (*given, *(named[name] for name in left))

    def evaluate(self, *inputs: Any, **named: Any) -> Any:
        """What the model gives for inputs, with the parameters as they are now; compiled at the first call for each signature."""
        if named:
            names = self.objective.inputs
            inputs = self._in_order(names[: len(names) - self.objective.targets], inputs, named)
        with self._lock:
            params, buffers, key = (self._part(name) for name in ("params", "buffers", "key"))
        return self._predict(params, buffers, key, *inputs)

    def __repr__(self) -> str:
        count = sum(self._state[name].size for name in self._part_names("params")[0])
        return (
            f"<training step of {self.objective.name}: {count} parameters, {self.optimizer!r}, {self.count} steps done>"
        )

    def trace(self, *batch: Any) -> Module:
        """The module of a step for batches like this one; mlc.TensorSpec stands for a tensor."""
        return self._traced(self._arguments(batch)).module

    @property
    def executable(self) -> Executable:
        """The code of the last step. Raises MlcError before the first."""
        if self._current is None:
            raise MlcError("nothing is compiled before the first step", remedy="Call the step with a batch.")
        return self._current.stateful.executable

    def trained(self) -> Any:
        """The model with the parameters and buffers as they are now: a module of mlc.nn takes the numbers and is given back; of an imported model a
        mlc.Module with other weights, which compiles and saves as any. Raises MlcError for a function, which has none: see `parameters`."""
        if self.objective.trained is None:
            raise MlcError(
                f"{self.objective.name} is a function, and holds no parameters", remedy="See step.parameters."
            )
        return self.objective.trained(self.parameters, self.buffers)

    # State ---------------------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Any:
        """A copy of the parameters, of the structure that they were given in. They may be set, to tensors of the same shapes."""
        return self._read("params")

    @parameters.setter
    def parameters(self, value: Any) -> None:
        self._write("params", value)

    @property
    def buffers(self) -> Any:
        """A copy of what the model keeps beside its parameters, as running statistics."""
        return self._read("buffers")

    @property
    def optimizer_state(self) -> Any:
        return self._read("optimizer")

    @property
    def count(self) -> int:
        """How many steps were done."""
        return int(self._read("count"))

    def save(self, path: Any) -> None:
        """Write all of the state: parameters, the optimiser's, buffers, count and key. A step that loads it goes on bit by bit as this one would.

        Of several ranks, which have one state, rank 0 writes it, and all wait for that. Raises MlcError on all of them where the states differ.
        """
        with self._lock:
            state = dict(self._state)
        if self.parallel is not None:  # ranks on unequal machines may have drifted apart
            agreed({"parameters and state": digest(state)}, f"what is saved in {path}")
        if self.parallel is None or self.parallel.rank == 0:
            checkpoint.write(path, state)
        if self.parallel is not None:
            barrier(f"{path} is written")

    def export(self, path: Any, *batch: Any, header: Any = None, report: Recorder | None = None) -> None:
        """Write the step for batches like this one, to go on without this model and its Python code.

        step.mlc     a package, and beside it, as PATH with the suffix .safetensors, the state as `save` does:
                     `mlc.load_executable(path).with_state(initial=...)` of the arrays in that file steps on
        libstep.so   a library with functions for C, declared in `header`: train, evaluate, the state by parts, save and load. It begins with
                     the state as it is now

        `report` writes a page about the compilation. Raises TargetUnavailable where there is no C compiler to make a library with.
        """
        path = require_path(path)
        if header is not None and path.suffix != ".so":
            raise MlcError(f"a header is for libraries, and {path} is none", remedy="Name it libNAME.so.")
        if self.parallel is not None and self.parallel.ranks > 1:
            raise MlcError(
                f"a step of {self.parallel.ranks} ranks is not exported: what is exported runs in one process",
                file=user_line(),
                remedy="Save the state, load it into a step without parallel=, and export that.",
            )
        with self._lock:
            traced = self._traced(self._arguments(batch))
            stateful = _CompiledStep(traced, self._names, self.options, report).stateful
            if path.suffix != ".so":
                stateful.save(path)
                self.save(path.with_suffix(".safetensors"))
                return
            with tempfile.TemporaryDirectory(prefix="mlc-") as folder:
                state = Path(folder) / "state.safetensors"
                self.save(state)
                evaluate, kept = self._evaluation(traced, batch)
                export_step(stateful.executable.artifact, evaluate.artifact, kept, state, path, header)

    def _evaluation(self, traced: Traced, batch: Sequence[Any]) -> tuple[Executable, list[str]]:
        """The code of `evaluate` for the inputs of a traced step, and the parts of the state that it begins with."""
        objective, parts = self.objective, ("params", "buffers", "key")
        given = flatten(batch)[1].unflatten(traced.specs[len(self._names) :])
        kept = dict(
            zip(_STATE, self._tree.unflatten([spec_of(self._state[name]) for name in self._names]), strict=True)
        )
        inputs = given[: len(given) - objective.targets]
        call = arguments_of(objective.predict, (), (*(kept[part] for part in parts), *inputs), {})
        bounds = {symbol: (range.low, range.high) for symbol, range in self.options.dims.items()}
        predict = traced_call(objective.predict, call, {}, {**objective.bounds, **bounds})
        names = [name for part in parts for name in self._part_names(part)[0]]
        _name_inputs(predict.module, [*names, *traced.module.input_names[len(self._names) :]])
        return Compilation(self.options).finish(predict.module), names

    def load(self, path: Any) -> None:
        """Take the state that `save` wrote. Raises MlcError where it is of another model or optimiser, and changes nothing then."""
        with self._lock:
            found = checkpoint.read(path, dict(self._state))
            if self.parallel is not None:
                agreed({"state": digest(found)}, f"the state in {path}")
            for name, array in found.items():
                self._state[name] = array

    def _read(self, part: str) -> Any:
        with self._lock:
            return self._part(part)

    def _part(self, part: str) -> Any:
        names, tree = self._part_names(part)
        return tree.unflatten([wrap(self._state[name]) for name in names])

    def _write(self, part: str, value: Any) -> None:
        names, tree = self._part_names(part)
        leaves, found = flatten(value)
        if found != tree:
            raise MlcError(
                f"these are not the {part} of {self.objective.name}", file=user_line(), remedy=difference(tree, found)
            )
        arrays = {name: self._fitting(name, leaf) for name, leaf in zip(names, leaves, strict=True)}
        with self._lock:
            for name, array in arrays.items():
                self._state[name] = array

    def _fitting(self, name: str, value: Any) -> np.ndarray:
        """An array of its own for a part of the state."""
        array, old = np.array(array_of(value, None, copy=False)), self._state[name]
        if array.shape != old.shape or array.dtype != old.dtype:
            raise MlcError(
                f"{name} is {old.dtype}{list(old.shape)}, and is given {array.dtype}{list(array.shape)}",
                file=user_line(),
            )
        return array

    def _part_names(self, part: str) -> tuple[list[str], Tree]:
        names = [name for name in self._names if name == part or name.startswith(f"{part}.")]
        return names, self._tree.children[_STATE.index(part)]

    # Compilation ---------------------------------------------------------------------------------------------------------

    def _arguments(self, batch: Sequence[Any]) -> Arguments:
        """The arguments of the traced step: what is kept, and the batch under the names that the model and the loss give it."""
        if len(batch) != len(self.objective.inputs):
            raise MlcError(
                f"a step of {self.objective.name} takes {', '.join(self.objective.inputs) or 'nothing'}: {len(batch)} were given",
                file=user_line(),
            )
        kept = self._tree.unflatten([spec_of(self._state[name]) for name in self._names])
        return arguments_of(self._function(), (), (*kept, *batch), {})

    def _batch_names(self, batch: Sequence[Any]) -> list[str]:
        """The names of the leaves of a batch: x, y, points.left."""
        tree = flatten_named(dict(zip(self._inputs, batch, strict=True)))[1]
        return [path.lstrip(".") for path in tree.paths()]

    def _function(self) -> Callable[..., Any]:
        """The step as a function to trace."""
        objective, optimizer, line = self.objective, self.optimizer, user_line()

        def step(params: Any, state: Any, buffers: Any, count: Any, key: Any, *batch: Any) -> dict[str, Any]:
            now = random.fold_in(key, count)

            def loss(params: Any) -> tuple[Any, Any]:
                value, more = objective.loss(params, buffers, now, *batch)
                require_number(value, objective.name, line)
                if self.parallel is None:
                    return value, more
                value, changed, others = self.parallel.over_ranks(value, *more, batch)
                return value, (changed, others)

            loss.__name__ = objective.name
            at = optimizer.point(state, params) if hasattr(optimizer, "point") else params
            (value, (changed, more)), grads = value_and_grad(loss, has_aux=True)(at)
            require_influence(grads, objective.name, line)
            hessian = lambda v: hvp(lambda p: loss(p)[0], (at,), (v,))
            curved = [hessian] if getattr(optimizer, "curved", False) else []
            with role("update"):
                moved, state = optimizer.update(grads, state, params, *curved)
            names = ("loss", "more", "params", "optimizer", "buffers", "count")
            return dict(zip(names, (value, more, moved, state, changed, count + 1), strict=True))

        step.__name__ = f"train_{objective.name}" if objective.name.isidentifier() else "train"
        names, kind = [*_STATE, *self._inputs], inspect.Parameter.POSITIONAL_ONLY
        step.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        return step

    def _shapes_of(self, names: Sequence[str], specs: Sequence[TensorSpec]) -> dict[str, Sequence[Extent | str]]:
        """The shapes of those parts of a batch in which sizes differ from call to call."""
        rows = self.objective.rows
        targets = {
            n: (rows, *spec.shape[1:]) for n, spec in zip(names, specs, strict=True) if rows is not None and spec.shape
        }
        return {**targets, **self.shapes}

    def _traced(self, call: Arguments) -> Traced:
        bounds = {symbol: (range.low, range.high) for symbol, range in self.options.dims.items()}
        skipped = len(self._names)
        shapes = self._shapes_of(call.names[skipped:], [spec_of(leaf) for leaf in call.leaves[skipped:]])
        traced = traced_call(self._function(), call, shapes, {**self.objective.bounds, **bounds})
        _named(traced.module, self._names)
        return traced

    def _compiled_for(self, batch: Sequence[Any], leaves: Sequence[Any], tree: Tree) -> _CompiledStep:
        for leaf, path in zip(leaves, tree.paths(), strict=True):
            if isinstance(leaf, str | bytes) or callable(leaf):
                raise MlcError(
                    f"a batch consists of tensors and numbers, and batch{path} is {leaf!r}",
                    file=user_line(),
                    remedy="What decides how the model computes is a part of the function: functools.partial(model, mode=...).",
                )
        specs = [spec_of(leaf) for leaf in leaves]
        key = (tree, self.objective.mode(), *specs)
        if (self.shapes or self.objective.rows is not None) and len(batch) == len(self.objective.inputs):
            names = self._batch_names(batch)
            shapes = self._shapes_of(names, specs)
            key = (*key[:2], *[(s.dtype, shapes[n]) if n in shapes else s for n, s in zip(names, specs, strict=True)])
        found = self._compiled.get(key)
        if found is None:
            call = self._arguments(batch)
            traced = self._traced(call)
            rows = list(zip(self._batch_names(batch), specs, strict=True))
            shown = ", ".join(f"{n} {s}" for n, s in rows)
            _log.info("%s: a step is compiled for %s", self.objective.name, shown)
            self._warn_of_wide(rows)
            if self.parallel is not None:
                self.parallel.require_same(traced.module.text(), shown, self.options, self._state)
            make = lambda: _CompiledStep(traced, self._names, self.options)
            in_turn = self.parallel is not None and self.options.cache
            found = self._compiled[key] = first_of_the_machine_first(make) if in_turn else make()
            if len(self._compiled) > SIGNATURES:
                del self._compiled[next(iter(self._compiled))]
                self._seen.clear()
        if found is not self._current:
            for name in self._names:
                found.stateful.state[name] = self._state[name]
            self._current, self._state = found, found.stateful.state
        return found

    def _warn_of_wide(self, batch: Sequence[tuple[str, TensorSpec]]) -> None:
        """What is computed of f32 and f64 is f64: right, slow, and mostly not meant."""
        own = {self._state[name].dtype for name in self._part_names("params")[0]}
        wide = [name for name, spec in batch if spec.dtype == "f64" and spec.weak is None]
        if wide and np.dtype("f8") not in own:
            _log.warning(
                "%s: %s f64, and the parameters are not: what is computed of both is f64. x.astype(numpy.float32) makes steps faster",
                self.objective.name,
                f"{wide[0]} is" if len(wide) == 1 else f"{', '.join(wide)} are",
            )


class _CompiledStep:
    """The step for one signature of batches."""

    def __init__(self, traced: Traced, names: Sequence[str], options: CompileOptions, report: Recorder | None = None):
        self.traced = traced
        follows = {name: f"new.{name}" for name in names}
        made = set(traced.module.output_names)
        kept = {name: output if output in made else None for name, output in follows.items()}
        executable = Compilation(options, inspection=Inspection(report=report)).finish(traced.module)
        self.stateful = Stateful(executable, kept)
        self._dtypes = [numpy_dtype(spec.dtype) for spec in traced.specs[len(names) :]]
        parts = dict(zip(traced.results.names, traced.results.children, strict=True))
        self._more: Tree = parts[".more"]

    def __call__(self, leaves: Sequence[Any]) -> tuple[Any, Any]:
        found = self.stateful(*self.arrays(leaves))
        loss, *more = found if isinstance(found, tuple) else (found,)
        return wrap(loss), self._more.unflatten([wrap(array) for array in more])

    def arrays(self, leaves: Sequence[Any]) -> list[Any]:
        """The leaves of a batch as the executable takes them."""
        return [
            np.array(x, dtype) if isinstance(x, bool | int | float) else x.data if isinstance(x, Tensor) else x
            for x, dtype in zip(leaves, self._dtypes, strict=True)
        ]


def _named(module: Module, names: Sequence[str]) -> None:
    """Call the inputs that are kept by these names, have each result that follows one live in its memory, and give it the name new.NAME."""
    plain = dict(zip(module.input_names, [*names, *module.input_names[len(names) :]], strict=True))
    _name_inputs(module, list(plain.values()))
    sources = {f"result.{name}": given for name, given in plain.items() if name.startswith(_CHANGING)}
    row = lambda name, more: DictionaryAttr({"graph.name": StringAttr(name), **more})
    results = []
    for name in module.output_names:
        source = sources.get(name)
        alias = {} if source is None else {ALIAS: StringAttr(source)}
        results.append(row(name.removeprefix("result.") if source is None else f"new.{source}", alias))
    module.main.properties["res_attrs"] = ArrayAttr(results)
    module.verify()


def _name_inputs(module: Module, names: Sequence[str]) -> None:
    """Call the inputs by these names, as many of them as there are."""
    rows = zip(module.input_names, names, strict=False)
    module.main.properties["arg_attrs"] = ArrayAttr(
        [DictionaryAttr({"graph.name": StringAttr(name)}) for _, name in rows]
    )


def _as_tensors(tree: Any) -> Any:
    leaves, structure = flatten(tree)
    return structure.unflatten([mnp.asarray(leaf) for leaf in leaves])


def train_step(
    model: Any,
    loss: Callable[..., Any] | str | None,
    optimizer: Any,
    params: Any = None,
    *,
    seed: int = 0,
    shapes: Mapping[str, Sequence[Extent | str]] | None = None,
    nan_check: bool = False,
    freeze: str | Sequence[str] = "",
    train_statistics: bool = False,
    parallel: DataParallel | None = None,
    **options: Any,
) -> TrainStep:
    """Forward, backward and update as one compiled function with state: `step(x, y)` gives the loss, and the parameters have moved.

    model      a module of mlc.nn; a function of (params, x, ...) with a pytree of `params`; an ONNX model (path, bytes, ModelProto) or what
               mlc.load(..., trainable=True) gave, whose weights of several floats are the parameters
    loss       a function of (prediction, target, ...) that gives one float, or the name of a loss of mlc.nn, as "cross_entropy"; None where the
               model gives that itself
    optimizer  one of mlc.optim, or what has its init and update
    seed       of the random numbers that the model draws from its argument `key`
    shapes     as of mlc.jit: an argument of the batch -> extents, names among them for sizes that differ from call to call
    nan_check  test each step for NaN, which costs a copy of the state: the error names the first op that made one, and the state is as before
    freeze     names of an imported model's weights that stay, as in ["conv1.*", "bn*"] or "conv1.*;bn*"
    train_statistics  whether an imported model's batch normalisations use the statistics of the batch and follow them, instead of keeping theirs
    parallel   mlc.dist.data(): each rank steps with its rows of a batch, and all with the gradient of the whole (docs/distributed.md)
    options    those of mlc.CompileOptions

    A step is compiled at the first call for each signature of the batch. Raises MlcError where something does not fit, NoDerivative
    naming an op without a derivative.
    """
    if isinstance(optimizer, type):
        raise MlcError(
            f"{optimizer.__name__} is a class of optimisers, not an optimiser",
            file=user_line(),
            remedy=f"Write {optimizer.__name__}().",
        )
    if not hasattr(optimizer, "update") or not hasattr(optimizer, "init"):
        raise MlcError(
            f"{optimizer!r} is no optimiser that can be a part of a step",
            file=user_line(),
            remedy="Give one that is not bound to parameters: mlc.optim.Adam(lr=1e-3).",
        )
    if parallel is not None:
        _require_parallel(parallel, nan_check)
    return TrainStep(
        objective_of(model, loss, params, freeze if isinstance(freeze, str) else ";".join(freeze), train_statistics),
        optimizer,
        seed,
        shapes or {},
        CompileOptions.of(**options),
        nan_check,
        parallel,
    )


def _require_parallel(parallel: Any, nan_check: bool) -> None:
    if not isinstance(parallel, DataParallel):
        raise MlcError(f"parallel is {parallel!r}", file=user_line(), remedy="Give mlc.dist.data().")
    parallel.require_group()
    if nan_check and parallel.ranks > 1:
        raise MlcError(
            "nan_check looks for the op that made a NaN on one rank, and it may have been on another",
            file=user_line(),
            remedy="Leave it out, or look for it on one rank, without parallel=.",
        )
