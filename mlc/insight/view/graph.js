"use strict";
/* The graph page: the passes in a row, one or two panes, the list of nodes, and what is known of the chosen one. */

const LISTED = 300; // nodes that the list shows at once
const TELLING = ["product", "kernel", "reduction", "elementwise"]; // of the ops of one node, those that do its work

class GraphPage {
  constructor(page) {
    this.page = page;
    this.panes = [];
    this.options = { colour: "kind", boxes: "modules", constants: false, split: "", overlay: null, chosen: null };
    this.strip = el("div", { className: "strip", role: "toolbar", aria: { label: "passes" } });
    this.tools = el("div", { className: "tools" });
    this.host = el("div", { className: "panes" });
    this.search = el("input", { type: "search", placeholder: "find a node, op or shape", aria: { label: "find a node" } });
    this.count = el("p", { className: "dim", aria: { live: "polite" } });
    this.list = el("ol", { className: "nodes", aria: { label: "nodes of this pass" } });
    this.details = el("aside", { className: "details", aria: { label: "details", live: "polite" } });
    const side = el("nav", { className: "side", aria: { label: "nodes" } }, this.search, this.count, this.list);
    const bar = el("div", { className: "toolbar" }, this.strip, this.tools);
    this.element = el("section", { className: "tab graph" }, bar, side, this.host, this.details);
    this.search.oninput = () => this.fillList();
    this.search.onkeydown = (event) => {
      if (event.key === "Enter") this.next();
    };
    this.list.onkeydown = (event) => walk(event, this.list);
  }

  get compilation() {
    return this.page.compilation;
  }

  get pass() {
    return this.compilation.passes[this.page.pass];
  }

  /** Choose the tools anew: they depend on what the file holds. */
  start() {
    const { compilation, options } = this;
    const choice = (label, key, rows) => {
      const select = el("select", {}, rows.map(([value, text]) => el("option", { value, textContent: text })));
      select.value = options[key];
      select.onchange = () => {
        options[key] = select.value;
        this.refresh();
      };
      return el("label", {}, label, select);
    };
    const overlay = compilation.overlays[0];
    options.overlay = overlay ?? null;
    const colours = [["kind", "kind of op"], ["time", "time"], ["change", "what changed"], ["precision", "precision"]];
    if (compilation.isTraining) colours.push(["role", "forward, backward, update"]);
    const constants = el("input", { type: "checkbox", checked: options.constants });
    constants.onchange = () => {
      options.constants = constants.checked;
      this.refresh();
    };
    const each = (act) => () => this.panes.forEach(act);
    const splits = [["", "this pass"], ["before", "before | after it"]];
    if (this.page.other) splits.push(["other", `beside ${this.page.other.model.name}`]);
    this.tools.replaceChildren(
      el("span", {}, button("◀", () => this.step(-1), { label: "previous pass" }), button("▶", () => this.step(1), { label: "next pass" })),
      choice("show", "split", splits),
      choice("colour", "colour", overlay ? [...colours, ["overlay", overlay.name]] : colours),
      choice("boxes", "boxes", [["modules", "modules and kernels"], ["kernels", "kernels"], ["flat", "none"]]),
      el("label", {}, constants, "constants"),
      button("open all", each((pane) => pane.openAll(true))),
      button("close all", each((pane) => pane.openAll(false))),
      button("fit", each((pane) => pane.fitAll())),
    );
  }

  step(by) {
    this.page.pass = Math.max(0, Math.min(this.compilation.passes.length - 1, this.page.pass + by));
    this.refresh();
  }

  refresh() {
    const { compilation, pass, options, page } = this;
    if (!pass) {
      this.details.replaceChildren(el("p", { textContent: compilation.failure?.message ?? "There is no graph in this file." }));
      return;
    }
    this.fillStrip();
    const sides = this.sides();
    while (this.panes.length > sides.length) this.panes.pop().element.remove();
    while (this.panes.length < sides.length) {
      this.panes.push(new Pane(this.host, (record, pane) => this.select(record, pane)));
    }
    sides.forEach((side, k) => this.panes[k].show(side.compilation, side.pass, side.marks, side.title, options));
    this.fillList();
    this.inspect(options.chosen?.record ?? null);
    page.remember();
  }

