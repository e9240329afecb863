"""The search for schedules: what it takes and what it leaves, by injected times; stores of schedules; what a search tries computes the same."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc import compilation_cache
from mlc.compiler import Compilation
from mlc.errors import MlcError
from mlc.ir import builder as g
from mlc.ir import interpreter, outsiders
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.schedule_store import ScheduleStore, StoredSchedule, machine
from mlc.ir.module import Module
from mlc.options import CompileOptions
from mlc.schedule_search import Search, Space, won_by
from mlc.tuning import Compiled, _Model

RULE = Schedule.parse("Level(n = 32 parallel) | Scalar")
RNG = np.random.default_rng(0)


def tiles(*sizes: int) -> list[Schedule]:
    return [Schedule.parse(f"Level(n = {size} parallel) | Scalar") for size in sizes]


class Clock:
    """Each look at it costs a hundredth of a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


class Pretended:
    """A variant of kernels "a" and "b", whose times are what `times_of` says of the tile of a."""

    def __init__(
        self, given: Mapping[str, Schedule], times_of: Callable[[int], float], refuses: int | None, wrong: int | None
    ):
        self.tile = given["a"].levels[0].tiles["n"] if "a" in given else 32
        self.refused = frozenset({"a"} if self.tile == refuses else ())
        self.answer = np.full(2, 1.0 if self.tile == wrong else 0.0)
        self.times_of, self.run_again = times_of, 0

    def run(self) -> Sequence[np.ndarray]:
        return [self.answer]

    def times(self) -> dict[str, float]:
        return {"a": self.times_of(self.tile), "b": 1000.0, "tiny": 1.0}


def search(
    times_of: Callable[[int], float],
    around: Mapping[int, list[int]],
    refuses: int | None = None,
    wrong: int | None = None,
    seconds: float = 1000.0,
) -> tuple[Search, list[int]]:
    """A search whose kernel "a" has these tiles around each tile; and the tiles it measured, in order."""
    measured: list[int] = []

    def build(given: Mapping[str, Schedule]) -> Pretended:
        variant = Pretended(given, times_of, refuses, wrong)
        measured.append(variant.tile)
        return variant

    grow = lambda schedule: tiles(*around.get(schedule.levels[0].tiles["n"], []))
    spaces = {"a": Space("a", RULE, grow), "tiny": Space("tiny", RULE, lambda schedule: tiles(1, 2))}
    agree = lambda got, want: all(np.array_equal(x, y) for x, y in zip(got, want, strict=True))
    return Search(spaces, build, agree, seconds, Clock()), measured


def test_a_faster_schedule_is_taken_and_what_lies_around_it_is_tried_next() -> None:
    found, measured = search(
        lambda tile: {32: 900.0, 64: 600.0, 96: 500.0}.get(tile, 2000.0), {32: [16, 64, 8], 64: [96, 16]}
    )
    (row,) = found.run()
    assert (row.kernel, row.rule, row.schedule) == ("a", str(RULE), str(tiles(96)[0]))
    assert row.gain == pytest.approx(900 / 500) and row.share == pytest.approx(900 / 1901)
    assert measured == [
        32,
        16,
        64,
        96,
        8,
        96,
    ]  # nothing twice, but what was taken at the end; nothing for a kernel that takes no time


def test_what_wins_by_less_than_the_noise_is_left() -> None:
    jitter = iter(np.random.default_rng(1).normal(1, 0.3, 10_000))
    found, _ = search(lambda tile: 900.0 * next(jitter), {32: [16, 64, 8, 48, 40, 24]})
    assert found.run() == []


def test_what_wins_once_must_win_again() -> None:
    """The schedule is fast until it is built for the second time."""
    fast = lambda tile: 300.0 if tile == 64 and measured.count(64) == 1 else 900.0
    found, measured = search(fast, {32: [64]})
    assert found.run() == [] and measured == [32, 64, 64]


