"use strict";
/* What the file says: its parts, unpacked; of each pass which records it shows and what it changed; whose time the time of a kernel is. */

const [UID, KIND, ORIGIN, TYPE, ATTRIBUTES, INPUTS, PARENT, GROUP, ROLE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const CONSTANTS = new Set(["weight", "constant", "kernel.weight"]);
const NO_CHANGE = { state: new Map(), gone: new Map(), count: 0 };

async function unpacked(script) {
  const bytes = Uint8Array.from(atob(script.textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/** The compilations in the file, in order. A file that ends in the middle gives what is whole of it. */
async function readCompilations() {
  const found = new Map();
  for (const script of document.querySelectorAll("script[data-part]")) {
    const side = Number(script.dataset.side ?? 0);
    if (!found.has(side)) found.set(side, new Compilation());
    const { part, name } = script.dataset;
    if (part === "text") {
      found.get(side).texts.set(name, script);
      continue;
    }
    try {
      found.get(side).take(part, await unpacked(script));
    } catch (error) {
      found.get(side).broken = `the part '${part}' of this file is damaged: ${error.message}`;
    }
  }
  for (const compilation of found.values()) compilation.prepare();
  return [...found.values()];
}

/** One model on its way to machine code. */
class Compilation {
  constructor() {
    this.model = { name: "?", inputs: [], target: "" };
    this.nodes = {};
    this.records = [];
    this.passes = [];
    this.steps = [];
    this.kernels = [];
    this.groupOf = new Map(); // number of an op -> of the group that it is
    this.texts = new Map(); // kernel -> the part with its texts, unpacked when it is looked at
    this.memory = null;
    this.times = null;
    this.overlays = []; // {name, unit, of: {node: number}}
    this.unsupported = {};
    this.failure = null;
    this.broken = null;
  }

  take(part, content) {
    switch (part) {
      case "model":
        Object.assign(this, content);
        break;
      case "pass": {
        let last = 0; // records by the distance to the one before: that packs well
        const nodes = content.nodes.map((step) => (last += step));
        for (const record of content.records) this.records.push(record);
        delete content.records;
        this.passes.push({ ...content, nodes });
        break;
      }
      case "kernels":
        this.steps = content.steps;
        this.kernels = content.kernels;
        this.groupOf = new Map(content.groups.map((uid, number) => [uid, number]));
        break;
      case "overlay":
        this.overlays.push(content);
        break;
      case "memory":
      case "times":
      case "unsupported":
      case "failure":
        this[part] = content;
        break;
    }
  }

  prepare() {
    this.steps.forEach((step, number) => {
      step.number = number;
      step.ns = this.times?.ns[number] ?? 0;
      step.turns = this.times?.turns[number] ?? 1;
      step.predicted = this.times?.predicted?.[number] ?? 0;
      step.bound = this.times?.bound?.[number] ?? "";
    });
    this.total = this.steps.reduce((sum, step) => sum + step.ns, 0);
    this.timed = this.total > 0;
    this.between = this.timed ? Math.max(0, this.times.end_to_end - this.total) : 0; // of a whole call, what no kernel takes
    this.whole = this.total + this.between;
    this.stepsOfKernel = grouped(this.steps, (step) => step.kernel);
    this.stepsOfGroup = grouped(this.steps, (step) => step.group);
    this.stepsOfNode = new Map();
    this.shareOfNode = new Map(); // so that nodes, and modules of them, add up to all of the time
    for (const step of this.steps) {
      step.source.forEach((node, k) => {
        if (!this.stepsOfNode.has(node)) this.stepsOfNode.set(node, []);
        this.stepsOfNode.get(node).push(step);
        this.shareOfNode.set(node, (this.shareOfNode.get(node) ?? 0) + step.ns * step.weights[k]);
      });
    }
    for (const kernel of this.kernels) {
      kernel.steps = this.stepsOfKernel.get(kernel.name) ?? [];
      kernel.ns = kernel.steps.reduce((sum, step) => sum + step.ns, 0);
      kernel.flops = kernel.steps.reduce((sum, step) => sum + step.flops * step.turns, 0);
    }
    this.kernelsBySlowness = [...this.kernels].sort((a, b) => b.ns - a.ns);
    const roleOf = new Map(); // of groups, and so of the calls that compute them
    for (const record of this.records) if (this.groupOf.has(record[UID])) roleOf.set(this.groupOf.get(record[UID]), record[ROLE]);
    for (const record of this.records) if (record[GROUP] >= 0) record[ROLE] = roleOf.get(record[GROUP]) ?? "";
    this.isTraining = this.records.some((record) => record[ROLE]);
    this.passes.forEach((pass, k) => this.preparePass(pass, k ? this.passes[k - 1] : null));
  }

  preparePass(pass, before) {
    pass.set = new Set(pass.nodes);
    pass.steps = new Map(); // record -> its kernel calls
    const calls = grouped(pass.nodes, (i) => this.groupNumber(this.records[i]));
    calls.delete(-1);
    for (const [group, records] of calls) {
      const steps = this.stepsOfGroup.get(group) ?? [];
      records.forEach((i, k) => {
        const own = records.length === 1 ? steps : steps.slice(k, k + 1);
        if (own.length) pass.steps.set(i, own);
      });
    }
    pass.diff = before ? this.difference(before, pass) : NO_CHANGE;
  }

  /** Of a group, or of a call that computes one; else -1. */
  groupNumber(record) {
    return record[GROUP] >= 0 ? record[GROUP] : (this.groupOf.get(record[UID]) ?? -1);
  }

  /** An op that a pass leaves alone is the same object before and after, with the same number. So: another record of the same number is an op
   * that was altered, or only reads something else (rewired); a new op that says what one says that is gone was moved, and counts as rewired. */
  difference(before, after) {
    const { records } = this;
    const old = new Map();
    for (const i of before.nodes) if (!after.set.has(i)) old.set(records[i][UID], i);
    const state = new Map();
    const gone = new Map();
    const fresh = [];
    for (const i of after.nodes) {
      if (before.set.has(i)) continue;
      const uid = records[i][UID];
      if (!old.has(uid)) {
        fresh.push(i);
        continue;
      }
      const was = old.get(uid);
      old.delete(uid);
      const same = records[was][TYPE] === records[i][TYPE] && records[was][ATTRIBUTES] === records[i][ATTRIBUTES];
      state.set(i, same ? "rewired" : "altered");
      gone.set(was, state.get(i));
    }
    const twins = grouped(old.values(), (i) => this.says(i));
    for (const i of fresh) {
      const twin = twins.get(this.says(i))?.pop();
      state.set(i, twin === undefined ? "added" : "rewired");
      if (twin === undefined) continue;
      gone.set(twin, "rewired");
      old.delete(records[twin][UID]);
    }
    for (const i of old.values()) gone.set(i, "removed");
    return { state, gone, count: countChanges(state, gone) };
  }

  /** What an op says, whoever it is. */
  says(i) {
    const record = this.records[i];
    return [record[KIND], record[ORIGIN], record[TYPE], record[ATTRIBUTES]].join("|");
  }

  origins(record) {
    return record[ORIGIN] ? record[ORIGIN].split("\n") : [];
  }

  pathOf(node) {
    return this.nodes[node]?.path ?? [];
  }

  kernel(name) {
    return this.kernels.find((kernel) => kernel.name === name);
  }

  async text(kernel) {
    const script = this.texts.get(kernel);
    return script ? unpacked(script) : null;
  }
}

function countChanges(state, gone) {
  let count = 0;
  for (const change of [...state.values(), ...gone.values()]) if (change !== "rewired") count++;
  return count;
}

/** What differs between two compilations of one model at some pass: ops are told by their node, kind, type and attributes. */
function differenceOfTwo(first, one, second, other) {
  const twins = grouped(one.nodes, (i) => first.says(i));
  const state = new Map();
  for (const i of other.nodes) if (twins.get(second.says(i))?.pop() === undefined) state.set(i, "added");
  const gone = new Map();
  for (const left of twins.values()) for (const i of left) gone.set(i, "removed");
  return { state, gone, count: countChanges(state, gone) };
}

// Kinds of ops, by what they are to somebody who reads a graph.
const FAMILIES = {
  product: "contract convolution winograd Conv Gemm MatMul ConvTranspose",
  reduction: "reduce reduce_window softmax layer_norm batch_norm cumulative top_k sort arg_reduce",
  movement: "transpose reshape broadcast slice concatenate concat pad gather cast split squeeze iota scatter window_put window_pick",
  end: "input output",
  control: "scan while if scf.for scf.if scf.while call loop",
  kernel: "group",
};
const FAMILY = new Map(Object.entries(FAMILIES).flatMap(([family, kinds]) => kinds.split(" ").map((kind) => [kind, family])));
const HUE = { product: 220, reduction: 28, elementwise: 150, movement: 205, end: 285, control: 330, kernel: 45 };
const KERNEL_FAMILIES = [
  [/^(contraction|convolution|winograd)/, "product"],
  [/^(border|single|copy|concatenation|scatter)/, "movement"],
  [/^(rows|window|reduction)/, "reduction"],
];

function familyOf(kind) {
  return FAMILY.get(kind) ?? KERNEL_FAMILIES.find(([pattern]) => pattern.test(kind))?.[1] ?? "elementwise";
}

// Parts of a step of training.
const HUE_OF_ROLE = { "": 220, backward: 28, update: 150 };

const PRECISIONS = ["f64", "f32", "bf16", "f16", "i8", "u8", "bool"];

function precisionOf(record) {
  return /^[a-z]+\d*/.exec(record[TYPE])?.[0] ?? "";
}

function hueOfPrecision(precision) {
  const place = PRECISIONS.indexOf(precision);
  return place < 0 ? 0 : (place * 51 + 220) % 360;
}
