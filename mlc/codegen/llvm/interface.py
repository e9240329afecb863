"""The C interface of an exported library: LLVM IR of the functions a C program calls, and the header that declares them.

    int64_t NAME_workspace(dims)                                 bytes of memory a run needs, or -1 for sizes that do not fit
    int     NAME_run(dims, inputs, outputs, workspace, shapes)   0 done, 1 sizes do not fit, 2 no memory
    int     NAME_shapes(dims, shapes)                            extents of all outputs, one behind the other
    int     NAME_threads(threads)                                how many threads a run may use from now on; 1 at first

`dims` holds the symbols' values. Python does not run here, so the plan is symbolic: which buffers share memory is decided once, at
reference sizes, and each slot is as large as the largest of its members. That takes 1.2 to 1.8 times the live peak, against at most
1.2 for a plan per binding.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.codegen.llvm.dimensions import extent_text
from mlc.codegen.llvm.rank_table import OWN, SYMBOL
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.kernel.plan import ALIGNMENT, GRAIN, GUARD, Plan

# What a symbol is taken to be when buffers are chosen to share memory.
REFERENCE = 64


def emit_interface(plan: Plan, symbols: Sequence[str], name: str, entry: str, weights: Sequence[int]) -> str:
    """LLVM IR. `weights` are the offsets of the plan's weights behind the symbol NAME_weights."""
    slots = share(plan)
    table = 1 + len(plan.sizes) + len(plan.launches) + len(plan.buffers)
    pointers = len(plan.inputs) + len(plan.outputs) + 1
    rows = ", ".join(f"ptr getelementptr (i8, ptr @{name}_weights, i64 {offset})" for offset in weights)
    constant = f"[{len(weights)} x ptr] [{rows}]" if weights else "[1 x ptr] zeroinitializer"
    return "\n".join(
        [
            f"@{name}_weights = external hidden constant i8",
            f"@weights = internal constant {constant}",
            "@helpers = internal global i64 0",
            f"@{SYMBOL} = weak hidden global [{OWN} x i64] zeroinitializer",  # of one process; train and evaluate share it
            f"declare void @{entry}(ptr, ptr, ptr)",
            "declare i64 @mlc_pool_start(i64)",
            "declare i32 @posix_memalign(ptr, i64, i64)",
            "declare void @free(ptr)",
            _plan_function(plan, symbols, slots),
            _shapes_function(plan, symbols),
            _verdict_function(plan, symbols),
            f"""
define i64 @{name}_workspace(ptr %dims) nounwind {{
  %table = alloca [{table} x i64]
  %bytes = call i64 @plan(ptr %dims, ptr %table)
  ret i64 %bytes
}}

define i32 @{name}_shapes(ptr %dims, ptr %shapes) nounwind {{
  %table = alloca [{table} x i64]
  %bytes = call i64 @plan(ptr %dims, ptr %table)
  %wrong = icmp slt i64 %bytes, 0
  br i1 %wrong, label %refuse, label %write
write:
  call void @most(ptr %dims, ptr %shapes)
  ret i32 0
refuse:
  ret i32 1
}}

define i32 @{name}_threads(i32 %threads) nounwind {{
  %wide = sext i32 %threads to i64
  %helpers = sub i64 %wide, 1
  %few = icmp slt i64 %helpers, 0
  %wanted = select i1 %few, i64 0, i64 %helpers
  %have = call i64 @mlc_pool_start(i64 %wanted)
  %fewer = icmp slt i64 %have, %wanted
  %given = select i1 %fewer, i64 %have, i64 %wanted
  store i64 %given, ptr @helpers
  %all = add i64 %given, 1
  %narrow = trunc i64 %all to i32
  ret i32 %narrow
}}

define i32 @{name}_run(ptr %dims, ptr %inputs, ptr %outputs, ptr %workspace, ptr %shapes) nounwind {{
entry:
  %table = alloca [{table} x i64]
  %io = alloca [{pointers} x ptr]
  %place = alloca ptr
  %bytes = call i64 @plan(ptr %dims, ptr %table)
  %wrong = icmp slt i64 %bytes, 0
  br i1 %wrong, label %refuse, label %fits
fits:
  %own = icmp eq ptr %workspace, null
  br i1 %own, label %allocate, label %given
allocate:
  %failed = call i32 @posix_memalign(ptr %place, i64 {ALIGNMENT}, i64 %bytes)
  %none = icmp ne i32 %failed, 0
  br i1 %none, label %full, label %allocated
allocated:
  %fresh = load ptr, ptr %place
  br label %given
given:
  %arena = phi ptr [ %workspace, %fits ], [ %fresh, %allocated ]
{_copies(plan)}
  call void @{entry}(ptr %table, ptr %arena, ptr %io)
  br i1 %own, label %release, label %after
release:
  call void @free(ptr %arena)
  br label %after
after:
  %code = call i32 @verdict(ptr %dims, ptr %table)
  %silent = icmp eq ptr %shapes, null
  br i1 %silent, label %done, label %tell
tell:
  call void @exact(ptr %dims, ptr %table, ptr %shapes)
  br label %done
done:
  ret i32 %code
refuse:
  ret i32 1
full:
  ret i32 2
}}
""",
        ]
    )