  sides() {
    const { compilation, pass, options, page } = this;
    const shown = (one, of) => countText(of.nodes.filter((i) => !CONSTANTS.has(one.records[i][KIND])).length, "node");
    const whole = `${shown(compilation, pass)}, ${pass.diff.count} changed`;
    if (options.split === "before" && page.pass > 0) {
      const before = compilation.passes[page.pass - 1];
      return [
        { compilation, pass: before, marks: pass.diff.gone, title: `before ${pass.name}: ${shown(compilation, before)}` },
        { compilation, pass, marks: pass.diff.state, title: `after ${pass.name}: ${whole}` },
      ];
    }
    if (options.split === "other" && page.other) {
      const other = page.other.passes.find((one) => one.name === pass.name) ?? page.other.passes.at(-1);
      if (other) {
        const { state, gone } = differenceOfTwo(compilation, pass, page.other, other);
        const title = `${page.other.model.name}, ${other.name}: ${shown(page.other, other)}`;
        return [
          { compilation, pass, marks: gone, title: `${compilation.model.name}, ${pass.name}: ${shown(compilation, pass)}` },
          { compilation: page.other, pass: other, marks: state, title },
        ];
      }
    }
    return [{ compilation, pass, marks: pass.diff.state, title: `${pass.name}: ${whole}` }];
  }

  fillStrip() {
    const { passes } = this.compilation;
    const most = largest(passes.map((pass) => pass.diff.count), 1);
    const made = passes.map((pass, number) => {
      const title = `${number}. ${pass.name}: ${pass.ops} ops, ${pass.diff.count} changed, ${(pass.seconds * 1e3).toFixed(1)} ms`;
      const act = () => {
        this.page.pass = number;
        this.refresh();
      };
      const shown = button(pass.name, act, { pressed: number === this.page.pass, title });
      shown.append(el("i", { vars: { width: `${100 * Math.sqrt(pass.diff.count / most)}%` } }));
      return shown;
    });
    this.strip.replaceChildren(...made);
  }

  // The list ------------------------------------------------------------------------------------------------------------
  matching() {
    const { compilation, pass } = this;
    const text = this.search.value.trim().toLowerCase();
    const found = [];
    for (const i of pass.nodes) {
      const record = compilation.records[i];
      if (CONSTANTS.has(record[KIND]) && !this.options.constants) continue;
      if (!text || `${record[KIND]} ${record[ORIGIN]} ${record[TYPE]}`.toLowerCase().includes(text)) found.push(record);
    }
    return found;
  }

  fillList() {
    const found = this.matching();
    const more = found.length - LISTED;
    this.count.textContent = countText(found.length, "node") + (more > 0 ? `; the first ${LISTED}` : "");
    this.list.replaceChildren(...found.slice(0, LISTED).map((record) => this.row(record)));
  }

  row(record) {
    const node = record[ORIGIN].split("\n")[0];
    const shown = el("button", { type: "button", onclick: () => this.go(record) }, el("b", { textContent: record[KIND] }), " ", dim(record[TYPE]));
    if (node) shown.append(el("br"), dim(node));
    if (record[UID] === this.options.chosen?.uid) shown.setAttribute("aria-current", "true");
    if (this.compilation.origins(record).some((name) => name in this.compilation.unsupported)) shown.className = "bad";
    return el("li", {}, shown);
  }

  next() {
    const found = this.matching();
    if (!found.length) return;
    this.go(found[(found.findIndex((record) => record[UID] === this.options.chosen?.uid) + 1) % found.length]);
  }

  /** Choose a record and bring it into view. */
  go(record) {
    const pane = this.panes.at(-1);
    this.select(record, pane);
    const box = pane.byUid.get(record[UID]);
    if (box) pane.centre(box);
  }

  /** Go to a node of the user's model. Whether an op of the pass comes from it. */
  goNode(node) {
    this.page.show("graph");
    const pane = this.panes.at(-1);
    const boxes = [...pane.byUid.values()];
    const own = boxes.filter((one) => !one.inside.length && one.record[ORIGIN].split("\n").includes(node));
    const telling = TELLING.map((family) => own.find((one) => familyOf(one.record[KIND]) === family));
    const box = telling.find(Boolean) ?? own[0] ?? boxes.find((one) => one.nodes.has(node));
    if (!box) return false;
    this.select(box.record, pane, node);
    pane.centre(box);
    return true;
  }

