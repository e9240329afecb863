"use strict";
/* The kernel page: nodes, loops, schedule and reasons; the same code as structured ops, loops, LLVM IR and assembly, line by line. */

const LINE = 18; // pixels of a line of code
const COLUMNS = [
  ["structured", "structured ops", 0.8],
  ["loops", "loops", 1],
  ["code", "code", 1.1],
  ["assembly", "assembly", 1],
];

class KernelPage {
  constructor(page) {
    this.page = page;
    this.list = el("ol", { className: "kernel-list", aria: { label: "kernels, the slowest first" } });
    this.host = el("div", { className: "kernel" });
    this.element = el("section", { className: "tab kernels" }, this.list, this.host);
    this.list.onkeydown = (event) => walk(event, this.list);
  }

  get compilation() {
    return this.page.compilation;
  }

  start() {
    const { compilation } = this;
    const most = largest(compilation.kernels.map((kernel) => kernel.ns), 1);
    this.shown = null;
    this.host.replaceChildren();
    this.list.replaceChildren(
      ...compilation.kernelsBySlowness.map((kernel) => {
        const title = el("span", { className: "row" }, el("b", { textContent: kernel.name }), compilation.timed ? timeText(kernel.ns) : null);
        const calls = countText(kernel.steps.length, "call");
        const about = `${calls}: ${kernel.ops.at(-1) ?? "plain loops"}`;
        const share = compilation.timed ? bar(kernel.ns / most, percent(kernel.ns / compilation.whole)) : null;
        const made = el("button", { type: "button", onclick: () => this.show(kernel.name) }, title, share, dim(clippedText(about, 46)));
        made.dataset.kernel = kernel.name;
        return el("li", {}, made);
      }),
    );
  }

  refresh() {
    if (!this.shown && this.compilation.kernels.length) return this.show(this.compilation.kernelsBySlowness[0].name);
    return undefined;
  }

  async show(name) {
    const kernel = this.compilation.kernel(name);
    if (!kernel) return;
    this.shown = name;
    this.at = null; // the line that was chosen: {kind, line}
    for (const made of this.list.querySelectorAll("button")) {
      const on = made.dataset.kernel === name;
      if (on) {
        made.setAttribute("aria-current", "true");
        made.scrollIntoView({ block: "nearest" });
      } else made.removeAttribute("aria-current");
    }
    this.page.remember();
    const text = await this.compilation.text(name);
    if (this.shown !== name) return; // another was chosen meanwhile
    this.loops = new Set(kernel.ops.flatMap((op) => [...op.matchAll(/(\w+): /g)].map((match) => match[1])));
    const code = el("div", { className: "code" });
    this.host.replaceChildren(this.facts(kernel), code);
    this.showCode(code, text);
  }

  // Facts ---------------------------------------------------------------------------------------------------------------
  facts(kernel) {
    const { compilation } = this;
    const speed = compilation.timed && kernel.flops ? `, ${(kernel.flops / kernel.ns).toFixed(1)} GFLOP/s` : "";
    const time = compilation.timed ? `: ${timeText(kernel.ns)} in ${countText(kernel.steps.length, "call")}${speed}` : "";
    const verdict = compilation.timed ? verdictOf(compilation, kernel) : "";
    const group = (title, ...rows) => (rows.flat().length ? el("div", {}, el("h4", { textContent: title }), ...rows.flat()) : null);
    return el(
      "div",
      { className: "facts" },
      el(
        "div",
        {},
        el("h3", { textContent: kernel.name + time }),
        verdict ? el("p", { textContent: verdict }) : null,
        ...kernel.ops.map((op) => this.marked(el("p", { className: "mono" }), op)),
      ),
      group("what takes its time", hintsOf(compilation, kernel).map((line) => el("p", { textContent: line }))),
      group("schedule", el("div", { className: "chips mono" }, kernel.schedule.split(" | ").map((part) => this.marked(el("span"), part))), reasons(kernel)),
      group("computes", this.computes(kernel)),
      group("why it ends here", kernel.fusion.map((line) => el("p", { textContent: line })), kernel.copies.map((line) => el("p", { textContent: `copies ${line}` })), kernel.code.map((line) => el("p", { textContent: line }))),
    );
  }

