"""Preparation of features: Scaler, Normalizer, Binarizer, Imputer, ArrayFeatureExtractor, FeatureVectorizer, OneHotEncoder, LabelEncoder,
and ZipMap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like
from mlc.frontends.onnx.ops.ml import learned
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir.dims import prod
from mlc.ir.types import dtype_name, dtype_of, is_float, numpy_dtype, rank_of, shape_of


def per_feature(node: Node, name: str, values: Sequence[float], x: Value, dtype: str) -> Value:
    """One value, or one per entry of the last axis, repeated to x's shape."""
    size = shape_of(x)[-1] if rank_of(x) else 1
    if len(values) not in (1, size):
        raise node.error(f"{len(values)} values of {name} for {size} features")
    return g.broadcast_to(g.constant(np.array(values, numpy_dtype(dtype)), name), shape_of(x))


@learned("Scaler", since=(1,))
def scaler(node: Node, x: Value) -> Value:
    """(x - offset) * scale in f32."""
    x = g.cast(x, "f32")
    x = g.sub(x, per_feature(node, "offset", node.floats("offset"), x, "f32"))
    return g.mul(x, per_feature(node, "scale", node.floats("scale"), x, "f32"))


@learned("Normalizer", since=(1,))
def normalizer(node: Node, x: Value) -> Value:
    """Each row over its maximum, its sum of magnitudes or its length, in f32; a row whose norm is 0 stays."""
    x, kind = g.cast(x, "f32"), node.string("norm")
    axis = rank_of(x) - 1
    match kind:
        case "MAX":
            norm = g.reduce(x, [axis], "max", keepdims=True)
        case "L1":
            norm = g.reduce(g.abs(x), [axis], "sum", keepdims=True)
        case "L2":
            norm = g.sqrt(g.reduce(g.mul(x, x), [axis], "sum", keepdims=True))
        case _:
            raise node.invalid(f"norm '{kind}' is none of MAX, L1, L2")
    norm = g.select(g.eq(norm, like(norm, 0)), like(norm, 1), norm)
    return g.div(x, g.broadcast_to(norm, shape_of(x)))


@learned("Binarizer", since=(1,))
def binarizer(node: Node, x: Value) -> Value:
    """1 above the threshold, 0 elsewhere."""
    return g.cast(g.gt(x, like(x, node.float("threshold"))), dtype_of(x))


@learned("Imputer", since=(1,))
def imputer(node: Node, x: Value) -> Value:
    """Replace one value (NaN, unless the file says which) by one per feature."""
    if is_float(dtype_of(x)):
        values, old = node.floats("imputed_value_floats"), node.float("replaced_value_float", 0.0)
        found = g.is_nan(x) if np.isnan(old) else g.eq(x, like(x, old))
    else:
        values, old = node.ints("imputed_value_int64s"), node.int("replaced_value_int64", 0)
        found = g.eq(x, like(x, old))
    return g.select(found, per_feature(node, "imputed values", values, x, dtype_of(x)), x)


@learned("ArrayFeatureExtractor", since=(1,))
def array_feature_extractor(node: Node, x: Value, indices: Value) -> Value:
    """Entries of the last axis; a vector gives one row."""
    if rank_of(x) == 0:
        raise node.error("X has no axes")
    flat = g.reshape(indices, [prod(shape_of(indices))])
    y = g.gather(x, flat, rank_of(x) - 1)
    return g.unsqueeze(y, [0]) if rank_of(x) == 1 else y


@learned("FeatureVectorizer", since=(1,))
def feature_vectorizer(node: Node, *xs: Value) -> Value:
    """Columns side by side, in f32; each operand gives as many as inputdimensions says, zeros where it has fewer."""
    wanted = node.ints("inputdimensions", None) or [shape_of(x)[-1] for x in xs]
    if len(wanted) != len(xs):
        raise node.invalid(f"{len(wanted)} inputdimensions for {len(xs)} operands")
    parts = []
    for x, width in zip(xs, wanted, strict=True):
        x = g.cast(g.unsqueeze(x, [1]) if rank_of(x) == 1 else x, "f32")
        have = shape_of(x)[1]
        if have != width:
            if not isinstance(have, int):
                raise node.unsupported(f"an operand of {have} columns where {width} are wanted")
            x = g.slice_axis(x, 1, 0, width) if have > width else g.pad(x, [0, 0], [0, width - have])
        parts.append(x)
    return g.concatenate(parts, 1)