  select(record, pane, node) {
    const { compilation } = pane;
    const name = node ?? (record ? record[ORIGIN].split("\n")[0] : "");
    this.options.chosen = record ? { record, uid: record[UID], node: name, compilation } : null;
    this.inspect(record, compilation, pane.pass);
    for (const other of this.panes) {
      if (other !== pane && record) {
        const twin = other.byUid.get(record[UID]) ?? [...other.byUid.values()].find((box) => name && box.nodes.has(name));
        if (twin && !other.isInView(twin)) other.centre(twin);
      }
      other.draw();
    }
    for (const row of this.list.querySelectorAll("[aria-current]")) row.removeAttribute("aria-current");
    this.page.remember();
  }

  // Details -------------------------------------------------------------------------------------------------------------
  inspect(record, compilation = this.compilation, pass = this.pass) {
    const rows = record ? this.aboutRecord(record, compilation, pass) : this.aboutPass(pass);
    this.details.replaceChildren(...rows);
  }

  aboutPass(pass) {
    const { compilation } = this;
    const states = [...pass.diff.state, ...pass.diff.gone];
    const counted = (what) => states.filter(([, state]) => state === what).length;
    const changes = `${counted("added")} added, ${counted("removed")} removed, ${counted("altered") / 2} altered`;
    const names = grouped(
      states.filter(([, state]) => state !== "rewired"),
      ([i, state]) => `${{ removed: "−", added: "+", altered: "±" }[state]} ${compilation.records[i][KIND]}`,
    );
    const kinds = grouped(
      pass.nodes.map((i) => compilation.records[i][KIND]).filter((kind) => !CONSTANTS.has(kind)),
      (kind) => kind,
    );
    const most = largest([...kinds.values()].map((all) => all.length), 1);
    const byCount = (map) => [...map].sort((a, b) => b[1].length - a[1].length);
    const problems = Object.entries(compilation.unsupported);
    return [
      el("h3", { textContent: `${this.page.pass}. ${pass.name}` }),
      el("p", { className: "dim", textContent: `${pass.does ?? ""}` }),
      el("p", { className: "dim", textContent: `${pass.ops} ops of IR, ${(pass.seconds * 1e3).toFixed(1)} ms` }),
      compilation.failure ? el("p", { className: "bad", textContent: compilation.failure.message }) : null,
      problems.length ? el("h4", { textContent: "cannot be compiled" }) : null,
      ...problems.slice(0, 20).map(([node, reason]) => el("p", { className: "bad" }, link(node, () => this.goNode(node)), ` ${reason}`)),
      el("h4", { textContent: "changed" }),
      el("p", { textContent: pass.diff.count ? changes : "nothing" }),
      ...byCount(names).slice(0, 10).map(([name, all]) => el("p", { className: "mono", textContent: `${name}  × ${all.length}` })),
      el("h4", { textContent: "ops" }),
      ...byCount(kinds).slice(0, 14).map(([kind, all]) => el("div", {}, el("span", { className: "mono", textContent: kind }), bar(all.length / most, all.length))),
      el("p", { className: "dim hint", textContent: "Click a box to open it; drag, scroll; ← → other passes; / finds." }),
    ].filter(Boolean);
  }

  aboutRecord(record, compilation, pass) {
    const nodes = compilation.origins(record);
    const index = pass.nodes.find((i) => compilation.records[i] === record);
    const steps = pass.steps.get(index) ?? [...new Set(nodes.flatMap((node) => compilation.stepsOfNode.get(node) ?? []))];
    const rows = [
      el("h3", { textContent: record[KIND] }),
      record[ROLE] ? el("p", { textContent: record[ROLE] === "backward" ? "of the backward pass" : "of the update" }) : null,
      el("p", { className: "mono", textContent: record[TYPE] }),
      record[ATTRIBUTES] ? el("p", { className: "mono dim", textContent: record[ATTRIBUTES] }) : null,
      ...this.aboutNodes(nodes, compilation),
      ...this.aboutSteps(steps, compilation),
      ...this.aboutNeighbours(record, compilation, pass),
      ...this.aboutPast(nodes, compilation, record),
    ];
    return rows.filter(Boolean);
  }