  computes(kernel) {
    const rows = kernel.steps.slice(0, 12).map((step) => {
      const nodes = step.source.flatMap((node, k) => [k ? ", " : "", link(node, () => this.page.goNode(node))]);
      const line = this.compilation.nodes[step.source[0]]?.line;
      const time = this.compilation.timed ? dim(`  ${timeText(step.ns)}`) : null;
      return el("p", {}, ...nodes, time, line ? [el("br"), el("span", { className: "mono", textContent: line })] : null);
    });
    const more = kernel.steps.length - 12;
    return more > 0 ? [...rows, el("p", { className: "dim", textContent: `and ${countText(more, "call")} more` })] : rows;
  }

  /** A text in which each loop has the colour that it has everywhere. */
  marked(element, text) {
    element.innerHTML = escaped(text).replace(/\b[a-z]\w*\b/g, (word) => (this.loops.has(word) ? loopSpan(word, word) : word));
    return element;
  }

  // Code ----------------------------------------------------------------------------------------------------------------
  showCode(host, text) {
    if (!text) {
      host.append(el("p", { className: "hint dim", textContent: "This file holds no code of the kernel." }));
      return;
    }
    this.links = text.links;
    this.columns = new Map();
    for (const [kind, title, share] of COLUMNS) {
      if (!text[kind]) continue;
      const name = kind === "code" ? text.language : title;
      const column = new CodeColumn(kind, name, text[kind].split("\n"), share, (line, act) => this.light(kind, line, act, act), this.loops);
      this.columns.set(kind, column);
      host.append(column.element);
    }
    for (const column of this.columns.values()) column.render();
    const hot = this.busiest();
    const loops = this.columns.get("loops");
    if (hot >= 0) {
      this.light("assembly", hot, true);
      this.columns.get("assembly").scrollTo(hot);
    } else loops?.scrollTo(loops.lines.findIndex((line) => line.startsWith("func.func @")));
  }

  /** The line of assembly that is likely to do most of the work; -1 without assembly. */
  busiest() {
    const lines = this.columns?.get("assembly")?.lines ?? [];
    const first = (pattern) => lines.findIndex((line) => pattern.test(line));
    return [/fmadd|vdpbusd|fmla/, /vmulps|vmaxps|vaddps|fmul|fadd/].map(first).find((line) => line > 0) ?? -1;
  }

  /** Choose a line of a text, by its number from 1 on or as the one that belongs to the busiest. Whether there is one. */
  go(kind, number) {
    const column = this.columns?.get(kind);
    if (!column) return false;
    const hot = this.busiest();
    const lit = hot < 0 ? null : linkedLines(this.links, "assembly", hot)[kind];
    const line = number ? Number(number) - 1 : lit?.size ? Math.min(...lit) : 0;
    if (!(line >= 0 && line < column.lines.length)) return false;
    column.choose(line);
    return true;
  }

  /** The lines of every text that belong to a line of one. */
  light(kind, line, scroll, chosen = false) {
    if (chosen) {
      this.at = { kind, line };
      this.page.remember();
    }
    const lit = linkedLines(this.links, kind, line);
    for (const [name, column] of this.columns) {
      column.light(lit[name] ?? new Set());
      if (scroll && name !== kind && lit[name]?.size) column.scrollTo(Math.min(...lit[name]));
    }
  }
}

/** kind -> lines, following the links to the left as far as they go and then all that lead back there. Each text links to the one at its left. */
function linkedLines(links, kind, line) {
  const order = COLUMNS.map(([name]) => name);
  let at = order.indexOf(kind);
  let first = line;
  const found = { [kind]: new Set([line]) };
  while (at > 0 && order[at] !== "loops") { // from assembly to the loops: all of an op's code belongs together
    const left = links[order[at]]?.[first] ?? -1;
    if (left < 0) break;
    first = left;
    at--;
  }
  found[order[at]] = new Set([first]);
  const above = order[at] === "loops" ? (links.loops?.[first] ?? -1) : -1;
  if (above >= 0) found.structured = new Set([above]);
  for (let k = at + 1; k < order.length; k++) {
    const before = found[order[k - 1]];
    if (!before) break;
    const mine = new Set();
    (links[order[k]] ?? []).forEach((left, number) => {
      if (before.has(left)) mine.add(number);
    });
    found[order[k]] = mine;
  }
  if (!found[kind].size) found[kind] = new Set([line]);
  return found;
}