def test_other_answers_and_refused_schedules_count_for_nothing() -> None:
    fast = lambda tile: 900.0 if tile == 32 else 100.0
    found, _ = search(fast, {32: [64]}, wrong=64)
    assert found.run() == [] and found.wrong == 1
    found, _ = search(fast, {32: [64]}, refuses=64)
    assert found.run() == [] and found.wrong == 0


def test_the_search_ends_with_its_time_and_sees_again_what_it_took() -> None:
    found, measured = search(
        lambda tile: 90_000.0 / tile, {size: [2 * size] for size in (32 * 2**n for n in range(20))}, seconds=1.0
    )
    (row,) = found.run()
    assert row.gain > 2 and 3 <= len(measured) < 20 and measured[-1] == measured[-2]


def test_an_interrupted_search_keeps_what_it_found() -> None:
    def times_of(tile: int) -> float:
        if tile == 8:
            raise KeyboardInterrupt
        return 600.0 if tile == 64 else 900.0

    found, _ = search(times_of, {32: [64, 8]})
    (row,) = found.run()
    assert found.interrupted and row.schedule == str(tiles(64)[0]) and row.gain == pytest.approx(1.5)


@given(st.lists(st.floats(1, 1e9), min_size=5, max_size=5))
def test_equal_times_never_win(times: list[float]) -> None:
    assert won_by(times, times) is None
    assert won_by(times, [2 * ns for ns in times]) is None
    assert won_by([2 * ns for ns in times], times) == pytest.approx(2)


# Stores --------------------------------------------------------------------------------------------------------------
names = st.text(max_size=8)
entries = st.builds(
    StoredSchedule,
    target=st.sampled_from(["cpu a", "cpu b"]),
    kernel=st.sampled_from(["k", "l", "m"]),
    schedule=st.sampled_from([str(s) for s in tiles(1, 2, 64)]),
    rule=st.sampled_from([str(RULE), "Scalar"]),
    gain=st.floats(1, 10),
    threads=st.integers(1, 64),
    loops=st.lists(names, max_size=2).map(tuple),
    nodes=st.lists(names, max_size=2).map(tuple),
)
stores = st.lists(entries, max_size=5).map(ScheduleStore.of)


@settings(max_examples=10)
@given(stores, stores)
def test_stores_are_read_as_they_were_written_and_merge(
    tmp_path_factory: pytest.TempPathFactory, one: ScheduleStore, other: ScheduleStore
) -> None:
    path = tmp_path_factory.mktemp("stores") / "store.json"
    one.save(path)
    assert ScheduleStore.read(path) == one
    assert one.merged(one) == one and ScheduleStore().merged(one) == one == one.merged(ScheduleStore())
    both = one.merged(other)
    keys = lambda store: {(entry.target, entry.kernel) for entry in store.entries}
    assert keys(both) == keys(one) | keys(other) and set(both.entries) <= {*one.entries, *other.entries}
    for entry in both.entries:
        rivals = [
            e
            for e in (*one.entries, *other.entries)
            if (e.target, e.kernel, e.rule) == (entry.target, entry.kernel, entry.rule)
        ]
        assert entry.gain == max(e.gain for e in rivals)