@learned("OneHotEncoder", since=(1,))
def one_hot_encoder(node: Node, x: Value) -> Value:
    """1 at the category's place in a new last axis, in f32; a value that is no category gives zeros, or is an error of the call (zeros = 0)."""
    if node.has("cats_strings"):
        raise node.unsupported("categories that are strings")
    categories = np.array(node.ints("cats_int64s"), np.int64)
    shape = (*shape_of(x), len(categories))
    known = g.broadcast(g.constant(categories, "categories"), shape, [len(shape) - 1])
    value = g.broadcast(g.cast(x, "i64"), shape, list(range(len(shape) - 1)))
    hit = g.eq(value, known)
    if not node.int("zeros"):
        found = g.reduce(hit, [len(shape) - 1], "or")
        strange = g.counted_truth(g.logical_not(g.reduce(found, list(range(rank_of(x))), "and")))
        g.require(g.Check(strange, 0, f"{node.title}: a value of '{node.inputs[0]}' is no category, and zeros is 0"))
    return g.cast(hit, "f32")


@learned("LabelEncoder", since=(2, 4))
def label_encoder(node: Node, x: Value) -> Value:
    """The value of each key, numbers to numbers; a default elsewhere."""
    keys, values = (mapped(node, kind) for kind in ("keys", "values"))
    if len(keys) != len(values):
        raise node.invalid(f"{len(keys)} keys and {len(values)} values")
    if node.has("default_tensor"):
        default = np.asarray(node.tensor("default_tensor")).ravel()[0].item()
    elif is_float(dtype_name(values.dtype)):
        default = node.float("default_float", -0.0)
    else:
        default = node.int("default_int64", -1)
    keys = keys.astype(numpy_dtype(dtype_of(x)))
    if node.version >= 4:  # of equal keys the last counts, before it was the first
        keys, values = keys[::-1], values[::-1]
    keys, first = np.unique(keys, return_index=True)
    values = values[first]
    if not len(keys):
        return g.full(shape_of(x), default, dtype_name(values.dtype))
    has_nan = is_float(dtype_of(x)) and bool(np.isnan(keys[-1]))
    sorted_keys = keys[:-1] if has_nan else keys
    place = last_not_above(x, sorted_keys)
    found = g.eq(g.gather(g.constant(sorted_keys, "keys"), place, 0), x) if len(sorted_keys) else None
    if has_nan:
        nan = g.is_nan(x)
        place = g.select(nan, like(place, len(keys) - 1), place)
        found = nan if found is None else g.logical_or(found, nan)
    assert found is not None
    chosen = g.gather(g.constant(values, "values"), place, 0)
    return g.select(found, chosen, g.full(shape_of(x), default, dtype_of(chosen)))


def last_not_above(x: Value, keys: np.ndarray) -> Value:
    """The place of the last of ascending keys that is not above each element of x, 0 where all are: by bisection, i64."""
    place = g.full(shape_of(x), 0, "i64")
    if len(keys) < 2:
        return place
    table, last = g.constant(keys, "keys"), len(keys) - 1
    for bit in reversed(range(last.bit_length())):
        further = g.add(place, like(place, 1 << bit))
        probe = g.gather(table, g.minimum(further, like(place, last)), 0)
        fits = g.logical_and(g.le(further, like(place, last)), g.le(probe, x))
        place = g.select(fits, further, place)
    return place


def mapped(node: Node, kind: str) -> np.ndarray:
    """Keys or values of a LabelEncoder as numbers."""
    if node.has(f"{kind}_tensor"):
        found = np.asarray(node.tensor(f"{kind}_tensor")).ravel()
        if found.dtype.kind not in "iuf":
            raise node.unsupported(f"{kind} that are strings")
        return found
    if node.has(f"{kind}_int64s"):
        return np.array(node.ints(f"{kind}_int64s"), np.int64)
    if node.has(f"{kind}_floats"):
        return np.array(node.floats(f"{kind}_floats"), np.float32)
    raise node.unsupported(f"{kind} that are strings")


@learned("ZipMap", since=(1,))
def zip_map(node: Node, x: Value) -> Value:
    """The scores as they are, f32 [n, classes]: column i belongs to class i of the attribute, where onnxruntime makes a dict of each row."""
    return x