  aboutNodes(nodes, compilation) {
    if (!nodes.length) return [];
    const rows = nodes.slice(0, 12).map((node) => {
      const { path = [], line = "", op = "" } = compilation.nodes[node] ?? {};
      const reason = compilation.unsupported[node];
      return el(
        "p",
        {},
        link(node, () => this.goNode(node)),
        op ? dim(` ${op}`) : null,
        path.length ? [el("br"), dim(path.join(" / "))] : null,
        line ? [el("br"), el("span", { className: "mono", textContent: line })] : null,
        reason ? [el("br"), el("span", { className: "bad", textContent: reason })] : null,
      );
    });
    const more = nodes.length > 12 ? [el("p", { className: "dim", textContent: `and ${nodes.length - 12} more` })] : [];
    return [el("h4", { textContent: "nodes of the model" }), ...rows, ...more];
  }

  aboutSteps(steps, compilation) {
    if (!steps.length) return [];
    const ns = steps.reduce((sum, step) => sum + step.ns, 0);
    const title = compilation.timed ? `kernels: ${timeText(ns)}, ${percent(ns / compilation.whole)}` : "kernels";
    const rows = steps.slice(0, 12).map((step) => {
      const time = compilation.timed ? bar(step.ns / (ns || 1), timeText(step.ns)) : null;
      return el("div", {}, link(step.kernel, () => this.page.showKernel(step.kernel)), time);
    });
    return [el("h4", { textContent: title }), ...rows];
  }

  aboutNeighbours(record, compilation, pass) {
    const byUid = new Map(pass.nodes.map((i) => [compilation.records[i][UID], compilation.records[i]]));
    const row = (other) => {
      if (!other) return null;
      const part = other[ROLE] !== record[ROLE] ? dim(` (${other[ROLE] || "forward"})`) : null;
      return el("p", {}, link(other[KIND], () => this.go(other)), " ", el("span", { className: "mono dim", textContent: other[TYPE] || other[ORIGIN] }), part);
    };
    const readers = [...byUid.values()].filter((other) => other[INPUTS].includes(record[UID]));
    const twins = this.sameNode(record, byUid, compilation);
    return [
      el("h4", { textContent: "reads" }),
      ...record[INPUTS].slice(0, 12).map((uid) => row(byUid.get(uid))),
      el("h4", { textContent: "read by" }),
      ...readers.slice(0, 12).map(row),
      twins.length ? el("h4", { textContent: "of the same node" }) : null,
      ...twins.slice(0, 12).map(row),
    ];
  }

  /** Other ops of the nodes that an op comes from: of a training step, the gradient of a forward op. */
  sameNode(record, byUid, compilation) {
    const nodes = new Set(compilation.origins(record));
    const of = (other) => other !== record && compilation.origins(other).some((node) => nodes.has(node));
    return nodes.size ? [...byUid.values()].filter(of) : [];
  }

  aboutPast(nodes, compilation, record) {
    if (!nodes.length || compilation !== this.compilation) return [];
    const mine = new Set(nodes);
    const rows = [];
    compilation.passes.forEach((pass, number) => {
      let count = 0;
      for (const [i, state] of [...pass.diff.state, ...pass.diff.gone]) {
        if (state !== "rewired" && compilation.origins(compilation.records[i]).some((node) => mine.has(node))) count++;
      }
      if (!count) return;
      const act = () => {
        this.page.pass = number;
        this.refresh();
        this.inspect(record);
      };
      rows.push(el("p", {}, link(pass.name, act), dim(`  ${countText(count, "op")}`)));
    });
    return rows.length ? [el("h4", { textContent: "passes that changed it" }), ...rows] : [];
  }
}

/** Arrow keys from one button of a list to the next. */
function walk(event, list) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  const buttons = [...list.querySelectorAll("button")];
  buttons[buttons.indexOf(document.activeElement) + by]?.focus();
  event.preventDefault();
  event.stopPropagation();
}
