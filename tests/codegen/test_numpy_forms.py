"""Every op of the graph dialect has a form in NumPy that means what `evaluate` says, bit by bit where it is of integers."""

import numpy as np
import pytest
from xdsl.dialects.builtin import TensorType
from xdsl.irdl import irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure

import mlc
from mlc.codegen.python.registry import FORMS
from mlc.codegen.python.source import source
from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE
from mlc.ir.graph import GRAPH, elementwise
from mlc.ir.graph.base import GraphOp, emit
from mlc.ir.graph.clip import ClipOp
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.control import YieldOp
from mlc.ir.interpreter import run
from mlc.ir.types import numpy_dtype, tensor_type
from tests.codegen.printed import assert_agrees, call
from tests.ir.examples import EXAMPLES

INTEGERS = [name for name, row in TABLE.items() if row.kind in ("signed", "unsigned") and not row.storage]
FLOATS = ["f64", "f32", "f16", "bf16"]


@pytest.mark.parametrize("kind", [kind for kind in GRAPH.operations if kind is not YieldOp], ids=lambda kind: kind.name)
def test_every_op_class_has_a_form(kind):
    assert any(base in FORMS for base in kind.__mro__)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_printed_op_agrees_with_its_evaluation(example):
    assert_agrees(example.module(), example.arrays())


