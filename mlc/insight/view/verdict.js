"use strict";
/* Why a kernel takes its time: what it reaches of the roof, and what keeps it from more. */

const CLOSE = 0.7; // of the roof, which one core and one kernel alone reach
const SHORT = 5000; // nanoseconds in which starting and ending count

// What most of the predicted time of a kernel goes to.
const SPENT_ON = {
  compute: "arithmetic",
  loads: "loads into registers, each of which serves few operations",
  latency: "sums that wait for the one before",
  L2: "bytes that come from the second cache",
  L3: "bytes that come from the last cache",
  memory: "bytes that come from memory",
  call: "the call itself",
};

/** What the machine needs at least for the work of a kernel, in nanoseconds: moving its bytes, and its arithmetic. */
function leastTimes(compilation, kernel) {
  const { machine } = compilation.times ?? {};
  const bytes = kernel.steps.reduce((sum, step) => sum + step.bytes * step.turns, 0);
  return machine && bytes && kernel.ns ? { bytes, memory: bytes / machine.gbs, compute: kernel.flops / machine.gflops, machine } : null;
}

/** What a kernel reaches of what the machine can do for work like its own, in words. */
function verdictOf(compilation, kernel) {
  const found = leastTimes(compilation, kernel);
  if (!found) return "";
  const { bytes, memory, compute, machine } = found;
  const least = Math.max(memory, compute);
  const bound = memory > compute ? `moving ${bytesText(bytes)} at ${machine.gbs} GB/s` : `arithmetic at ${machine.gflops} GFLOP/s`;
  return `${percent(least / kernel.ns)} of the roof: ${bound} alone would take ${timeText(least)}`;
}

/** What may keep a kernel from the roof, by its time, its loops and its schedule; what to change, where it is there. */
function hintsOf(compilation, kernel) {
  const found = leastTimes(compilation, kernel);
  if (!found) return expectation(kernel);
  const { memory, compute } = found;
  const each = kernel.ns / kernel.steps.reduce((sum, step) => sum + step.turns, 0);
  const lines = expectation(kernel);
  if (Math.max(memory, compute) / kernel.ns >= CLOSE) {
    lines.push(memory > compute ? "Close to the roof of memory: only less to move makes it faster." : "Close to the roof of arithmetic: only less to compute makes it faster.");
  } else {
    if (each < SHORT) lines.push(`A call takes ${timeText(each)}: to begin, to fill registers and to end is a good part of so little. Larger sizes, or a batch, use it better.`);
    if (!/Vector|Mma/.test(kernel.schedule)) lines.push("Its loops have no vectors: one element after the other.");
    else lines.push(...partialTiles(kernel), ...emptyLanes(kernel));
    if (memory <= compute && 2 * memory > compute) lines.push(`Moving its bytes through memory would take ${timeText(memory)} of its own, where they do not lie in caches.`);
  }
  return lines;
}

/** What its schedule and the rates of a core let expect, beside what was measured. */
function expectation(kernel) {
  const known = kernel.steps.filter((step) => step.predicted && step.ns);
  if (!known.length) return [];
  const predicted = known.reduce((sum, step) => sum + step.predicted, 0);
  const measured = known.reduce((sum, step) => sum + step.ns, 0);
  const { bound } = known.reduce((a, b) => (b.predicted > a.predicted ? b : a));
  const beside = measured > 1.3 * predicted ? `; it took ${(measured / predicted).toFixed(1)} times that, for reasons that are not in its schedule` : "";
  return [`Its schedule lets expect ${timeText(predicted)}, most of it for ${SPENT_ON[bound] ?? bound}${beside}.`];
}

/** loop -> extent, of those that are numbers, by what the kernel's ops say: [oh: 4, oc: 64] mulf, addf. */
function extentsOf(kernel) {
  return new Map(kernel.ops.flatMap((op) => [...(op.match(/^\[[^\]]*\]/)?.[0] ?? "").matchAll(/([\w.]+): (\d+)/g)].map(([, loop, size]) => [loop, Number(size)])));
}

/** Loops whose last tile is smaller than the others. */
function partialTiles(kernel) {
  const extents = extentsOf(kernel);
  const tiles = new Map(); // the innermost level has the last word
  for (const level of kernel.schedule.matchAll(/Level\(([^)]*)\)/g)) {
    for (const [, loop, size] of level[1].matchAll(/([\w.]+) = (\d+)/g)) tiles.set(loop, Number(size));
  }
  const found = [...tiles].filter(([loop, size]) => extents.has(loop) && extents.get(loop) % size && size < extents.get(loop));
  return found.map(([loop, size]) => `${loop} has ${extents.get(loop)} steps in tiles of ${size}: the last tile has ${extents.get(loop) % size}, and reuses less of what is in registers.`);
}

/** Vectors that are not full. */
function emptyLanes(kernel) {
  const [, loop, lanes] = kernel.schedule.match(/Vector\(([\w.]+) x (\d+)/) ?? [];
  const extent = extentsOf(kernel).get(loop);
  if (!extent || extent % lanes === 0) return [];
  const used = extent / (Math.ceil(extent / lanes) * lanes);
  return used < 0.9 ? [`${loop} has ${extent} steps in vectors of ${lanes}: ${percent(used)} of the lanes are used.`] : [];
}
