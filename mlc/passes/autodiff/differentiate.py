"""Append derivatives to @main: gradients of one output, or the tangents of all.

    autodiff{wrt=w}                  @main(x, w) -> (loss)   ->   @main(x, w) -> (loss, gradient.w)
    autodiff{wrt=w,output=y,mode=vjp}                        ->   @main(x, w, cotangent.y) -> (..., gradient.w)
    autodiff{wrt=w,mode=jvp}                                 ->   @main(x, w, tangent.w) -> (loss, tangent.loss)

The forward ops stay as they are. What is appended is a graph like any other, so the pass may run again on what it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir.graph.base import building
from mlc.ir.graph.constants import WeightOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, shape_of, tensor_type, type_text
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.expansion import write_out
from mlc.passes.autodiff.pull import pull
from mlc.passes.autodiff.push import push
from mlc.passes.base import Pass
from mlc.passes.graph.cse import Cse
from mlc.passes.graph.dce import Dce
from mlc.passes.graph.weights_to_arguments import WeightsToArguments, chosen
from mlc.passes.stages import Stage

MODES = ("gradient", "vjp", "jvp")


@dataclass(frozen=True)
class Autodiff(Pass):
    """Append derivatives by the inputs `wrt`, as in `w;b.*`: of the scalar `output` its gradients (`mode=gradient`), of any output the products with
    a cotangent that comes as an input (`vjp`), or of all outputs those with tangents (`jvp`)."""

    name: ClassVar[str] = "autodiff"
    takes: ClassVar[tuple[Stage, ...]] = ("graph",)
    wrt: str = "*"
    output: str = ""
    mode: str = "gradient"

    def run(self, module: Module) -> None:
        if self.mode not in MODES:
            raise MlcError(f"pass '{self.name}': no mode {self.mode!r}", remedy=f"Modes: {', '.join(MODES)}.")
        block = module.main.body.block
        names = self._sources(module)
        numbers = [module.input_names.index(name) for name in names]
        sources = [block.args[n] for n in numbers]
        write_out(block, sources)
        if self.mode == "jvp":
            self._push(module, names, sources)
        else:
            self._pull(module, names, sources)
        Cse().run(module)
        Dce().run(module)

    def _sources(self, module: Module) -> list[str]:
        """The names of the inputs to differentiate by."""
        types = dict(zip(module.input_names, module.main.body.block.args, strict=True))
        floats = [name for name, arg in types.items() if is_float(dtype_of(arg))]
        if self.wrt == "*":
            if not floats:
                raise MlcError(
                    f"pass '{self.name}': no input is of floats",
                    remedy="weights-to-arguments in front of it makes inputs of weights.",
                )
            return floats
        try:
            names = chosen(self.wrt, list(types), "input")
        except MlcError as error:
            raise MlcError(
                error.message,
                remedy=f"{error.remedy} For a weight, run weights-to-arguments before {self.name}.",
            ) from error
        for name in names:
            if name not in floats:
                raise DTypeError(
                    f"no gradient by '{name}', which is {type_text(tensor_type(types[name]))}",
                    remedy=f"Inputs of floats: {', '.join(floats) or 'none'}.",
                )
        return names

    def _pull(self, module: Module, names: Sequence[str], sources: Sequence[SSAValue]) -> None:
        block = module.main.body.block
        last = block.last_op
        assert last is not None
        results = dict(zip(module.output_names, last.operands, strict=True))
        name = chosen(self.output, list(results), "output")[0] if self.output else next(iter(results))
        value = results[name]
        if not is_float(dtype_of(value)):
            raise DTypeError(f"no gradient of the output '{name}', which is {type_text(tensor_type(value))}")
        if self.mode == "vjp":
            seed = _new_argument(module, f"cotangent.{name}", value)
        elif shape_of(value):
            raise ShapeError(
                f"a gradient is of one number, and the output '{name}' is {type_text(tensor_type(value))}",
                remedy="Sum it up, name another output (output=...), or take its cotangent as an input (mode=vjp).",
            )
        with building(Builder(InsertPoint.before(last)), module.checks):
            if self.mode == "gradient":
                seed = algebra.like(value, 1)
            found = pull(block, [(value, seed)], sources)
            gradients = [algebra.like(x, 0) if c is None else c for x, c in zip(sources, found, strict=True)]
        _append_results(module, [f"gradient.{source}" for source in names], gradients)

    def _push(self, module: Module, names: Sequence[str], sources: Sequence[SSAValue]) -> None:
        block = module.main.body.block
        tangents = {x: _new_argument(module, f"tangent.{n}", x) for n, x in zip(names, sources, strict=True)}
        last = block.last_op
        assert last is not None
        outputs = list(zip(module.output_names, last.operands, strict=True))
        with building(Builder(InsertPoint.before(last)), module.checks):
            found = [
                (f"tangent.{name}", algebra.like(y, 0) if t is None else t)
                for (name, y), t in zip(outputs, push(block, tangents), strict=True)
                if is_float(dtype_of(y))
            ]
        _append_results(module, [name for name, _ in found], [t for _, t in found])


def differentiated(module: Module, wrt: str = "*", output: str = "", mode: str = "gradient") -> Module:
    """The module with derivatives by the inputs and weights that fit `wrt`; see Autodiff. The weights among them become inputs."""
    module = module.clone()
    weights = list(dict.fromkeys(op.weight_key for op in module.main.walk() if isinstance(op, WeightOp)))
    floats = [key for key in weights if is_float(module.weights.type_of(key)[1])]
    patterns = [pattern.strip() for pattern in wrt.split(";") if pattern.strip()]
    wanted = [key for key in floats if any(fnmatchcase(key, pattern) for pattern in patterns)]
    if wanted:
        WeightsToArguments(";".join(wanted)).run(module)
    Autodiff(wrt, output, mode).run(module)
    module.verify()
    return module


def _new_argument(module: Module, name: str, like: SSAValue) -> SSAValue:
    """One more input of @main, of the type of a value."""
    main = module.main
    rows = [*_rows(main.arg_attrs, module.input_names), _row(name, module.input_names)]
    argument = main.body.block.insert_arg(like.type, len(main.body.block.args))
    main.properties["arg_attrs"] = ArrayAttr(rows)
    main.update_function_type()
    return argument


def _append_results(module: Module, names: Sequence[str], values: Sequence[SSAValue]) -> None:
    main = module.main
    taken = module.output_names
    rows = _rows(main.res_attrs, taken)
    for name in names:
        row = _row(name, taken)
        rows.append(row)
        taken.append(row.data["graph.name"].data)  # type: ignore[attr-defined]
    last = main.body.block.last_op
    assert last is not None
    last.operands = [*last.operands, *values]
    main.properties["res_attrs"] = ArrayAttr(rows)
    main.update_function_type()


def _rows(attrs: ArrayAttr[DictionaryAttr] | None, names: Sequence[str]) -> list[DictionaryAttr]:
    return list(attrs.data) if attrs else [DictionaryAttr({"graph.name": StringAttr(name)}) for name in names]


def _row(name: str, taken: Sequence[str]) -> DictionaryAttr:
    """The name, with a number where it is taken: gradient.x, gradient.x.2"""
    names = (name if number == 1 else f"{name}.{number}" for number in count(1))
    return DictionaryAttr({"graph.name": StringAttr(next(name for name in names if name not in taken))})
