"""Random bits: the words that the paper's authors publish, and the same ones in every stage, size and number of threads."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.errors import DTypeError
from mlc.ir import builder as g
from mlc.ir.graph.base import emit
from mlc.ir.graph.random import PhiloxOp, RandomBitsOp, bits_of
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from tests.ir.every_stage import agree, built

KEY = [((2,), "u32")]
# counter and key -> words, from kat_vectors of Random123
KNOWN = (
    ("00000000 00000000 00000000 00000000 00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def philox(counter: list[int], key: list[int]) -> list[int]:
    """As the paper has it, in whole numbers."""
    (a, b, c, d), (j, k) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = second >> 32 ^ b ^ j, second % 2**32, first >> 32 ^ d ^ k, first % 2**32
        j, k = (j + 0x9E3779B9) % 2**32, (k + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def bits(key: np.ndarray, shape: tuple[int, ...], stream: int = 0, step: int = 0) -> np.ndarray:
    """Word i % 4 of block i // 4."""
    count = int(np.prod(shape))
    blocks = [philox([i, 0, stream, step], key.tolist()) for i in range(-(-count // 4))]
    return np.array(blocks, np.uint32).reshape(-1)[:count].reshape(shape)


def key_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, 2, np.uint32)


def test_the_published_words() -> None:
    rows = np.array([words(counter) for counter, _ in KNOWN for _ in range(4)], np.uint32)
    word = np.tile(np.arange(4, dtype=np.uint32), len(KNOWN))
    expected = np.array([words(result) for _, result in KNOWN], np.uint32).reshape(-1)
    assert [philox(words(c)[:4], words(c)[4:]) for c, _ in KNOWN] == [words(result) for _, result in KNOWN]
    agree(
        lambda *xs: emit(PhiloxOp(*xs))[0],
        [(("N",), "u32")] * 7,
        [[*rows.T.copy(), word]],
        lambda *_: expected,
        levels=[0, 2],
    )


@settings(max_examples=10)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 7, 16]), max_size=3), st.integers(0, 2**32 - 1), st.integers(0, 99))
def test_an_element_is_a_word_of_its_block(shape: list[int], stream: int, step: int) -> None:
    agree(
        lambda key: g.random_bits(key, shape, stream, step),
        KEY,
        [[key_of(seed)] for seed in range(2)],
        lambda key: bits(key, tuple(shape), stream, step),
    )


def test_symbolic_shapes_have_the_same_words() -> None:
    build = lambda key, x: g.random_bits(key, (*g.shape_of(x), 3), 5)
    feeds = [[key_of(n), np.zeros((n, m), np.float32)] for n, m in ((0, 2), (1, 1), (5, 7), (13, 4))]
    agree(build, [*KEY, (("N", "M"), "f32")], feeds, lambda key, x: bits(key, (*x.shape, 3), 5))


