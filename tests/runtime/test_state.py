"""Arrays that a call updates, and state between calls: training steps, caches of decoders, copies, packages, threads."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

import mlc
from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir.module import Module
from tests.onnx_models import FOLDER

RATE = 0.125


def step_module(layers: int = 2, width: int = 8) -> Module:
    """One step of descent on |x w0 w1 ... - y|^2 / 2, written out: the parameters are updated in place, the loss is the other result."""
    m = g.module_builder("step")
    shape = ("N", width)
    parameters = [(f"w{n}", (width, width), "f32") for n in range(layers)]
    with m.function(inputs=[*parameters, ("x", shape, "f32"), ("y", shape, "f32")]) as (*ws, x, y):
        values = [x]
        for w in ws:
            values.append(g.contract(values[-1], w, "nk,km->nm"))
        down = g.sub(values[-1], y)
        loss = g.mul(g.reduce(g.mul(down, down), [0, 1], "sum"), g.full((), 0.5, "f32"))
        new = {}
        for n in reversed(range(layers)):
            gradient = g.contract(values[n], down, "nk,nm->km")
            new[f"w{n}"] = g.sub(ws[n], g.mul(gradient, g.full_like(gradient, RATE)))
            down = g.contract(down, ws[n], "nm,km->nk")  # reads the old value behind the update
        m.outputs([("loss", loss), *((f"{n}'", new[n]) for n in sorted(new))], {f"{n}'": n for n in new})
    return m.finish()


def numpy_step(ws: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, list[np.ndarray]]:
    values = [x.astype(np.float64)]
    for w in ws:
        values.append(values[-1] @ w)
    down, new = values[-1] - y, list(ws)
    loss = (down**2).sum() / 2
    for n in reversed(range(len(ws))):
        new[n] = ws[n] - RATE * values[n].T @ down
        down = down @ ws[n].T
    return loss, new


def batch(n: int, seed: int, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.3, 0.3, (2, n, width)).astype(np.float32)
    return x, y


def weights(layers: int = 2, width: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {f"w{n}": rng.uniform(-0.5, 0.5, (width, width)).astype(np.float32) for n in range(layers)}


# Arrays of the caller ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_updates_the_arrays_it_is_given_and_returns_them(threads):
    exe = mlc.compile(step_module(), threads=threads)
    mine = weights()
    exact = [w.astype(np.float64) for w in mine.values()]
    for number, n in enumerate((1, 5, 0, 17)):
        x, y = batch(n, number)
        loss, *found = exe(*mine.values(), x, y)
        want, exact = numpy_step(exact, x, y)
        np.testing.assert_allclose(loss, want, rtol=1e-4, atol=1e-6)
        for array, given, expected in zip(found, mine.values(), exact, strict=True):
            assert array is given
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5)


def test_arrays_that_cannot_be_updated_are_refused_by_name():
    exe, (x, y) = mlc.compile(step_module(1)), batch(3, 0)
    w = weights(1)["w0"]
    frozen = w.copy()
    frozen.flags.writeable = False
    cases = [
        (
            frozen,
            MlcError,
            "input 'w0' is updated in place, for the result 'w0'' lives in it, and the array is read-only",
        ),
        (np.asfortranarray(w), MlcError, "is not row-major without gaps"),
        (np.zeros((8, 16), np.float32)[:, ::2], MlcError, "is not row-major without gaps"),
        (w.astype(np.float64), DTypeError, "it takes float32, the array is float64"),
        (w.tolist(), MlcError, "and a list was given"),
    ]
    for array, kind, message in cases:
        with pytest.raises(kind, match=message):
            exe(array, x, y)
    assert exe(w.copy(), x, y)[0] > 0


def test_an_updated_array_shares_no_memory_with_another():
    exe = mlc.compile(step_module(2))
    x, y = batch(4, 0)
    whole = np.zeros(16 * 8, np.float32)
    first, second = whole[:64].reshape(8, 8), whole[56:120].reshape(8, 8)
    with pytest.raises(MlcError, match="input 'w1' is updated in place, and shares memory with input 'w0'"):
        exe(first, second, x, y)
    with pytest.raises(MlcError, match="input 'w0' is updated in place, and shares memory with input 'x'"):
        exe(first, second.copy(), whole[:32].reshape(4, 8), y)
    exe(first, whole[64:].reshape(8, 8), x, x)  # what is only read may


def test_memory_that_offers_dlpack_is_updated_in_place():
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    exe, (x, y) = mlc.compile(step_module(1)), batch(3, 1)
    w = weights(1)["w0"]
    _, want = numpy_step([w.astype(np.float64)], x, y)
    mine = w.copy()
    try:
        exe(Foreign(mine), x, y)
    except MlcError as error:  # NumPy before 2.1 takes what it is offered as read-only
        assert "read-only" in error.message
    else:
        np.testing.assert_allclose(mine, want[0], rtol=1e-4, atol=1e-6)


def test_threads_update_arrays_of_their_own():
    exe = mlc.compile(step_module(), threads=2)
    x, y = batch(33, 3)
    alone = [w.copy() for w in weights().values()]
    for _ in range(20):
        exe(*alone, x, y)
    found: list[list[np.ndarray]] = []

    def work() -> None:
        mine = [w.copy() for w in weights().values()]
        for _ in range(20):
            exe(*mine, x, y)
        found.append(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for mine in found:
        for one, other in zip(mine, alone, strict=True):
            np.testing.assert_array_equal(one, other)


# Training ----------------------------------------------------------------------------------------------------------------
def test_a_step_with_state_takes_the_batch_alone():
    exe = mlc.compile(step_module(3), threads=2)
    given = weights(3)
    step = exe.with_state(initial=given)
    assert [each.name for each in step.get_inputs()] == ["x", "y"]
    assert [each.name for each in step.get_outputs()] == ["loss"]
    exact = [w.astype(np.float64) for w in given.values()]
    for number, n in enumerate((4, 1, 7)):
        x, y = batch(n, number)
        loss = step(x, y) if number else step.run(["loss"], {"y": y, "x": x})[0]
        want, exact = numpy_step(exact, x, y)
        np.testing.assert_allclose(loss, want, rtol=1e-4)
    for name, expected in zip(step.state, exact, strict=True):
        np.testing.assert_allclose(step.state[name], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(given["w0"], weights(3)["w0"])  # the caller's arrays are copied
    step.reset()
    np.testing.assert_array_equal(step.state["w0"], given["w0"])


def test_a_checkpoint_is_read_and_written_by_name():
    step = mlc.compile(step_module()).with_state(initial=weights())
    x, y = batch(5, 0)
    step(x, y)
    saved = dict(step.state)
    after = step(x, y)
    step.state["w0"][...] = 0  # a copy
    step.state.update(saved)
    assert step(x, y) == after
    again = pickle.loads(pickle.dumps(step))
    assert again(x, y) == step(x, y)
    assert len(step.state) == 2 and list(step.state) == ["w0", "w1"]


def test_copies_go_their_own_way_at_the_same_time():
    exe = mlc.compile(step_module(), threads=2)
    first = exe.with_state(initial=weights())
    x, y = batch(9, 1)
    first(x, y)
    others = [first.copy() for _ in range(3)]
    losses: dict[int, list[float]] = {}

    def work(number: int) -> None:
        losses[number] = [float(others[number](x, y)) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert losses[0] == losses[1] == losses[2] == [float(first(x, y)) for _ in range(20)]


def test_calls_of_one_state_wait_for_each_other():
    m = g.module_builder("count")
    with m.function(inputs=[("count", (1000,), "i64"), ("by", (1000,), "i64")]) as (count, by):
        m.outputs([("counted", g.add(count, by))], {"counted": "count"})
    step = mlc.compile(m.finish(), threads=2).with_state(initial={"count": np.zeros(1000, np.int64)})
    one = np.ones(1000, np.int64)
    threads = [threading.Thread(target=lambda: [step(one) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(step.state["count"], 800)
    assert step(one) is None  # it has no other output


# Decoders ----------------------------------------------------------------------------------------------------------------
CACHES = sorted(FOLDER.glob("*_cache.*.onnx"))


def cache_of(exe: mlc.Executable, rows: int) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """What follows what, and empty caches."""
    pasts = [spec for spec in exe.plan.inputs if spec.name.startswith("past_key_values")]
    pairs = {spec.name: spec.name.replace("past_key_values", "present") for spec in pasts}
    shapes = {spec.name: [e if isinstance(e, int) else 0 for e in spec.shape] for spec in pasts}
    return pairs, {name: np.zeros([rows, *shape[1:]], np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("path", CACHES, ids=lambda path: path.name)
def test_a_decoder_with_a_cache_generates_the_same_with_state(path: Path):
    exe, rows = mlc.compile(path, threads=2), 2
    pairs, empty = cache_of(exe, rows)
    chat = exe.with_state(pairs, empty)
    masked = "attention_mask" in {spec.name for spec in exe.plan.inputs}
    caches, ids = dict(empty), np.full((rows, 1), 3, np.int64)
    own = ids
    for length in range(20):
        mask = {"attention_mask": np.ones((rows, length + 1), np.int64)} if masked else {}
        names = [spec.name for spec in exe.plan.outputs]
        found = dict(zip(names, exe.run(None, {"input_ids": ids, **mask, **caches}), strict=True))
        (logits,) = chat.run(["logits"], {"input_ids": own, **mask})
        np.testing.assert_array_equal(logits, found["logits"])
        caches = {past: found[present] for past, present in pairs.items()}
        ids = found["logits"][:, -1:].argmax(-1)
        own = logits[:, -1:].argmax(-1)
    for name, cache in caches.items():
        assert cache.shape[2] == 20
        np.testing.assert_array_equal(chat.state[name], cache)
    chat.reset()
    assert chat.state[next(iter(pairs))].shape[2] == 0


@pytest.mark.parametrize("path", CACHES, ids=lambda path: path.name)
def test_caches_that_grow_in_place_hold_the_same(path: Path):
    """The axis that grows comes first in them, and no kernel copies what was there."""
    plain, rows = mlc.compile(path), 2
    exe = mlc.compile(path, passes="grow-in-place{results=present*},default", threads=2)
    assert len(exe.plan.fronts) == 4
    assert len(exe.plan.steps) == len(plain.plan.steps) - 4
    pairs, caches = cache_of(plain, rows)
    chat = exe.with_state(initial={name: cache.transpose(2, 0, 1, 3) for name, cache in caches.items()})
    masked = "attention_mask" in {spec.name for spec in exe.plan.inputs}
    ids, names = np.full((rows, 1), 3, np.int64), [spec.name for spec in plain.plan.outputs]
    for length in range(20):
        given = {"input_ids": ids} | ({"attention_mask": np.ones((rows, length + 1), np.int64)} if masked else {})
        found = dict(zip(names, plain.run(None, {**given, **caches}), strict=True))
        (logits,) = chat.run(["logits"], given)
        np.testing.assert_allclose(logits, found["logits"], rtol=1e-4, atol=1e-4)
        if length % 7 == 0:  # a call that gives the caches
            first = {name: np.ascontiguousarray(cache.transpose(2, 0, 1, 3)) for name, cache in caches.items()}
            again = exe.run(None, {**given, **first})
            np.testing.assert_array_equal(again[0], logits)
            np.testing.assert_array_equal(again[1], chat.state[next(iter(pairs))])
        caches = {past: found[present] for past, present in pairs.items()}
        ids = found["logits"][:, -1:].argmax(-1)
    other = chat.copy()
    assert (other(**given) if not masked else other(ids, np.ones((rows, 21), np.int64))) is not None
    for name, cache in caches.items():
        np.testing.assert_allclose(chat.state[name], cache.transpose(2, 0, 1, 3), rtol=1e-4, atol=1e-4)


def test_a_library_refuses_what_grows_between_calls(tmp_path):
    exe = mlc.compile(CACHES[0], passes="grow-in-place,default")
    with pytest.raises(MlcError, match="a library keeps nothing between runs, and the output 'present.0.key' grows"):
        exe.export_library(tmp_path / "m.so")


def test_a_cache_that_grows_asks_for_memory_a_logarithm_of_the_calls():
    m = g.module_builder("append")
    with m.function(inputs=[("past", ("P", 4), "f32"), ("x", (1, 4), "f32")]) as (past, x):
        m.outputs([("present", g.concatenate([past, x], 0)), ("y", g.neg(x))])
    module, empty = m.finish(), {"past": np.zeros((0, 4), np.float32)}
    for passes, buffers in (("default", 2), ("grow-in-place,default", 1)):
        step, places = mlc.compile(module, passes=passes).with_state({"past": "present"}, empty), set()
        for number in range(300):
            step(np.full((1, 4), number, np.float32))
            places.add(step._kept["past"].memory.place)
        assert len(places) <= 9 * buffers  # each of twice the size that it replaces
        np.testing.assert_array_equal(step.state["past"][:, 0], np.arange(300))
        step.reset()
        step(np.zeros((1, 4), np.float32))
        assert step.state["past"].shape == (1, 4)


# Packages and what is refused --------------------------------------------------------------------------------------------
def test_a_package_says_what_is_kept(tmp_path):
    path = next(p for p in CACHES if "gpt2" in p.name)
    exe = mlc.compile(path)
    pairs, empty = cache_of(exe, 1)
    exe.with_state(pairs).save(tmp_path / "chat.mlc")
    chat = mlc.load_executable(tmp_path / "chat.mlc").with_state(initial=empty)
    assert list(chat.state) == list(pairs)
    chat(np.zeros((1, 3), np.int64))
    assert chat.state[next(iter(pairs))].shape[2] == 3
    step = mlc.compile(step_module())
    step.save(tmp_path / "step.mlc")
    again = mlc.load_executable(tmp_path / "step.mlc").with_state(initial=weights())
    x, y = batch(3, 0)
    assert again(x, y) == step.with_state(initial=weights())(x, y)


def test_a_call_that_fails_leaves_the_state():
    step = mlc.compile(step_module(1)).with_state(initial=weights(1))
    x, y = batch(4, 0)
    with pytest.raises(ShapeError, match="axis 0 is 3"):
        step(x, y[:3])
    np.testing.assert_array_equal(step.state["w0"], weights(1)["w0"])
    with pytest.raises(MlcError, match="2 inputs are needed"):
        step(x)
    step(x, y)


def test_state_that_does_not_fit_is_refused_by_name():
    exe = mlc.compile(step_module(1))
    x, y = batch(2, 0)
    with pytest.raises(MlcError, match="state 'w0' has no value yet"):
        exe.with_state()(x, y)
    with pytest.raises(MlcError, match="state 'w0' has no initial value"):
        exe.with_state().reset()
    with pytest.raises(MlcError, match="there is no input 'v'"):
        exe.with_state({"v": "loss"})
    with pytest.raises(MlcError, match="there is no output 'v'"):
        exe.with_state({"x": "v"})
    with pytest.raises(MlcError, match="lies in the memory of the input 'w0', and follows it, not 'loss'"):
        exe.with_state({"w0": "loss"})
    with pytest.raises(ShapeError, match="the output 'loss' is .* and cannot follow the input 'x'"):
        exe.with_state({"x": "loss"})
    with pytest.raises(ShapeError, match=r"state 'w0' takes f32\[8, 8\], the array is \[8, 9\]"):
        exe.with_state(initial={"w0": np.zeros((8, 9), np.float32)})
    with pytest.raises(MlcError, match="there is no state 'x'"):
        exe.with_state(initial={"x": x})
    with pytest.raises(MlcError, match="no result of this executable lives in an input"):
        mlc.compile(FOLDER / "resnet18.symbolic.dynamo.onnx", opt_level=0).with_state()
    step = exe.with_state(initial=weights(1))
    with pytest.raises(MlcError, match="there is no input 'w0'"):
        step.run(None, {"w0": weights(1)["w0"], "x": x, "y": y})
    with pytest.raises(MlcError, match="state 'w0' stays"):
        del step.state["w0"]


def test_an_input_may_be_kept_as_it_is():
    exe = mlc.compile(step_module(1))
    x, y = batch(2, 0)
    step = exe.with_state({"w0": "w0'", "y": None}, {**weights(1), "y": y})
    assert [each.name for each in step.get_inputs()] == ["x"]
    assert step(x) == exe.with_state(initial=weights(1))(x, y)
    step.state["y"] = y[:1]  # another shape: the sizes are found anew
    step(x[:1])


def test_profiles_move_the_state_on():
    step = mlc.compile(step_module(1)).with_state(initial=weights(1))
    x, y = batch(4, 0)
    other = step.copy()
    assert all(each.nanoseconds > 0 for each in step.profile(x, y, repeats=2))
    for _ in range(2):
        other(x, y)
    np.testing.assert_array_equal(step.state["w0"], other.state["w0"])