def module_of(function, *inputs):
    m = g.module_builder("tested")
    with m.function(inputs=[(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(inputs)]) as values:
        found = function(*values)
        m.outputs([(f"y{n}", y) for n, y in enumerate(found if isinstance(found, (list, tuple)) else [found])])
    return m.finish()


def numbers(dtype):
    """Zero, small numbers and the ends of the range of an integer dtype."""
    info = np.iinfo(numpy_dtype(dtype))
    return np.array(
        [info.min, info.min + 1, info.max, info.max - 1, *(n for n in (-9, -2, -1) if info.min < 0), 0, 1, 2, 7, 63],
        numpy_dtype(dtype),
    )


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_truncate_and_shift_as_they_are_evaluated(dtype):
    rows = [row for row in elementwise._ROWS if row.takes in ("number", "integer", "any") and row.arity < 3]
    every = numbers(dtype)
    x, y = (a.reshape(-1).copy() for a in np.meshgrid(every, every))
    module = module_of(
        lambda x, y: [elementwise.apply(r.name, *(x, y)[: r.arity]) for r in rows], (x.shape, dtype), (y.shape, dtype)
    )
    assert_agrees(module, [x, y])


@pytest.mark.parametrize(
    "dtype, divisor", [(t, n) for t in INTEGERS for n in (0, 1, 3, -3) if n >= 0 or not t.startswith("u")]
)
def test_quotients_by_a_number_are_those_by_an_array(dtype, divisor):
    every = numbers(dtype)
    module = module_of(
        lambda x: [elementwise.apply(name, x, g.full_like(x, divisor)) for name in ("div", "mod", "fmod")],
        (every.shape, dtype),
    )
    assert_agrees(module, [every])


SPECIAL = np.array(
    [
        0.0,
        -0.0,
        0.5,
        1.5,
        2.5,
        -2.5,
        127.6,
        300.7,
        -129.0,
        70000.0,
        3e9,
        -3e9,
        1e19,
        1e-8,
        3e-39,
        np.inf,
        -np.inf,
        np.nan,
        448.1,
        0.3,
    ]
)


@pytest.mark.parametrize("source_dtype", TABLE)
def test_casts_are_those_of_the_interpreter_bit_by_bit(source_dtype):
    targets = [name for name in TABLE if name != source_dtype]
    with np.errstate(all="ignore"):
        if TABLE[source_dtype].kind in ("signed", "unsigned") and not TABLE[source_dtype].storage:
            x = numbers(source_dtype)
        elif TABLE[source_dtype].bits < 8 or source_dtype == "bool":
            x = np.arange(1 << TABLE[source_dtype].bits, dtype=np.uint8).view(numpy_dtype(source_dtype))
        else:
            x = SPECIAL.astype(numpy_dtype(source_dtype))
    module = module_of(lambda x: [g.cast(x, target) for target in targets], (x.shape, source_dtype))
    for y, reference in zip(call(module, [x]), run(module, [x]), strict=True):
        assert y.dtype == reference.dtype
        nan = np.isnan(reference.astype(np.float64))
        assert y[~nan].tobytes() == reference[~nan].tobytes()
        assert np.isnan(y[nan].astype(np.float64)).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_of_floats_have_their_dtype_and_their_special_values(dtype):
    rows = [row for row in elementwise._ROWS if row.takes in ("float", "number", "any") and row.arity < 3]
    x = np.array([0.0, -0.0, 1.0, -1.0, 0.3, -0.7, 2.5, 50.0, -50.0, np.inf, -np.inf, np.nan]).astype(
        numpy_dtype(dtype)
    )
    x, y = (a.reshape(-1).copy() for a in np.meshgrid(x, x))
    for row in rows:
        module = module_of(
            lambda x, y, r=row: elementwise.apply(r.name, *(x, y)[: r.arity]), (x.shape, dtype), (y.shape, dtype)
        )
        assert_agrees(module, [x, y], {"f64": 1e-12, "f32": 1e-6, "f16": 2e-3, "bf16": 1e-2}[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_scalars_keep_their_dtype(dtype):
    """Numbers beside a scalar must not make it a float64."""
    module = module_of(
        lambda x: [
            g.mul(g.add(x, g.scalar(0.1, dtype)), g.scalar(3, dtype)),
            g.sigmoid(x),
            g.relu(x),
            g.pow(x, g.scalar(2, dtype)),
        ],
        ((), dtype),
    )
    assert_agrees(module, [np.array(0.7, numpy_dtype(dtype))], 1e-2)


@pytest.mark.parametrize("dtype", ["f64", "f16", "bf16"])
def test_composites_of_other_floats_agree(dtype):
    x, one = (("N", 4, 6), dtype), ((6,), dtype)

    def build(x, s, b):
        channels = g.slice_axis(s, 0, 0, 4)
        return [
            g.softmax(x), g.log_softmax(x, 1), g.gelu(x, "tanh"), g.silu(x), g.layer_norm(x, s, b, [2]), g.rms_norm(x, s, [2]),
            g.instance_norm(x, channels, channels), g.group_norm(x, channels, channels, 2), g.batch_norm(x, s, b, b, g.abs(s), axis=2),
        ]  # fmt: skip

    module = module_of(build, x, one, one)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(numpy_dtype(dtype)) for shape in ((3, 4, 6), (6,), (6,))]
    assert_agrees(module, arrays, {"f64": 1e-12, "f16": 2e-3, "bf16": 2e-2}[dtype])


@pytest.mark.parametrize("dtype", ["f32", "bf16", "i8", "u8"])
def test_bounds_may_be_numbers_arrays_or_the_wrong_way_round(dtype):
    def build(x, low):
        number = lambda value: g.full_like(x, value)
        pairs = [
            (number(1), number(3)),
            (low, number(3)),
            (low, None),
            (None, number(2)),
            (number(3), number(1)),
            (None, None),
        ]
        return [emit(ClipOp(x, *pair))[0] for pair in pairs]

    module = module_of(build, ((7,), dtype), ((7,), dtype))
    x = np.array([0, 1, 2, 3, 4, 5, 9]).astype(numpy_dtype(dtype))
    assert_agrees(module, [x, x[::-1].copy()])
    if dtype == "f32":
        assert_agrees(module, [np.array([np.nan, -0.0, 0.0, np.inf, -np.inf, 1, 2], np.float32), x])


def test_attention_shares_heads_masks_and_looks_back_alone():
    q, k = ((2, 4, "S", 8), "f32"), ((2, 2, "T", 8), "f32")

    def build(q, k, v, m, a):
        return [g.attention(q, k, v, m, causal=True), g.attention(q, k, v, a, scale=0.3), g.attention(q, k, v)]

    module = module_of(build, q, k, k, (("S", "T"), "bool"), (("S", "T"), "f32"))
    rng = np.random.default_rng(0)
    for s, t in ((1, 1), (3, 5), (5, 3)):
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 4, s, 8), (2, 2, t, 8), (2, 2, t, 8))]
        arrays += [rng.random((s, t)) < 0.7, rng.standard_normal((s, t)).astype(np.float32)]
        arrays[3][:, 0] = True
        assert_agrees(module, arrays)


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_layers_take_lengths_biases_and_any_order_of_gates(reverse):
    f = "f32"

    def build(x, w, r, h, c, b, n):
        three = [g.slice_axis(v, 0, 0, 12) for v in (w, r, b)]
        return [
            *g.lstm(x, w, r, h, c, b, n, reverse, "ifco"),
            *g.lstm(x, w, r, h, c, reverse=reverse),
            *g.gru(x, three[0], three[1], h, three[2], three[2], n, reverse, True, "rzh"),
            *g.gru(x, three[0], three[1], h, None, three[2], None, reverse, False, "hzr"),
        ]

    module = module_of(
        build, (("T", 3, 5), f), ((16, 5), f), ((16, 4), f), ((3, 4), f), ((3, 4), f), ((16,), f), ((3,), "i32")
    )
    rng = np.random.default_rng(1)
    for steps in (0, 1, 5):
        shapes = ((steps, 3, 5), (16, 5), (16, 4), (3, 4), (3, 4), (16,))
        assert_agrees(
            module, [*(rng.standard_normal(s).astype(np.float32) for s in shapes), np.array([2, 0, 5], np.int32)]
        )