def _copies(plan: Plan) -> str:
    lines = []
    for source, count, start in (("inputs", len(plan.inputs), 0), ("outputs", len(plan.outputs), len(plan.inputs))):
        for i in range(count):
            lines += [
                f"  %{source}.{i} = getelementptr ptr, ptr %{source}, i64 {i}",
                f"  %{source}.{i}.value = load ptr, ptr %{source}.{i}",
                f"  %{source}.{i}.io = getelementptr ptr, ptr %io, i64 {start + i}",
                f"  store ptr %{source}.{i}.value, ptr %{source}.{i}.io",
            ]
    last = len(plan.inputs) + len(plan.outputs)
    return "\n".join([*lines, f"  %last = getelementptr ptr, ptr %io, i64 {last}", "  store ptr @weights, ptr %last"])


class _Lines:
    """Straight-line code: instructions that get names, and extents that are computed once."""

    def __init__(self, symbols: Sequence[str]):
        self.lines: list[str] = []
        self.known: dict[Extent, str] = {}
        self.symbols: dict[str, str] = {}
        for number, symbol in enumerate(symbols):
            place = self.define(f"getelementptr i64, ptr %dims, i64 {number}")
            self.symbols[symbol] = self.define(f"load i64, ptr {place}")

    def define(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def extent(self, extent: Extent) -> str:
        if extent not in self.known:
            self.known[extent] = extent_text(extent, self.symbols.__getitem__, self.define)
        return self.known[extent]

    def store(self, value: str, base: str, number: int) -> None:
        self.line(f"store i64 {value}, ptr {self.define(f'getelementptr i64, ptr {base}, i64 {number}')}")

    def smaller(self, lhs: str, rhs: str) -> str:
        less = self.define(f"icmp slt i64 {lhs}, {rhs}")
        return self.define(f"select i1 {less}, i64 {lhs}, i64 {rhs}")

    def rounded(self, size: str, extra: int = 0) -> str:
        more = self.define(f"add i64 {size}, {extra + ALIGNMENT - 1}")
        return self.define(f"and i64 {more}, {-ALIGNMENT}")


def _plan_function(plan: Plan, symbols: Sequence[str], slots: Sequence[Sequence[int]]) -> str:
    """Fill the table for `dims`; the workspace in bytes, or -1 where bounds or checks do not hold."""
    code = _Lines(symbols)
    fits = "true"

    def need(test: str) -> None:
        nonlocal fits
        fits = code.define(f"and i1 {fits}, {test}")

    for symbol in symbols:
        low, high = plan.symbols.get(symbol, (0, None))
        need(code.define(f"icmp sge i64 {code.symbols[symbol]}, {max(0, low)}"))
        # beyond this no buffer fits any memory, and products might not fit 64 bits
        need(code.define(f"icmp sle i64 {code.symbols[symbol]}, {high if high is not None else 1 << 40}"))
    late = plan.late_checks
    for check in (check for check in plan.checks if check not in late):
        need(code.define(f"icmp eq i64 {code.extent(check.lhs)}, {code.extent(check.rhs)}"))
    bound = plan.counted
    scratch = code.rounded(code.extent(dims.dmax(0, *(dims.ceiling(e, bound) for e in plan.scratch))))
    code.store(scratch, "%table", 0)
    helpers = code.define("load i64, ptr @helpers")
    number = 1
    for extent in plan.sizes:
        code.store(code.extent(dims.ceiling(extent, bound)), "%table", number)
        number += 1
    for launch in plan.launches:
        tiles = code.extent(dims.ceiling(launch.tiles, bound))
        grains = code.define(f"sdiv i64 {code.extent(dims.ceiling(launch.bytes, bound))}, {GRAIN}")
        parts = code.smaller(tiles, grains)
        useful = code.smaller(code.define(f"sub i64 {parts}, 1"), helpers)
        some = code.define(f"icmp sgt i64 {useful}, 0")
        code.store(code.define(f"select i1 {some}, i64 {useful}, i64 0"), "%table", number)
        number += 1
    threads = code.define(f"add i64 {helpers}, 1")
    top = code.define(f"mul i64 {scratch}, {threads}")
    for members in slots:
        size = code.extent(dims.dmax(*(plan.buffers[i].bytes for i in members)))
        need(code.define(f"icmp sge i64 {size}, 0"))
        for i in members:
            code.store(top, "%table", number + i)
        top = code.define(f"add i64 {top}, {code.rounded(size, GUARD)}")
    total = code.define(f"add i64 {top}, {ALIGNMENT}")  # never nothing: malloc may answer that with null
    answer = code.define(f"select i1 {fits}, i64 {total}, i64 -1")
    return "\n".join(
        ["define internal i64 @plan(ptr %dims, ptr %table) nounwind {", *code.lines, f"  ret i64 {answer}", "}"]
    )


def _shapes_function(plan: Plan, symbols: Sequence[str]) -> str:
    """@most writes the extents of outputs with what is counted at its bound, @exact with what a run counted."""
    most, exact = _Lines(symbols), _after_run(plan, symbols)
    number = 0
    for spec in plan.outputs:
        for extent in spec.shape:
            most.store(most.extent(dims.ceiling(extent, plan.counted)), "%shapes", number)
            exact.store(exact.extent(extent), "%shapes", number)
            number += 1
    return "\n".join(
        [
            "define internal void @most(ptr %dims, ptr %shapes) nounwind {",
            *most.lines,
            "  ret void",
            "}",
            "define internal void @exact(ptr %dims, ptr %table, ptr %shapes) nounwind {",
            *exact.lines,
            "  ret void",
            "}",
        ]
    )


def _verdict_function(plan: Plan, symbols: Sequence[str]) -> str:
    """What a run returns: 0, or 1 where something that it counted breaks a check."""
    code, broken = _after_run(plan, symbols), "false"
    for check in plan.late_checks:
        wrong = code.define(f"icmp ne i64 {code.extent(check.lhs)}, {code.extent(check.rhs)}")
        broken = code.define(f"or i1 {broken}, {wrong}")
    answer = code.define(f"zext i1 {broken} to i32")
    head = "define internal i32 @verdict(ptr %dims, ptr %table) nounwind {"
    return "\n".join([head, *code.lines, f"  ret i32 {answer}", "}"])


def _after_run(plan: Plan, symbols: Sequence[str]) -> _Lines:
    """Code that finds in the table what a run counted."""
    code = _Lines(symbols)
    for name in plan.counted:
        place = code.define(f"getelementptr i64, ptr %table, i64 {1 + plan.sizes.index(dims.symbol(name))}")
        code.symbols[name] = code.define(f"load i64, ptr {place}")
    return code


def share(plan: Plan) -> list[list[int]]:
    """Which buffers take turns in one slot of memory: never two that are alive at the same time."""
    names = {s for life in plan.buffers if not isinstance(life.bytes, int) for s in life.bytes.symbols()}
    at = {name: _reference(*plan.symbols.get(name, (0, None))) for name in names}
    sizes = [dims.evaluate(life.bytes, at) for life in plan.buffers]
    slots: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: plan.buffers[i].first):
        free = [slot for slot in slots if plan.buffers[slot[-1]].last < plan.buffers[i].first]
        nearest = min(free, key=lambda slot: abs(max(sizes[j] for j in slot) - sizes[i]), default=None)
        if nearest is None:
            slots.append([i])
        else:
            nearest.append(i)
    return slots


