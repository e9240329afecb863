"""Packed weights: every element is where the panel's strides say, whatever is cut, padded or reordered; zero elsewhere."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.ir.kernel.pack import Pack, pack, unpack
from mlc.ir.weights import WeightStore


@st.composite
def packs(draw: st.DrawFn) -> Pack:
    shape = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 7, 16, 17, 33)), min_size=1, max_size=3)))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(0, len(shape)))]
    tiles = {axis: draw(st.sampled_from((1, 2, 3, 4, 16, 32))) for axis in axes}
    order = tuple(draw(st.permutations(range(len(shape))))) if draw(st.booleans()) else ()
    return Pack(shape, tiles, order, draw(st.sampled_from((1, 4, 8, 16))))


@settings(max_examples=60)
@given(packs(), st.integers(0, 3))
def test_elements_lie_where_the_strides_say_and_the_rest_is_zero(how: Pack, shift: int) -> None:
    count = int(np.prod(how.shape))
    memory = np.zeros(count * 4 + 3, np.uint8)
    weight = memory[shift : shift + count * 4].view(np.float32).reshape(how.shape)
    weight[...] = np.arange(1, count + 1).reshape(how.shape)
    want = np.zeros(how.elements(), np.float32)
    for index in product(*map(range, how.shape)):
        numbers = [index[axis] // size for axis, size in how.tiles.items()]
        inside = [place % how.tiles.get(axis, place + 1) for axis, place in enumerate(index)]
        want[sum(n * s for n, s in zip([*numbers, *inside], how.strides(), strict=True))] = weight[index]
    found = pack(weight, how)
    np.testing.assert_array_equal(found, want)
    assert found.ctypes.data % 64 == 0
    np.testing.assert_array_equal(unpack(found, how), weight)


def test_a_weight_packed_in_two_ways_is_two_weights_and_in_one_way_is_one() -> None:
    store = WeightStore()
    weight = np.arange(64, dtype=np.float32).reshape(8, 8)
    key = store.add(weight)
    columns, rows = (store.pack(key, Pack((8, 8), {axis: 4})) for axis in (1, 0))
    assert columns != rows and store.pack(key, Pack((8, 8), {1: 4})) == columns
    for name, axis in ((columns, 1), (rows, 0)):
        np.testing.assert_array_equal(store.get(name), pack(weight, Pack((8, 8), {axis: 4})))


def test_weights_made_from_one_another_are_made_once_each_in_several_threads() -> None:
    store, made = WeightStore(), []

    def loader(number: int, base: str | None) -> np.ndarray:
        made.append(number)
        return np.full(4, number, np.float32) + (0 if base is None else store.get(base))

    base = store.add_lazy("base", (4,), "f32", lambda: loader(1, None))
    keys = [store.add_lazy("made", (4,), "f32", lambda n=n: loader(n, base)) for n in range(2, 12)]
    found = store.get_all([*keys, *keys, base], threads=4)
    assert sorted(made) == list(range(1, 12))
    assert list(found) == [*keys, base]
    for number, key in enumerate(keys, 2):
        np.testing.assert_array_equal(found[key], np.full(4, number + 1))