/** Lines of one text; only those in sight are elements. */
class CodeColumn {
  constructor(kind, title, lines, share, onLine, loops) {
    Object.assign(this, { kind, lines, loops });
    this.lit = new Set();
    this.current = 0;
    const widest = largest(lines.map((line) => line.length));
    this.rows = el("div", { className: "rows", vars: { lines: lines.length, wide: `${widest + 2}ch` } });
    this.pre = el("pre", { tabIndex: 0, aria: { label: title } }, this.rows);
    const head = el("button", { type: "button", className: "head", title: "fold this column" }, el("span", { textContent: title }), el("span", { textContent: countText(lines.length, "line") }));
    this.element = el("div", { className: "column", vars: { share } }, head, this.pre);
    head.onclick = () => this.element.classList.toggle("shut");
    const at = (event) => Math.floor((event.clientY - this.rows.getBoundingClientRect().y) / LINE);
    this.pre.onmousemove = (event) => {
      const line = at(event);
      if (line === this.under || line < 0 || line >= lines.length) return;
      this.under = line;
      onLine(line, false);
    };
    this.choose = (line) => {
      this.current = line;
      onLine(line, true);
      this.scrollTo(line);
    };
    this.pre.onclick = (event) => onLine(Math.min(lines.length - 1, at(event)), true);
    this.pre.onscroll = () => this.render();
    this.pre.onkeydown = (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!by) return;
      this.choose(Math.min(lines.length - 1, Math.max(0, this.current + by)));
      event.preventDefault();
    };
    new ResizeObserver(() => this.render()).observe(this.pre);
  }

  light(lines) {
    this.lit = lines;
    this.render();
  }

  scrollTo(line) {
    this.pre.scrollTop = Math.max(0, line * LINE - this.pre.clientHeight / 3);
    this.render();
  }

  render() {
    const from = Math.max(0, Math.floor(this.pre.scrollTop / LINE) - 5);
    const to = Math.min(this.lines.length, from + Math.ceil((this.pre.clientHeight || 400) / LINE) + 10);
    const made = [];
    for (let n = from; n < to; n++) {
      const on = this.lit.has(n) ? ' class="lit"' : "";
      made.push(`<div${on} style="top:${n * LINE}px">${coloured(this.lines[n], this.kind, this.loops) || " "}</div>`);
    }
    this.rows.innerHTML = made.join("");
  }
}

const hueOfLoop = new Map();

function loopSpan(name, text) {
  if (!hueOfLoop.has(name)) hueOfLoop.set(name, (hueOfLoop.size * 67) % 360);
  return `<span class="loop" style="--hue:${hueOfLoop.get(name)}">${text}</span>`;
}

const WORDS = new RegExp(
  [
    /(?<comment>^\s*(?:;|\/\/).*$)/,
    /(?<string>&quot;.*?&quot;)/,
    /(?<value>%[\w.]+)/,
    /(?<type>\b(?:vector|memref|affine_map|tensor|strided)&lt;(?:[^&]|&(?!gt;)|&gt;(?=[,&]))*?&gt;(?=[\s,){}]|$))/,
    /(?<op>\b(?:scf|arith|memref|vector|linalg|func|math|llvm)\.\w+(?:\.\w+)*|\b(?:define|br|phi|load|store|getelementptr|call|icmp|add|mul|sub|ret|fadd|fmul|select|declare|label|for|if|else|void|__global__|float4?|int)\b)/,
    /(?<number>\b-?\d[\w.]*\b)/,
  ]
    .map((part) => part.source)
    .join("|"),
  "g",
);

/** A line as HTML: ops, values, types and numbers told apart, loops in their colours. */
function coloured(line, kind, loops) {
  if (kind === "assembly") {
    if (/^\S/.test(line)) return `<span class="type">${escaped(line)}</span>`;
    return escaped(line)
      .replace(/^(\s+)(\S+)/, '$1<span class="op">$2</span>')
      .replace(/(%[a-z0-9]+)/g, '<span class="value">$1</span>');
  }
  return escaped(line).replace(WORDS, (all, ...rest) => {
    const groups = rest.at(-1);
    if (groups.value) {
      const name = groups.value.slice(1).replace(/[_.]\d+$/, "");
      return loops.has(name) ? loopSpan(name, all) : `<span class="value">${all}</span>`;
    }
    const found = Object.keys(groups).find((name) => groups[name] !== undefined);
    return `<span class="${found}">${all}</span>`;
  });
}

function reasons(kernel) {
  return kernel.notes.map((line) => el("p", { className: "dim", textContent: line }));
}

function clippedText(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