GOOD = {"target": "cpu a", "kernel": "k", "schedule": "Scalar", "rule": "Scalar", "gain": 1.5}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no JSON"),
        ("[]", "format is None"),
        ('{"format": "mlc schedules 9"}', "format is 'mlc schedules 9'"),
        ('{"format": "mlc schedules 1"}', "no list of entries"),
        ([7], "entry 1 is no object"),
        ([GOOD, {**GOOD, "schedule": "Level(n = 0) | Scalar"}], "entry 2: schedule: the tile of loop n is 0"),
        ([{**GOOD, "gain": "much"}], "the gain 'much'"),
        ([{**GOOD, "gain": float("nan")}], "the gain nan"),
        ([{**GOOD, "threads": 0}], "the threads 0"),
        ([{**GOOD, "kernel": None}], "no text 'kernel'"),
        ([{**GOOD, "nodes": "conv1"}], "no list of texts 'nodes'"),
        ([{**GOOD, "colour": "red"}], "a field 'colour'"),
    ],
)
def test_a_file_that_is_no_store_is_refused_in_words(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "store.json"
    path.write_text(
        content if isinstance(content, str) else json.dumps({"format": "mlc schedules 1", "entries": content})
    )
    with pytest.raises(MlcError, match=says):
        mlc.compile(product(), tune_store=path)


# Models --------------------------------------------------------------------------------------------------------------
def product() -> Module:
    m = g.module_builder("product")
    with m.function(inputs=[("x", (37, 48), "f32")]) as (x,):
        w = g.weight(RNG.standard_normal((48, 96)).astype(np.float32), name="w")
        m.outputs([("y", g.relu(g.matmul(x, w)))])
    return m.finish()


def rows() -> Module:
    m = g.module_builder("rows")
    with m.function(inputs=[("x", ("N", 300), "f32")]) as (x,):
        m.outputs([("y", g.softmax(x, 1)), ("z", g.transpose(g.tanh(x), [1, 0]))])
    return m.finish()


def convolution() -> Module:
    m = g.module_builder("convolution")
    with m.function(inputs=[("x", (1, 9, 7, 20), "f32")]) as (x,):
        w = g.weight(RNG.standard_normal((3, 3, 20, 40)).astype(np.float32), name="w")
        y = g.convolution(x, w, "n01c,01co->n01o", [2, 1], [(1, 1), (1, 1)])
        m.outputs([("y", g.relu(y))])
    return m.finish()


def model_of(module: Module) -> tuple[_Model, list[np.ndarray]]:
    sizes = {name: 5 for name in module.symbols}
    shapes = [[sizes.get(str(e), e) for e in shape] for shape, _ in module.input_types]
    arrays = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
    model = _Model(Compilation(CompileOptions(arch="x86-64-v3")), module, arrays)
    model.variant({})
    return model, arrays


@pytest.mark.parametrize("make", [product, rows, convolution])
def test_what_a_search_tries_computes_the_same(make: Callable[[], Module]) -> None:
    module = make()
    model, arrays = model_of(module)
    expected = interpreter.run(module, arrays)
    spaces = model.spaces(ScheduleStore())
    assert sum(len(space.waiting) for space in spaces.values()) >= 8
    for turn in range(3):
        picks = {
            name: space.waiting[-1 - turn * 7 % len(space.waiting)] for name, space in spaces.items() if space.waiting
        }
        variant = model.variant(picks)
        for found, want in zip(variant.run(), expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
        assert variant.times().keys() == spaces.keys()


def test_results_in_the_memory_of_inputs_leave_them_as_they_are_for_the_next_variant() -> None:
    m = g.module_builder("counter")
    with m.function(inputs=[("x", (64,), "f32")]) as (x,):
        m.outputs([("next", g.add(x, g.full((64,), 1.0, "f32")))], {"next": "x"})
    model = _Model(Compilation(), m.finish(), [np.zeros(64, np.float32)])
    for _ in range(2):
        variant = model.variant({})
        assert variant.times() and variant.run()[0].tolist() == [1.0] * 64


def stored(module: Module, number: int = 0) -> tuple[ScheduleStore, StoredSchedule]:
    """A store with the one schedule around the rule's that has a number."""
    model, _ = model_of(module)
    ((name, space),) = model.spaces(ScheduleStore()).items()
    entry = StoredSchedule(machine(model.target), model.keys[name], str(space.waiting[number]), str(space.rule), 1.5)
    return ScheduleStore((entry,)), entry


def test_a_stored_schedule_takes_the_place_of_the_rules_on_its_machine_alone(tmp_path: Path) -> None:
    module, x = product(), RNG.standard_normal((37, 48)).astype(np.float32)
    store, entry = stored(module)
    store.save(tmp_path / "store.json")
    plain = mlc.compile(module, arch="x86-64-v3")
    exe = mlc.compile(module, arch="x86-64-v3", tune_store=tmp_path / "store.json")
    (kernel,) = exe.report["kernels"]
    assert kernel["schedule"] == entry.schedule != plain.report["kernels"][0]["schedule"] == entry.rule
    assert kernel["notes"] == [f"scheduled as measured, not as the rules do: {entry.rule}"]
    assert exe.report["stored_schedules"] == {"entries": 1, "for_machine": 1, "used": 1, "left": []}
    np.testing.assert_allclose(exe(x), plain(x), rtol=1e-5, atol=1e-5)
    other = mlc.compile(module, arch="x86-64-v2", tune_store=[tmp_path / "store.json"])
    assert other.report["stored_schedules"] == {"entries": 1, "for_machine": 0, "used": 0, "left": []}


def test_an_entry_that_does_not_fit_any_more_is_left_with_a_word() -> None:
    module = product()
    _, entry = stored(module)
    for changed, says in (
        ({"rule": "Scalar"}, "another schedule since"),
        ({"schedule": "Level(q = 4) | Scalar"}, "there is no loop q"),
    ):
        store = ScheduleStore((dataclasses.replace(entry, **changed),))
        facts = mlc.compile(module, arch="x86-64-v3", tune_store=store).report["stored_schedules"]
        assert facts["used"] == 0 and says in facts["left"][0]
        assert mlc.compile(module, arch="x86-64-v3", tune_store=store).report["kernels"][0]["schedule"] == entry.rule


def test_a_store_is_a_part_of_the_keys_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outsiders, "_names", {})  # of other tests: with them, no compilation is kept
    module = product()
    first, second = stored(module)[0], stored(module, 1)[0]
    keys = {
        request.key
        for store in (None, first, second)
        if (request := compilation_cache.of_module(CompileOptions(tune_store=store), module)) is not None
    }
    assert len(keys) == 3


def test_a_search_of_a_model_finds_what_the_times_of_its_kernels_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are injected: of three schedules around the rules' the second is fast."""
    module = product()
    model = _Model(Compilation(), module, [np.ones((37, 48), np.float32)])
    model.variant({})
    ((name, space),) = model.spaces(ScheduleStore()).items()
    few = space.waiting[:3]

    def times(self: Compiled) -> dict[str, float]:
        schedule = self.executable.report["kernels"][0]["schedule"]
        return {name: 100.0 if schedule == str(few[1]) else 1000.0}

    monkeypatch.setattr(Compiled, "times", times)
    monkeypatch.setattr("mlc.schedule_search.ROUND", 0.0)
    monkeypatch.setattr("mlc.tuning.neighbours", lambda kernel, schedule, target: few)
    found = mlc.tune(module, seconds=1000, threads=1)
    (row,) = found.rows
    assert (row.schedule, row.rule, row.gain) == (str(few[1]), str(space.rule), pytest.approx(10))
    assert found.gain == pytest.approx(10) and (found.tried, found.wrong, found.interrupted) == (4, 0, False)
    (entry,) = found.store.entries
    assert entry.target == machine(cpu_target()) and entry.threads == 1 and "mulf, addf" in " ".join(entry.loops)
    monkeypatch.setattr("mlc.tuning.neighbours", lambda kernel, schedule, target: [])
    assert mlc.tune(module, seconds=1000, threads=1, tune_store=found.store).store == found.store


def test_tune_says_what_it_cannot_do() -> None:
    for seconds in (0, -1, float("nan"), "60", True):
        with pytest.raises(MlcError, match="no time"):
            mlc.tune(product(), seconds=seconds)  # type: ignore[arg-type]
    scheduled = Compilation().lower(product(), Compilation().passes(product())[:-2])
    with pytest.raises(MlcError, match="have schedules already"):
        mlc.tune(scheduled)
    with pytest.raises(mlc.TargetUnavailable, match="on the CPU at hand"):
        mlc.tune(product(), target="cuda", arch="sm_80")
    with pytest.raises(MlcError, match="no array for the input 'x'"):
        mlc.tune(product(), inputs={})