@pytest.mark.parametrize("dtype", ["f32", "f16", "i32"])
def test_convolutions_of_any_layout_stride_dilation_and_border_agree(dtype):
    def build(x, w, v):
        return [
            g.convolution(x, w, strides=[2, 1], padding=[(1, 2), (0, 1)], dilations=[1, 2]),
            g.convolution(x, w, padding=[(1, 1), (2, 2)], x_dilation=[2, 3]),
            g.convolution(g.transpose(x, [0, 2, 3, 1]), g.transpose(w, [2, 3, 1, 0]), "n01c,01co->n01o"),
            g.convolution(x, v, groups=2),
            g.convolution(x, w, padding=[(-1, 1), (2, -2)]),
        ]

    module = module_of(build, ((2, 4, "H", 7), dtype), ((6, 4, 3, 2), dtype), ((6, 2, 1, 3), dtype))
    rng = np.random.default_rng(2)
    for height in (3, 6):
        arrays = [
            rng.integers(-5, 6, s).astype(numpy_dtype(dtype)) for s in ((2, 4, height, 7), (6, 4, 3, 2), (6, 2, 1, 3))
        ]
        assert_agrees(module, arrays, 2e-3 if dtype == "f16" else 1e-6)


def test_windows_with_borders_and_dilations_agree():
    window = ([1, 2, 3], [1, 2, 1], [(0, 0), (1, 0), (1, 2)], [1, 1, 2])

    def build(x):
        y = g.reduce_window(x, "max", *window)
        places = g.window_place(x, y, *window)
        folds = [g.reduce_window(x, kind, *window, [1, 2, 1]) for kind in ("sum", "prod", "max", "min")]
        return [y, places, g.window_pick(x, places, *window), g.window_put(y, places, g.shape_of(x), *window), *folds]

    for dtype in ("f32", "i32", "bf16"):
        module = module_of(build, ((2, "H", 6), dtype))
        x = np.random.default_rng(3).integers(-9, 9, (2, 5, 6)).astype(numpy_dtype(dtype))
        assert_agrees(module, [x])


def test_folds_over_nothing_give_what_they_begin_with():
    def build(x):
        kinds = [g.reduce(x, [1], kind) for kind in ("sum", "prod", "max", "min")]
        return [
            *kinds,
            g.arg_max(x, 1),
            g.arg_min(x, 1, last=True),
            g.cumulative(x, 1, "max", True, True),
            *g.sort(x, 1),
            g.softmax(g.cast(x, "f32")),
        ]

    for dtype in ("f32", "i8", "u16"):
        module = module_of(build, ((3, "N"), dtype))
        for size in (0, 1, 4):
            assert_agrees(module, [np.random.default_rng(size).integers(0, 5, (3, size)).astype(numpy_dtype(dtype))])


@irdl_op_definition
class DoubledOp(CompositeOp):
    """x + x"""

    name = "test.doubled"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, x):
        super().__init__(operands=[x], result_types=[x.type])

    def infer_types(self):
        return [tensor_type(self.x)]

    def decompose(self, *operands):
        return g.add(operands[0], operands[0])


def test_a_composite_of_someone_else_is_a_function_of_its_decomposition():
    def build(x, y):
        return [emit(DoubledOp(emit(DoubledOp(x))[0]))[0], emit(DoubledOp(y))[0]]

    module = module_of(build, (("N", 3), "f32"), ((4,), "f32"))
    assert source(module).count("def test_doubled") == 2  # one for each type
    assert_agrees(module, [np.ones((2, 3), np.float32), np.ones(4, np.float32)])


@irdl_op_definition
class StrangeOp(GraphOp):
    """An op that nothing knows."""

    name = "test.strange"
    x = operand_def(TensorType)
    result = result_def(TensorType)

    def infer_types(self):
        return [tensor_type(self.x)]


def test_an_op_without_a_form_is_an_error_that_names_op_and_node():
    def build(x):
        with g.location("layer.3", "model.py", 7):
            return emit(StrangeOp(operands=[x], result_types=[x.type]))[0]

    with pytest.raises(mlc.UnsupportedOp, match=r"test\.strange has no form in NumPy\n.*layer\.3"):
        source(module_of(build, ((3,), "f32")))
