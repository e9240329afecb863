"""The geometry of a sliding window: auto_pad, ceil_mode and dilations become strides and padding per spatial axis.

Extents may be expressions: SAME padding of `H` at stride 2 is max(2 * ((H + 1) // 2) + 1 - H, 0), still one formula for every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.table import Value
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.types import shape_of


@dataclass(frozen=True)
class Window:
    """One entry per spatial axis. `padding` is (low, high); `overhang` is how far the last window reaches beyond it."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: tuple[tuple[Extent, Extent], ...]
    overhang: tuple[Extent, ...]

    @property
    def spans(self) -> list[int]:
        """Elements from the first to the last tap of the window."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def crops(self) -> bool:
        """Whether some padding is negative, which ops do not take."""
        return any(isinstance(p, int) and p < 0 for pair in self.padding for p in pair)

    def with_overhang(self) -> Window:
        """The same window, the overhang being part of the padding."""
        padding = tuple((lo, hi + over) for (lo, hi), over in zip(self.padding, self.overhang, strict=True))
        return replace(self, padding=padding, overhang=(0,) * len(padding))


def window_of(
    node: Node, spatial: Sequence[Extent], kernel: Sequence[int], ceil_mode: bool = False, pools: bool = False
) -> Window:
    """The window of a Conv node, or one that `pools`, over these spatial extents.

    A window larger than the padded axis does not fit. Of one that pools, onnxruntime rounds the number of strides towards zero: by less than
    a stride too large, it is placed once and covers what there is.
    """
    count = len(kernel)
    strides = node.ints("strides", None) or [1] * count
    dilations = node.ints("dilations", None) or [1] * count
    pads = node.ints("pads", None) or [0] * 2 * count
    auto = node.string("auto_pad", "NOTSET")
    if len(strides) != count or len(dilations) != count or len(pads) != 2 * count:
        raise node.invalid(
            f"{count} spatial axes need {count} strides and dilations and {2 * count} pads,"
            f" found {len(strides)}, {len(dilations)} and {len(pads)}"
        )
    if min((*strides, *dilations, *kernel, 1)) < 1:
        raise node.invalid(f"strides {strides}, dilations {dilations} and kernel {list(kernel)} must be positive")
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    padding: list[tuple[Extent, Extent]]
    if auto == "NOTSET":
        padding = list(zip(pads[:count], pads[count:], strict=True))
    elif auto == "VALID":
        padding = [(0, 0)] * count
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        padding = [
            same_padding(n, span, stride, upper=auto == "SAME_UPPER")
            for n, span, stride in zip(spatial, spans, strides, strict=True)
        ]
    else:
        raise node.invalid(f"auto_pad '{auto}' is none of NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    overhang: list[Extent] = [0] * count
    for i, (n, span, stride, (low, high)) in enumerate(zip(spatial, spans, strides, padding, strict=True)):
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            continue  # padded as the windows need it
        missing, empty = span - (n + low + high), low + high >= span - 1  # an axis of none gives none
        largest = stride - 1 if pools else 0
        if isinstance(missing, int) and missing > largest:
            raise node.error(
                f"the window spans {span} elements along spatial axis {i}, which has {span - missing} with padding"
            )
        if not empty:
            g.require_at_least(n + low + high, span - largest, f"spatial axis {i} holds the window of {span} elements")
        if ceil_mode and auto == "NOTSET":
            overhang[i] = ceil_overhang(n, span, stride, low, high)
        elif pools and not empty:
            padded = n + low + high
            overhang[i] = node.simplify(dims.dmax(padded, span)) - padded
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(padding), tuple(overhang))


def same_padding(n: Extent, span: int, stride: int, upper: bool) -> tuple[Extent, Extent]:
    """Padding that gives ceil(n / stride) windows; an odd element goes to the high end where `upper`."""
    total: Extent = span - 1 if stride == 1 else dims.dmax((dims.ceildiv(n, stride) - 1) * stride + span - n, 0)
    smaller = total // 2
    return (smaller, total - smaller) if upper else (total - smaller, smaller)


def ceil_overhang(n: Extent, span: int, stride: int, low: Extent, high: Extent) -> Extent:
    """Elements that the last window of ceil_mode reads beyond the padding. A window must start before the high padding."""
    rounded_up = dims.ceildiv(n + low + high - span, stride) + 1
    starting_inside = (n + low - 1) // stride + 1
    windows = dims.dmin(rounded_up, starting_inside)
    return dims.dmax((windows - 1) * stride + span - (n + low + high), 0)


def pad_window(x: Value, window: Window, value: float) -> tuple[Value, Window]:
    """Apply padding and overhang to the last axes of x; negative padding crops. The window left over has none."""
    shape = shape_of(x)
    outer = len(shape) - len(window.kernel)
    pairs = [(0, 0)] * outer + list(window.with_overhang().padding)
    x = crop_or_pad(x, pairs, value)
    none = (0,) * len(window.kernel)
    return x, replace(window, padding=tuple((0, 0) for _ in none), overhang=none)


def crop_or_pad(x: Value, pairs: Sequence[tuple[Extent, Extent]], value: Value | float) -> Value:
    """Pad each axis by (low, high); a negative amount crops, of any of them that sizes decide."""
    starts, ends = ([taken_away(pair[i]) for pair in pairs] for i in (0, 1))
    sizes = [n - lo - hi for n, lo, hi in zip(shape_of(x), starts, ends, strict=True)]
    x = g.slice(x, starts, sizes, [1] * len(sizes))
    # written so that what a crop and a pad make of an axis is n + low + high, whichever of the two it is
    low, high = ([pair[i] + cut for pair, cut in zip(pairs, cuts, strict=True)] for i, cuts in ((0, starts), (1, ends)))
    return g.pad(x, low, high, value)


def taken_away(amount: Extent) -> Extent:
    """What an amount of padding crops: max(0, -amount)."""
    return dims.simplify(dims.dmax(0, -amount), {})