def _reference(low: int, high: int | None) -> int:
    return max(low, REFERENCE if high is None else min(REFERENCE, high))


# ---------------------------------------------------------------- the header


def header_text(plan: Plan, symbols: Sequence[str], name: str) -> str:
    """The C header of an exported library."""
    guard = f"{name.upper()}_H"
    lines = [f"/* {name}: a compiled model. Generated by mlc; needs neither Python nor mlc to run.", " *"]
    if symbols:
        lines.append(" * dims: the sizes that change from run to run, in this order")
        for symbol in symbols:
            low, high = plan.symbols.get(symbol, (0, None))
            lines.append(f" *   {symbol}   {low} to {'any' if high is None else high}")
    else:
        lines.append(" * dims: none, pass NULL")
    for title, specs in (("inputs", plan.inputs), ("outputs", plan.outputs)):
        lines.append(f" * {title}: row-major arrays, one pointer each")
        for number, spec in enumerate(specs):
            shape = ", ".join(map(str, spec.shape))
            place = "" if spec.alias is None else f"   pass NULL: a run writes it over the input {spec.alias}"
            lines.append(f" *   {number}   {spec.name}   {TABLE[spec.dtype].c} [{shape}]{place}".replace("*/", "* /"))
    for counted, bound in plan.counted.items():
        lines.append(f" * {counted} is counted during a run: reserve memory for {bound}, read it from `shapes`")
    if plan.checks:
        lines.append(" * sizes must satisfy")
        lines += [f" *   {check.lhs} == {check.rhs}" for check in plan.checks]
    if plan.indices:
        lines.append(
            " * the values of these inputs are positions; reading takes the nearest where one is out of range, writing none"
        )
        for each in plan.indices:
            part = "part of it " if each.views else ""
            lines.append(f" *   {each.input}   {part}{each.low} to {each.high}   {each.what}".replace("*/", "* /"))
    return "\n".join(
        [
            *lines,
            " */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "#include <stdint.h>",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            "/* Bytes of workspace that a run needs at these sizes and the present number of threads; -1 where the sizes do not fit. */",
            f"int64_t {name}_workspace(const int64_t *dims);",
            "",
            "/* One run. workspace: at least that many bytes on a 64-byte boundary, or NULL to have them allocated for this run.",
            "   shapes: receives the extents of all outputs, one behind the other; may be NULL.",
            "   Returns 0, or 1 where the sizes do not fit, those that the run counts among them, or 2 where there is no memory. May be called from several threads at once. */",
            f"int {name}_run(const int64_t *dims, const void *const *inputs, void *const *outputs, void *workspace,",
            f"        {' ' * len(name)}int64_t *shapes);",
            "",
            "/* The extents of all outputs at these sizes. Returns 0, or 1 where the sizes do not fit. */",
            f"int {name}_shapes(const int64_t *dims, int64_t *shapes);",
            "",
            "/* Let runs use up to this many threads (1 at first). Returns how many they will use. Not while a run is under way. */",
            f"int {name}_threads(int threads);",
            "",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            "#endif",
            "",
        ]
    )
