"""How long a kernel takes, predicted: what it takes of a core (mlc/passes/kernel/cost.py) over what a core was measured to do.

    compute    each op: instructions over their units, or sums that wait for each other, whichever is longer; and every tile's beginning and end
    memory     bytes over the bandwidth of where they lie: L2 or the last cache, as far as they hold what is between two uses of them, else memory

What is far longer covers the other; what is about as long does not. Threads share both, once they have begun; the caller waits for none that has
not. What the figures
below are was found by comparison with the kernels of eleven models, one thread, on a Zen 5: python -m benchmarks.prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlc.ir import dims
from mlc.ir.kernel.machine_rates import Core
from mlc.ir.kernel.target import Target
from mlc.passes.kernel.cost import LINE

CALL = 30.0  # nanoseconds of a call, with its clock
TOGETHER = 1.3  # exponent of a norm of compute and memory: equal ones take 1.7 times one, a tenth beside the other next to nothing
WRITTEN = 1.25  # times what is read: a line is fetched, changed, and goes back later
HELD = 0.5  # of the last cache, which other cores use too

Bound = Literal["compute", "loads", "latency", "L2", "L3", "memory", "call"]


@dataclass(frozen=True)
class Prediction:
    """Nanoseconds of one call, and what most of them are spent on. `roofline` is the time in which nothing but its multiply-adds at the core's peak,
    or its bytes at their bandwidth, could be done: no schedule is faster."""

    nanoseconds: float
    bound: Bound
    roofline: float


def core_at_hand(target: Target) -> Core | None:
    """Of the machine at hand, if the target is that; None where nobody can measure it."""
    from mlc.backends import backend

    inspector = backend(target.kind).inspector
    return None if inspector is None else inspector.core(target)


def level(core: Core, bytes: int) -> tuple[Bound, float]:
    """Where so many bytes lie between two uses, and GB/s from there."""
    if bytes <= core.l2:
        return "L2", core.rates.l2
    if bytes <= HELD * core.last or core.rates.memory is None:
        return "L3", core.rates.l3
    return "memory", core.rates.memory


def predict(
    cost: Mapping[str, Any],
    core: Core,
    extents: Mapping[str, int],
    resident: int = 0,
    threads: int = 1,
    repeated: bool = False,
) -> Prediction:
    """Of one call of a kernel with the `cost` of a report, at sizes of its extents, shared by so many threads. Weights lie where all `resident` bytes
    of the model's weights fit, or, in a kernel that is `repeated` in a loop, its own."""
    rates = core.rates
    value = lambda text: float(dims.evaluate(dims.parse(text), extents))
    parts: dict[Bound, float] = {"compute": 0.0, "loads": 0.0, "latency": 0.0}
    least = 0.0
    for row in cost["ops"]:
        arithmetic, loads, stores, waits, far = map(value, row)
        moved = max(max(loads / rates.load, stores) / rates.clock, far * LINE / rates.l2)
        times: dict[Bound, float] = {
            "compute": arithmetic / rates.fma / rates.clock,
            "loads": moved,
            "latency": waits / rates.clock,
        }
        longest = max(times, key=lambda name: times[name])
        parts[longest] += times[longest]
        least += times["compute"]
    parts["call"] = value(cost["around"]) / rates.clock
    memory: dict[Bound, float] = {}
    for number, text, whole, written in cost["touched"]:
        bytes, of_all = value(text), int(value(whole))
        place, rate = level(core, resident if number in cost["weights"] and not repeated else of_all)
        memory[place] = memory.get(place, 0.0) + bytes * (WRITTEN if written else 1) / rate
    compute, moving = sum(parts.values()), sum(memory.values())
    every = parts if compute >= moving else memory
    bound = max(every, key=lambda name: every[name])
    alone = (compute**TOGETHER + moving**TOGETHER) ** (1 / TOGETHER)
    spent = alone if threads == 1 else min(alone, (rates.fork or 0.0) + alone / threads)
    return Prediction(CALL + spent, "call" if spent < CALL else bound, max(least, moving) / threads)
