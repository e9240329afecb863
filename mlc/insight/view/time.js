"use strict";
/* The time page: one call kernel by kernel, the roofline, shares per kernel, node and module with exact sums, latencies. */

const BETWEEN = "between kernels";
const WHAT_IS_BETWEEN = "the call from Python, threads that are woken and meet, memory that is got for outputs";

class TimePage extends PlotPage {
  cards() {
    const { compilation } = this;
    if (!compilation.timed) return "This file holds no times: mlc view MODEL or mlc bench MODEL --report measures them.";
    const cards = [
      wide(this.lane()),
      wide(this.table()),
      ...(compilation.times.machine ? [this.roofline()] : []),
      this.histogram(),
      this.shares("nodes", "Time by node", [...compilation.shareOfNode], (node) => this.page.goNode(node)),
      this.shares("modules", "Time by module", this.modules(), null),
    ];
    if (compilation.steps.some((step) => step.predicted)) cards.push(wide(this.predictions()));
    if (this.page.other?.timed) cards.push(wide(this.beside(this.page.other)));
    return cards;
  }

  lane() {
    const { compilation, page } = this;
    const [w, left] = [1300, 10];
    let at = 0;
    const blocks = compilation.steps.map((step) => {
      const x = left + ((w - 2 * left) * at) / compilation.whole;
      const width = ((w - 2 * left) * step.ns) / compilation.whole;
      at += step.ns;
      if (!step.ns) return "";
      const hue = HUE[familyOf(step.kernel)];
      const about = escaped(`${stepText(step)}\n${timeText(step.ns)}, ${percent(step.ns / compilation.whole)}`);
      const name = width > 70 ? `<text class="on" x="${x + 5}" y="34">${escaped(step.kernel.slice(0, width / 6.8))}</text>` : "";
      return `<rect class="hit" data-kernel="${step.kernel}" data-tip="${about}" x="${x}" y="6" width="${Math.max(0.4, width - 0.5)}" height="46" rx="2" fill="${strong(hue)}"/>${name}`;
    });
    if (compilation.between) {
      const x = left + ((w - 2 * left) * compilation.total) / compilation.whole;
      const about = `${BETWEEN}: ${timeText(compilation.between)}, ${percent(compilation.between / compilation.whole)}\n${WHAT_IS_BETWEEN}`;
      blocks.push(`<rect data-tip="${about}" x="${x}" y="6" width="${Math.max(0.4, w - left - x)}" height="46" rx="2" fill="${paint.dim}" fill-opacity=".35"/>`);
    }
    const marks = ticks(compilation.whole / 1e6, 8).map((t) => `<text x="${left + ((w - 2 * left) * t * 1e6) / compilation.whole}" y="70" text-anchor="${t ? "middle" : "start"}">${timeText(t * 1e6)}</text>`);
    const whole = compilation.times.end_to_end;
    const between = `${timeText(compilation.between)} between them: ${WHAT_IS_BETWEEN}`;
    const text = `A whole call takes ${timeText(whole)} (median): ${countText(compilation.steps.length, "kernel call")}, ${timeText(compilation.total)} together, and ${between}.${this.busy()}`;
    return card("call", "One call, kernel by kernel", text, drawing(page, w, 76, blocks.join("") + marks.join(""), "kernels of one call on a line"));
  }

  /** Whole calls wait for others, which shows between kernels: the middle time of a kernel is one in which it did not. */
  busy() {
    const { busy } = this.compilation.times;
    return busy ? ` While this was measured ${busy}, for which whole calls waited.` : "";
  }

  /** The slowest kernels: what each reaches, what holds it back, and which line of the model it is. */
  table() {
    const { compilation, page } = this;
    const head = ["kernel", "calls", "time", "share", "GFLOP/s", "GB/s", "of the roof", "bound by", "nodes"];
    const rows = compilation.kernelsBySlowness.slice(0, 20).map((kernel) => {
      const machine = compilation.times.machine ?? { gflops: Infinity, gbs: Infinity };
      const bytes = kernel.steps.reduce((sum, step) => sum + step.bytes * step.turns, 0);
      const memory = bytes / machine.gbs;
      const compute = kernel.flops / machine.gflops;
      const nodes = [...new Set(kernel.steps.flatMap((step) => step.source))];
      const { line = "" } = compilation.nodes[nodes[0]] ?? {};
      const cells = [
        el("td", {}, link(kernel.name, () => page.showKernel(kernel.name))),
        number(kernel.steps.length),
        number(timeText(kernel.ns)),
        number(percent(kernel.ns / compilation.whole)),
        number(kernel.flops ? (kernel.flops / (kernel.ns || 1)).toFixed(1) : "–"),
        number((bytes / (kernel.ns || 1)).toFixed(1)),
        number(kernel.ns ? percent(Math.max(memory, compute) / kernel.ns) : "–"),
        el("td", { textContent: memory > compute ? "memory" : "arithmetic" }),
        el("td", {}, nodes.length ? link(nodes[0], () => page.goNode(nodes[0])) : null, nodes.length > 1 ? dim(` and ${nodes.length - 1} more`) : null, line ? dim(`  ${line}`) : null),
      ];
      return el("tr", {}, cells);
    });
    const others = compilation.kernelsBySlowness.slice(20);
    const more = others.reduce((sum, kernel) => sum + kernel.ns, 0);
    if (others.length) rows.push(this.plainRow(countText(others.length, "other kernel"), more, head.length));
    rows.push(this.plainRow(BETWEEN, compilation.between, head.length, WHAT_IS_BETWEEN));
    rows.push(this.plainRow("the whole call", compilation.times.end_to_end, head.length));
    const header = el("tr", {}, head.map((text, k) => el("th", { textContent: text, className: k > 0 && k < 7 ? "number" : "", scope: "col" })));
    const table = el("table", {}, el("thead", {}, header), el("tbody", {}, rows));
    return card("slowest", "The slowest kernels", "The roof is what this machine reaches for so many operations, and bytes that come from memory: what lies in its caches can be faster.", table);
  }