def test_blocks_beyond_2_to_32_have_a_high_word() -> None:
    """The 2**34-th word and those behind it."""
    build = lambda key, number: bits_of(number, key, g.constant(np.array([6, 7], np.uint32)))
    reference = lambda key, number: np.array(
        [philox([i // 4 % 2**32, i // 4 >> 32, 6, 7], key.tolist())[i % 4] for i in number.tolist()], np.uint32
    )
    number = np.array([0, 3, (1 << 34) - 2, 1 << 34, (1 << 34) + 5, (1 << 64) - 1], np.uint64)
    agree(build, [*KEY, (("N",), "u64")], [[key_of(1), number]], reference)


def test_any_number_of_threads_draws_the_same() -> None:
    build = lambda key: [g.random_bits(key, (257, 1031)), g.random_normal(key, (331, 1009), stream=1)]
    module = built(build, KEY)
    found = [mlc.compile(module.clone(), threads=n)(key_of(3)) for n in (1, 2, 3)]
    for some in found[1:]:
        for x, y in zip(some, found[0], strict=True):
            np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(found[0][0], module.run(key_of(3))[0])


@pytest.mark.parametrize(("dtype", "digits"), [("f32", 24), ("f16", 11), ("bf16", 8)])
def test_uniform_numbers_are_the_leading_bits(dtype: str, digits: int) -> None:
    def reference(key: np.ndarray) -> np.ndarray:
        return ((bits(key, (9, 31), 2) >> (32 - digits)) * 2.0**-digits).astype(numpy_dtype(dtype))

    agree(lambda key: g.random_uniform(key, (9, 31), dtype, 2), KEY, [[key_of(0)]], reference)


def test_uniform_f64_has_53_bits() -> None:
    def reference(key: np.ndarray) -> np.ndarray:
        pairs = bits(key, (50, 2)).astype(object)
        return np.array([((a >> 5 << 26) + (b >> 6)) / 2**53 for a, b in pairs])

    agree(lambda key: g.random_uniform(key, (50,), "f64"), KEY, [[key_of(0)]], reference)


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_normal_numbers_are_those_of_box_and_muller(dtype: str) -> None:
    wide = "f64" if dtype == "f64" else "f32"

    def build(key: Any) -> Any:
        return [g.random_normal(key, (40, 5), dtype), g.random_uniform(key, (40, 5, 2), wide)]

    def reference(key: np.ndarray) -> list[np.ndarray]:
        uniform = built(lambda key: g.random_uniform(key, (40, 5, 2), wide), KEY).run(key)[0]
        u, v = np.moveaxis(uniform.astype(np.float64), -1, 0)
        normal = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
        return [normal.astype(numpy_dtype(dtype)), uniform]

    agree(build, KEY, [[key_of(4)]], reference, {"f64": 1e-12, "f32": 3e-6, "f16": 2e-3, "bf16": 2e-2}[dtype])


def test_moments_are_those_of_the_distributions() -> None:
    """Within six standard errors: a wrong shift, sign or scale is many times that."""
    count = 1 << 18
    build = lambda key: [g.random_uniform(key, (count,)), g.random_normal(key, (count,), stream=1)]
    uniform, normal = (x.astype(np.float64) for x in mlc.compile(built(build, KEY))(key_of(7)))
    error = 6 / np.sqrt(count)
    assert 0 <= uniform.min() < 1e-3 and 1 - 1e-3 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < error * np.sqrt(1 / 12) and abs((uniform**2).mean() - 1 / 3) < error * 0.3
    assert abs(normal.mean()) < error and abs((normal**2).mean() - 1) < error * np.sqrt(2)
    assert abs((normal**4).mean() - 3) < error * np.sqrt(96) and np.isfinite(normal).all()
    assert abs(np.corrcoef(uniform[:-1], uniform[1:])[0, 1]) < error
    assert abs(np.corrcoef(uniform, normal)[0, 1]) < error


def test_keys_made_from_keys() -> None:
    def reference(key: np.ndarray, x: np.ndarray, j: np.ndarray) -> list[np.ndarray]:
        made = [philox([i, 0, 0, 2**32 - 1], key.tolist())[:2] for i in range(len(x))]
        folded = philox([int(j), 0, 0, 2**32 - 1], key.tolist())[:2]
        return [np.array(made, np.uint32).reshape(-1, 2), np.array(folded, np.uint32)]

    build = lambda key, x, j: [g.random_split(key, g.shape_of(x)[0]), g.random_fold_in(key, j)]
    feeds = [[key_of(n), np.zeros(n, np.float32), np.uint32(2**32 - 1 - n)] for n in (0, 1, 6)]
    agree(build, [*KEY, (("N",), "f32"), ((), "u32")], feeds, reference)


def test_a_loop_draws_with_its_turn() -> None:
    def step(carries: Any, xs: Any, constants: Any) -> Any:
        return [g.add(carries[0], g.scalar(1, "u32"))], [g.random_bits(constants[0], (3, 5), 9, carries[0])]

    def build(key: Any) -> Any:
        return g.scan(step, [g.scalar(0, "u32")], [], 4, [key])[1]

    agree(build, KEY, [[key_of(5)]], lambda key: np.stack([bits(key, (3, 5), 9, t) for t in range(4)]))


def test_two_draws_of_one_key_are_one_only_where_their_streams_are() -> None:
    def draws(*streams: int) -> int:
        module = built(lambda key: [g.random_bits(key, (8,), stream) for stream in streams], KEY)
        return str(PassManager("cse").run(module)).count("graph.random_bits")

    assert (draws(1, 1), draws(1, 2)) == (1, 2)


def test_what_is_no_key_is_named() -> None:
    with pytest.raises(DTypeError, match=r"random_bits: the key is u64\[2\], not u32\[2\]"):
        built(lambda key: g.random_bits(key, (3,)), [((2,), "u64")])
    with pytest.raises(DTypeError, match=r"random_bits: the stream is u32\[3\], not u32\[2\]"):
        built(lambda key, stream: emit(RandomBitsOp(key, stream, (3,)))[0], [*KEY, ((3,), "u32")])
    with pytest.raises(DTypeError, match="random_uniform: gives floats, not i32"):
        built(lambda key: g.random_uniform(key, (3,), "i32"), KEY)
    with pytest.raises(DTypeError, match=r"random_fold_in: the number is i64\[\], not one u32"):
        built(g.random_fold_in, [*KEY, ((), "i64")])
