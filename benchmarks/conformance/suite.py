"""The cases of `onnx.backend.test` that need no download, each with the group, domain and op it stands for."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

GROUPS = ("node", "node-expanded", "simple", "light", "pytorch-converted", "pytorch-operator")

# An array; a list of them for a sequence; None for an empty optional.
Value = Any
DataSet = tuple[list[Value], list[Value]]


@dataclass(frozen=True)
class Case:
    """`load()` gives the model and its data sets: pairs of inputs (in graph order) and expected outputs."""

    name: str
    group: str
    domain: str  # the first domain other than ai.onnx that a node uses, else ai.onnx
    op: str  # the op under test (node cases); "" where a whole model is under test
    ops: tuple[str, ...]  # all ops of the graph, subgraphs included
    opset: int
    rtol: float
    atol: float
    load: Callable[[], tuple[onnx.ModelProto, list[DataSet]]] = field(repr=False)


def load_cases() -> list[Case]:
    """Every case of the installed onnx package; names are unique."""
    cases = [*_node_cases(), *_folder_cases(), *_light_cases()]
    assert len({case.name for case in cases}) == len(cases)
    return cases


def free_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    initializers = {tensor.name for tensor in model.graph.initializer}
    initializers |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in initializers]


def feeds(model: onnx.ModelProto, inputs: list[Value]) -> dict[str, Value]:
    """Inputs by name. Some old cases also give values for initializers that are declared as inputs."""
    names = [value.name for value in model.graph.input]
    if len(names) != len(inputs):
        names = [value.name for value in free_inputs(model)]
    return dict(zip(names, inputs, strict=False))


def _node_cases() -> Iterator[Case]:
    for test in load_model_tests(kind="node"):
        group = "node-expanded" if "_expanded" in test.name else "node"
        yield _case(test.name, group, test.model, test.rtol, test.atol, partial(_from_memory, test))


def _from_memory(test: Any) -> tuple[onnx.ModelProto, list[DataSet]]:
    sets = [([_value(v) for v in inputs], [_value(v) for v in outputs]) for inputs, outputs in test.data_sets]
    return test.model, sets


def _folder_cases() -> Iterator[Case]:
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for test in load_model_tests(kind=kind):
            folder = Path(test.model_dir)
            model = onnx.load(folder / "model.onnx")
            yield _case(test.name, kind, model, test.rtol, test.atol, partial(_from_folder, folder))


def _from_folder(folder: Path) -> tuple[onnx.ModelProto, list[DataSet]]:
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set*")):
        inputs = len(list(data.glob("input_*.pb")))
        declared = list(model.graph.input) if inputs == len(model.graph.input) else free_inputs(model)
        outputs = len(list(data.glob("output_*.pb")))
        sets.append(
            (
                [_read(data / f"input_{i}.pb", declared[i].type) for i in range(inputs)],
                [_read(data / f"output_{i}.pb", model.graph.output[i].type) for i in range(outputs)],
            )
        )
    return model, sets


def _light_cases() -> Iterator[Case]:
    data = Path(onnx.backend.test.__file__).parent / "data"
    for path in sorted((data / "light").glob("*.onnx")):
        name = f"test_{path.stem}"
        tolerances = {"rtol": 1e-3, "atol": 1e-7}
        stated = data / "real" / name.replace("light_", "") / "data.json"
        if stated.exists():
            tolerances |= {key: v for key, v in json.loads(stated.read_text()).items() if key in tolerances}
        yield _case(name, "light", onnx.load(path), tolerances["rtol"], tolerances["atol"], partial(_light, path))


def _light(path: Path) -> tuple[onnx.ModelProto, list[DataSet]]:
    model = onnx.load(path)
    inputs = []
    for value in free_inputs(model):  # the ramp that the official runner feeds
        shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in value.type.tensor_type.shape.dim]
        count = int(np.prod(shape))
        inputs.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    outputs = [_read(path.with_name(f"{path.stem}_output_{i}.pb"), v.type) for i, v in enumerate(model.graph.output)]
    return model, [(inputs, outputs)]


def _case(name: str, group: str, model: onnx.ModelProto, rtol: float, atol: float, load: Callable[[], Any]) -> Case:
    ops = list(_graph_ops(model.graph))
    domain = next((domain for domain, _ in ops if domain != "ai.onnx"), "ai.onnx")
    versions = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    return Case(
        name=name,
        group=group,
        domain=domain,
        op=_op_under_test(name, ops) if group == "node" else "",
        ops=tuple(sorted({_label(*op) for op in ops})),
        opset=versions.get("ai.onnx", 0),
        rtol=rtol,
        atol=atol,
        load=load,
    )


def _graph_ops(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield node.domain or "ai.onnx", node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graph_ops(attribute.g)
            for body in attribute.graphs:
                yield from _graph_ops(body)


def _label(domain: str, op: str) -> str:
    return op if domain == "ai.onnx" else f"{domain}::{op}"


def _op_under_test(name: str, ops: list[tuple[str, str]]) -> str:
    """The only op, else the longest-named one whose name the case's name contains, else the last."""
    squashed = re.sub(r"[^a-z0-9]", "", name.lower())
    named = [op for op in ops if op[1].lower() in squashed]
    if len(set(ops)) == 1 or not named:
        return _label(*ops[-1])
    return _label(*max(named, key=lambda op: len(op[1])))


def _value(value: Any) -> Value:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return numpy_helper.to_optional(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _read(path: Path, declared: onnx.TypeProto) -> Value:
    kinds = {
        "sequence_type": onnx.SequenceProto,
        "tensor_type": onnx.TensorProto,
        "optional_type": onnx.OptionalProto,
    }
    proto = next(make() for kind, make in kinds.items() if declared.HasField(kind))
    proto.ParseFromString(path.read_bytes())
    return _value(proto)