  plainRow(name, ns, columns, about = "") {
    const cells = [el("td", { textContent: name }), el("td"), number(timeText(ns)), number(percent(ns / this.compilation.whole)), el("td", { colSpan: columns - 4, className: "dim", textContent: about })];
    return el("tr", { className: "plain" }, cells);
  }

  roofline() {
    const { compilation, page } = this;
    const { machine } = compilation.times;
    const [w, h, left] = [640, 420, 56];
    const points = compilation.steps.filter((step) => step.flops && step.ns && step.bytes);
    const intensity = (step) => step.flops / step.bytes;
    const speed = (step) => (step.flops * step.turns) / step.ns;
    const ridge = machine.gflops / machine.gbs;
    const lowX = Math.log10(Math.min(0.05, ...points.map(intensity)));
    const highX = Math.log10(Math.max(4 * ridge, ...points.map(intensity)) * 1.5);
    const highY = Math.log10(Math.max(machine.gflops, ...points.map(speed)) * 1.6);
    const lowY = Math.min(highY - 2, Math.log10(Math.min(1, ...points.map(speed)) * 0.7));
    const X = (value) => left + ((w - left - 10) * (Math.log10(value) - lowX)) / (highX - lowX);
    const Y = (value) => 16 + ((h - 56) * (highY - Math.log10(value))) / (highY - lowY);
    const decades = (low, high) => Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, k) => 10 ** (Math.ceil(low) + k));
    const across = decades(lowX, highX).map((v) => `<line class="grid" x1="${X(v)}" x2="${X(v)}" y1="16" y2="${h - 40}"/><text x="${X(v)}" y="${h - 26}" text-anchor="middle">${+v.toFixed(3)}</text>`);
    const up = decades(lowY, highY).map((v) => `<line class="grid" x1="${left}" x2="${w - 10}" y1="${Y(v)}" y2="${Y(v)}"/><text x="${left - 6}" y="${Y(v) + 4}" text-anchor="end">${+v.toFixed(3)}</text>`);
    const start = Math.max(10 ** lowX, 10 ** lowY / machine.gbs);
    const roof = `<polyline fill="none" stroke="${paint.text}" stroke-width="2" points="${X(start)},${Y(start * machine.gbs)} ${X(ridge)},${Y(machine.gflops)} ${w - 10},${Y(machine.gflops)}"/>`;
    const names = `<text x="${w - 12}" y="${Y(machine.gflops) - 6}" text-anchor="end">${machine.gflops} GFLOP/s</text><text x="${X(ridge) - 60}" y="${Y(machine.gflops / 6)}" text-anchor="end">${machine.gbs} GB/s</text><text x="${w / 2}" y="${h - 6}" text-anchor="middle">operations per byte</text><text x="${left}" y="10">GFLOP/s</text>`;
    const most = largest(points.map((step) => step.ns), 1);
    const dots = points.sort((a, b) => b.ns - a.ns).map((step) => {
      const share = speed(step) / Math.min(machine.gflops, intensity(step) * machine.gbs);
      const about = escaped(`${stepText(step)}\n${timeText(step.ns)}, ${speed(step).toFixed(1)} GFLOP/s, ${intensity(step).toFixed(2)} operations per byte\n${percent(share)} of the roof`);
      const colour = strong(HUE[familyOf(step.kernel)]);
      return `<circle class="hit" data-kernel="${step.kernel}" data-tip="${about}" cx="${X(intensity(step))}" cy="${Y(speed(step))}" r="${3 + 13 * Math.sqrt(step.ns / most)}" fill="${colour}" fill-opacity=".55" stroke="${colour}"/>`;
    });
    return card("roofline", "Roofline", "Each kernel call; area: time. The lines are what this machine was measured to reach.", drawing(page, w, h, [...across, ...up, roof, names, ...dots].join(""), "roofline of the kernel calls"));
  }

  histogram() {
    const { latency } = this.compilation.times;
    const ordered = [...latency].sort((a, b) => a - b);
    const at = (share) => ordered[Math.min(ordered.length - 1, Math.floor(share * ordered.length))];
    const [low, high, bins] = [ordered[0], at(0.98), 24];
    const counts = Array(bins).fill(0);
    for (const ms of ordered) if (ms <= high) counts[Math.min(bins - 1, Math.floor(((ms - low) / (high - low || 1)) * bins))]++;
    const top = largest(counts, 1);
    const bars = counts.map((count, k) => (count ? `<rect class="hit" data-tip="${countText(count, "call")}" x="${20 + k * 25}" y="${150 - (130 * count) / top}" width="23" height="${(130 * count) / top}" rx="2" fill="${strong(220)}"/>` : ""));
    const figures = [["least", low], ["median", at(0.5)], ["p90", at(0.9)], ["most", ordered.at(-1)]].map(([name, ms], k) => `<text x="${20 + k * 160}" y="190"><tspan class="strong">${ms.toFixed(3)} ms</tspan> ${name}</text>`);
    const axis = `<line class="grid" x1="10" x2="630" y1="150" y2="150"/><text x="20" y="166">${low.toFixed(3)}</text><text x="${20 + bins * 25}" y="166" text-anchor="end">${high.toFixed(3)} ms</text>`;
    return card("latency", `Latency of ${countText(latency.length, "call")}`, "", drawing(this.page, 640, 196, [...bars, ...figures, axis].join(""), "histogram of latencies"));
  }

  modules() {
    const { compilation } = this;
    const found = new Map();
    for (const [node, ns] of compilation.shareOfNode) {
      const path = compilation.pathOf(node).join(" / ") || "(no module)";
      found.set(path, (found.get(path) ?? 0) + ns);
    }
    return [...found];
  }

  /** Rows of [name, ns]; what is between kernels is a row of its own, so that all of them are the whole call. */
  shares(name, title, rows, go) {
    const { total, between, whole } = this.compilation;
    const ordered = rows.sort((a, b) => b[1] - a[1]);
    const most = largest(ordered.map(([, ns]) => ns), 1);
    const made = ordered.slice(0, 14).map(([name, ns]) => el("div", {}, go ? link(name, () => go(name)) : name, bar(ns / most, percent(ns / whole))));
    const rest = ordered.slice(14).reduce((sum, [, ns]) => sum + ns, 0);
    if (rest) made.push(el("div", {}, dim(`${ordered.length - 14} others`), bar(rest / most, percent(rest / whole))));
    const nameless = total - ordered.reduce((sum, [, ns]) => sum + ns, 0);
    if (nameless > 1e-6 * total) made.push(el("div", {}, dim("kernels of no node"), bar(nameless / most, percent(nameless / whole))));
    if (between) made.push(el("div", {}, dim(BETWEEN), bar(between / most, percent(between / whole))));
    return card(name, title, "", ...made);
  }

  predictions() {
    const { steps } = this.compilation;
    const rows = steps.filter((step) => step.predicted && step.ns).sort((a, b) => b.ns - a.ns).slice(0, 20);
    const made = rows.map((step) => el("tr", {}, el("td", { textContent: step.kernel }), number(timeText(step.predicted)), number(timeText(step.ns)), number(`${(step.ns / step.predicted).toFixed(2)}×`), el("td", { textContent: step.bound })));
    const head = el("tr", {}, ["kernel", "predicted", "measured", "measured / predicted", "bound by"].map((text, k) => el("th", { textContent: text, className: 0 < k && k < 4 ? "number" : "" })));
    return card("predicted", "Predicted and measured", "What schedules and the rates of this machine let expect, and what was measured.", el("table", {}, el("thead", {}, head), el("tbody", {}, made)));
  }

  /** Nodes in two compilations, those first that differ most. */
  beside(other) {
    const mine = this.compilation.shareOfNode;
    const nodes = new Set([...mine.keys(), ...other.shareOfNode.keys()]);
    const rows = [...nodes].map((node) => [node, mine.get(node) ?? 0, other.shareOfNode.get(node) ?? 0]);
    rows.sort((a, b) => Math.abs(b[1] - b[2]) - Math.abs(a[1] - a[2]));
    const made = rows.slice(0, 20).map(([node, one, two]) => el("tr", {}, el("td", {}, link(node, () => this.page.goNode(node))), number(timeText(one)), number(timeText(two)), number(timeText(Math.abs(two - one)).replace(/^/, two < one ? "−" : "+"))));
    const head = el("tr", {}, ["node", this.compilation.model.name, other.model.name, "difference"].map((text, k) => el("th", { textContent: text, className: k ? "number" : "" })));
    const text = `${timeText(this.compilation.total)} and ${timeText(other.total)} together`;
    return card("beside", `Beside ${other.model.name}`, text, el("table", {}, el("thead", {}, head), el("tbody", {}, made)));
  }
}

function number(text) {
  return el("td", { className: "number", textContent: text });
}
