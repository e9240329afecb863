"use strict";
/* One pass as nested boxes on a canvas: modules, in them kernels, in them ops. Open boxes show what is in them. */

const FIRST_BOXES = 60; // that are open when a graph is first shown
const FAR = 0.15; // below this scale boxes are blots and edges straight
const SLOW_FRAME = 12; // milliseconds: pictures that take longer are moved and not drawn anew while they are dragged

class Box {
  constructor(id, label) {
    this.id = id;
    this.label = label;
    this.record = null;
    this.index = -1;
    this.inside = [];
    this.around = null;
    this.open = false;
    this.edges = [];
    this.x = this.y = this.w = this.h = 0;
  }

  get isGroup() {
    return this.record?.[KIND] === "group";
  }
}

class Pane {
  constructor(host, onSelect) {
    this.title = el("div", { className: "name" });
    this.legend = el("div", { className: "legend" });
    this.canvas = el("canvas", { tabIndex: 0, aria: { label: "graph; the list beside it has the same nodes" } });
    this.element = el("div", { className: "pane" }, this.canvas, this.title, this.legend);
    host.append(this.element);
    this.onSelect = onSelect;
    this.view = { x: 0, y: 0, scale: 1 };
    this.opened = new Map(); // id of a box -> whether it is open, kept from pass to pass
    this.picture = el("canvas");
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.onpointerdown = (event) => {
      this.drag = { x: event.clientX, y: event.clientY, moved: 0 };
      this.held = { x: this.view.x, y: this.view.y };
      canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointermove = (event) => {
      if (this.drag) this.pan(event.clientX, event.clientY);
      else this.hover(event);
    };
    canvas.onpointerup = (event) => {
      const still = this.drag && this.drag.moved < 5;
      this.drag = null;
      if (still) this.click(event);
      else this.draw();
    };
    canvas.onpointerleave = () => tip.hide();
    canvas.ondblclick = (event) => {
      const box = this.at(event);
      if (box?.inside.length) this.toggle(box);
    };
    canvas.addEventListener("wheel", (event) => this.zoom(event), { passive: false });
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  pan(x, y) {
    const { drag } = this;
    this.view.x += x - drag.x;
    this.view.y += y - drag.y;
    drag.moved += Math.abs(x - drag.x) + Math.abs(y - drag.y);
    Object.assign(drag, { x, y });
    this.draw();
  }

  zoom(event) {
    event.preventDefault();
    const corner = this.canvas.getBoundingClientRect();
    const x = event.clientX - corner.x;
    const y = event.clientY - corner.y;
    const scale = Math.min(3, Math.max(0.005, this.view.scale * Math.exp(-event.deltaY * 0.0015)));
    const by = scale / this.view.scale;
    this.view = { x: x - (x - this.view.x) * by, y: y - (y - this.view.y) * by, scale };
    this.draw();
  }

  resize() {
    const { canvas } = this;
    const changed = canvas.width !== canvas.clientWidth * devicePixelRatio;
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    if (!canvas.width || !this.root) return;
    if (changed || this.unfit) this.fit();
    this.render();
  }

  /** Show a pass of a compilation. What stands in the middle of the view stays there. */
  show(compilation, pass, marks, title, options) {
    const mode = `${options.boxes} ${options.constants}`;
    const first = this.mode !== mode || this.compilation !== compilation;
    if (first) this.opened.clear();
    Object.assign(this, { mode, compilation, pass, marks, options });
    this.title.textContent = title;
    const before = this.root && !first ? this.middle() : [];
    this.build(first);
    this.layout();
    const kept = before.map((old) => [old, this.find(old.id)]).find(([, now]) => now);
    if (kept) {
      this.view.x += (kept[0].x - kept[1].x) * this.view.scale;
      this.view.y += (kept[0].y - kept[1].y) * this.view.scale;
    } else this.fit();
    this.draw();
  }

  *boxes(root = this.root) {
    const waiting = [root];
    while (waiting.length) {
      const box = waiting.pop();
      yield box;
      for (let k = box.inside.length - 1; k >= 0; k--) waiting.push(box.inside[k]);
    }
  }

  *visible() {
    const waiting = [this.root];
    while (waiting.length) {
      const box = waiting.pop();
      if (box !== this.root) yield box;
      if (box.open) for (const inner of box.inside) waiting.push(inner);
    }
  }

  middle() {
    const { x, y, scale } = this.view;
    const cx = (this.canvas.clientWidth / 2 - x) / scale;
    const cy = (this.canvas.clientHeight / 2 - y) / scale;
    const distance = (box) => Math.hypot(box.x + box.w / 2 - cx, box.y + Math.min(box.h, 40) / 2 - cy);
    const found = [...this.visible()].map((box) => ({ id: box.id, x: box.x, y: box.y, d: distance(box) }));
    return found.sort((a, b) => a.d - b.d).slice(0, 40);
  }

  find(id) {
    for (const box of this.visible()) if (box.id === id) return box;
    return null;
  }

  // Boxes ---------------------------------------------------------------------------------------------------------------
  build(first) {
    const { compilation, pass } = this;
    this.byUid = new Map();
    this.root = new Box("", "");
    this.root.open = true;
    for (const i of pass.nodes) {
      const record = compilation.records[i];
      if (!this.options.constants && CONSTANTS.has(record[KIND])) continue;
      const box = new Box(`#${record[UID]}`, record[KIND]);
      box.record = record;
      box.index = i;
      this.byUid.set(record[UID], box);
    }
    this.nest();
    this.joinLonelyModules();
    this.sumUp();
    if (first) this.openSome();
    for (const box of this.boxes()) if (box !== this.root) box.open = box.inside.length > 0 && !!this.opened.get(box.id);
  }

  nest() {
    const flat = this.options.boxes === "flat";
    const children = new Map();
    for (const box of this.byUid.values()) {
      const around = this.byUid.get(box.record[PARENT]);
      if (!around) continue;
      if (!children.has(around)) children.set(around, []);
      children.get(around).push(box);
    }
    const modules = new Map();
    for (const box of [...this.byUid.values()]) {
      let around = this.byUid.get(box.record[PARENT]);
      if (flat && around?.isGroup) around = null;
      if (flat && box.isGroup && children.has(box)) {
        this.byUid.delete(box.record[UID]);
        continue;
      }
      if (!around) around = this.options.boxes === "modules" ? this.moduleOf(box, children, modules) : this.root;
      box.around = around;
      around.inside.push(box);
    }
  }

  moduleOf(box, children, modules) {
    let around = this.root;
    let key = "";
    for (const part of this.pathOf(box, children)) {
      key += `/${part}`;
      if (!modules.has(key)) {
        const made = new Box(key, part);
        made.around = around;
        around.inside.push(made);
        modules.set(key, made);
      }
      around = modules.get(key);
    }
    return around;
  }

  /** The module that most of what a box holds is in. */
  pathOf(box, children) {
    const inside = children.get(box);
    const records = inside && box.isGroup ? inside.map((inner) => inner.record) : [box.record];
    const paths = records.flatMap((record) => this.compilation.origins(record).map((node) => this.compilation.pathOf(node)));
    let left = paths.filter((path) => path.length);
    const all = left.length;
    const found = [];
    while (left.length) {
      const parts = grouped(
        left.filter((path) => path.length > found.length),
        (path) => path[found.length],
      );
      const [part, having] = [...parts].sort((a, b) => b[1].length - a[1].length)[0] ?? [];
      if (!having || 2 * having.length < all) break;
      found.push(part);
      left = having;
    }
    return found;
  }

  /** A module that holds one module alone becomes one box with it: encoder / layer.0. */
  joinLonelyModules() {
    for (const box of [...this.boxes()].reverse()) {
      if (box.record) continue;
      box.inside = box.inside.map((inner) => {
        if (inner.record || inner.inside.length !== 1) return inner;
        const only = inner.inside[0];
        only.around = box;
        if (!only.record) only.label = `${inner.label} / ${only.label}`;
        return only;
      });
    }
  }

  sumUp() {
    const { compilation, pass } = this;
    const known = pass.steps.size > 0;
    for (const box of [...this.boxes()].reverse()) {
      box.ops = box.record && !box.inside.length ? 1 : 0;
      box.nodes = new Set(box.record ? compilation.origins(box.record) : []);
      box.changed = /added|removed|altered/.test(this.marks.get(box.index) ?? "") ? 1 : 0;
      box.worst = 0;
      for (const inner of box.inside) {
        box.ops += inner.ops;
        box.changed += inner.changed;
        box.worst = Math.max(box.worst, inner.worst);
        for (const node of inner.nodes) box.nodes.add(node);
      }
      box.bad = [...box.nodes].some((node) => node in compilation.unsupported);
      for (const node of box.nodes) box.worst = Math.max(box.worst, this.options.overlay?.of[node] ?? 0);
      const own = pass.steps.get(box.index);
      if (own) box.ns = own.reduce((sum, step) => sum + step.ns, 0);
      else if (box.inside.length && !(box.isGroup && known)) box.ns = box.inside.reduce((sum, inner) => sum + inner.ns, 0);
      else box.ns = known ? 0 : this.shareOf(box);
    }
  }

  /** Before there are kernels: the node's share of those that compute it, divided among its ops of this pass. */
  shareOf(box) {
    this.opsOfNode ??= new Map();
    if (this.countedFor !== this.pass) {
      this.countedFor = this.pass;
      this.opsOfNode = new Map();
      for (const other of this.byUid.values()) {
        for (const node of this.compilation.origins(other.record)) {
          this.opsOfNode.set(node, (this.opsOfNode.get(node) ?? 0) + 1);
        }
      }
    }
    let sum = 0;
    for (const node of box.nodes) sum += (this.compilation.shareOfNode.get(node) ?? 0) / this.opsOfNode.get(node);
    return sum;
  }

  openSome() {
    let shown = this.root.inside.length;
    const waiting = [...this.root.inside];
    for (let k = 0; k < waiting.length; k++) { // breadth first
      const box = waiting[k];
      if (!box.inside.length || box.isGroup || shown + box.inside.length > FIRST_BOXES) continue;
      this.opened.set(box.id, true);
      shown += box.inside.length;
      waiting.push(...box.inside);
    }
  }

  // Places --------------------------------------------------------------------------------------------------------------
  layout() {
    const open = [];
    for (const box of this.boxes()) {
      box.edges = [];
      if (box.open) open.push(box);
    }
    this.wire();
    const pen = this.canvas.getContext("2d");
    pen.font = "600 12px system-ui";
    const widths = new Map();
    const wide = (text) => {
      if (!widths.has(text)) widths.set(text, Math.min(230, Math.max(64, pen.measureText(text).width + 26)));
      return widths.get(text);
    };
    for (const box of this.visible()) {
      if (box.open) continue;
      box.lines = this.linesOf(box);
      box.w = largest(box.lines.map(wide));
      box.h = box.lines.length > 1 ? 38 : 26;
    }
    for (const box of open.reverse()) this.layoutInside(box, wide); // inner boxes first
    this.root.x = this.root.y = 0;
    for (const box of open.reverse()) this.place(box);
    for (const box of open) {
      for (const edge of box.edges) {
        const middle = edge.route.map(([x, y]) => [x + box.x, y + box.y]);
        const start = edge.whole ? [[edge.from.x + edge.from.w / 2, edge.from.y + edge.from.h]] : [];
        edge.points = [...start, ...middle, [edge.to.x + edge.to.w / 2, edge.to.y]];
      }
    }
  }

  /** Edges between the boxes that are seen, each kept by the innermost open box around both ends. */
  wire() {
    const chains = new Map();
    const chainOf = (box) => {
      if (!chains.has(box)) {
        const chain = [];
        for (let at = box; at; at = at.around) chain.push(at);
        chains.set(box, chain.reverse());
      }
      return chains.get(box);
    };
    const shown = (box) => {
      let found = box;
      for (let at = box.around; at; at = at.around) if (!at.open) found = at;
      return found;
    };
    for (const box of this.byUid.values()) {
      if (box.isGroup && box.inside.length) continue;
      const to = shown(box);
      for (const uid of box.record[INPUTS]) {
        const source = this.byUid.get(uid);
        if (!source) continue;
        const from = shown(source);
        if (from === to) continue;
        const [a, b] = [chainOf(from), chainOf(to)];
        let same = 0;
        while (same < a.length && same < b.length && a[same] === b[same]) same++;
        if (same < a.length && same < b.length) a[same - 1].edges.push({ a: a[same], b: b[same], from, to });
      }
    }
  }

  layoutInside(box, wide) {
    const number = new Map(box.inside.map((inner, k) => [inner, k]));
    const found = layered(box.inside, box.edges.map((edge) => [number.get(edge.a), number.get(edge.b)]));
    const [top, margin] = box === this.root ? [0, 0] : [24, 12];
    box.w = Math.max(found.w + 2 * margin, box === this.root ? 0 : wide(box.label) + 90);
    box.h = found.h + top + margin;
    const left = (box.w - found.w) / 2;
    box.inside.forEach((inner, k) => {
      inner.dx = left + found.at[k].x - inner.w / 2;
      inner.dy = top + found.at[k].y - inner.h / 2;
    });
    for (const edge of box.edges) {
      const [a, b] = [number.get(edge.a), number.get(edge.b)];
      edge.route = found.route(a, b).map(([x, y]) => [x + left, y + top]);
      edge.whole = found.whole(a, b);
    }
  }

  place(box) {
    for (const inner of box.inside) {
      inner.x = box.x + inner.dx;
      inner.y = box.y + inner.dy;
    }
  }

  linesOf(box) {
    const { record } = box;
    if (!record) {
      const share = box.ns && this.compilation.timed ? `, ${percent(box.ns / this.compilation.whole)}` : "";
      return [box.label, countText(box.ops, "op") + share];
    }
    let title = record[KIND];
    if (title === "input" || title === "output") title = `${title} ${record[ORIGIN]}`.trim();
    if (box.isGroup) title = box.open ? `${record[ATTRIBUTES].replace("kind = ", "")} kernel` : summaryOf(box);
    return [title, record[TYPE] || record[ORIGIN].split("\n")[0]].filter(Boolean);
  }

  fit() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    this.unfit = !w;
    if (!w) return;
    const across = (w - 40) / this.root.w;
    const whole = Math.max((h - 50) / this.root.h, 0.55);
    const scale = Math.min(1.15, Math.max(0.5, Math.min(across, whole)));
    const first = this.root.inside[0];
    const x = scale > across && first ? w / 2 - (first.x + first.w / 2) * scale : (w - this.root.w * scale) / 2;
    this.view = { scale, x, y: this.root.h * scale < h - 50 ? (h - this.root.h * scale) / 2 : 44 };
  }

  /** The whole graph, however small that makes it. */
  fitAll() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const scale = Math.min(1.15, (w - 40) / Math.max(1, this.root.w), (h - 60) / Math.max(1, this.root.h));
    this.view = { scale, x: (w - this.root.w * scale) / 2, y: 40 + (h - 60 - this.root.h * scale) / 2 };
    this.draw();
  }

  centre(box) {
    let closed = false;
    for (let at = box.around; at && at !== this.root; at = at.around) {
      if (at.open) continue;
      at.open = closed = true;
      this.opened.set(at.id, true);
    }
    if (closed) this.layout();
    const { canvas } = this;
    const scale = Math.max(this.view.scale, 0.7);
    const x = canvas.clientWidth / 2 - (box.x + box.w / 2) * scale;
    const y = canvas.clientHeight / 2 - (box.y + Math.min(box.h, 200) / 2) * scale;
    this.view = { x, y, scale };
    this.draw();
  }

  isInView(box) {
    const { x, y, scale } = this.view;
    const [left, top] = [box.x * scale + x, box.y * scale + y];
    return left > 0 && left < this.canvas.clientWidth && top > 0 && top < this.canvas.clientHeight;
  }

  toggle(box) {
    const { x, y, w } = box;
    box.open = !box.open;
    this.opened.set(box.id, box.open);
    this.layout();
    this.view.x += (x + w / 2 - box.x - box.w / 2) * this.view.scale;
    this.view.y += (y - box.y) * this.view.scale;
    this.draw();
  }

  openAll(open) {
    for (const box of this.boxes()) {
      if (box === this.root || !box.inside.length) continue;
      box.open = open;
      this.opened.set(box.id, open);
    }
    this.layout();
    this.fit();
    this.draw();
  }

  // The pointer ---------------------------------------------------------------------------------------------------------
  at(event) {
    const corner = this.canvas.getBoundingClientRect();
    const x = (event.clientX - corner.x - this.view.x) / this.view.scale;
    const y = (event.clientY - corner.y - this.view.y) / this.view.scale;
    const holds = (box) => x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h;
    let found = null;
    let inside = this.root?.inside ?? [];
    for (;;) {
      const next = inside.findLast(holds);
      if (!next) return found;
      found = next;
      inside = next.open ? next.inside : [];
    }
  }

  hover(event) {
    const box = this.at(event);
    tip.show(box ? this.describe(box) : "", event);
  }

  describe(box) {
    const { record } = box;
    const lines = record
      ? [`${record[KIND]} ${record[TYPE]}`, record[ORIGIN], record[ATTRIBUTES]]
      : [box.label, countText(box.ops, "op")];
    if (box.ns) {
      const share = record && !this.pass.steps.has(box.index) ? " (its share of the kernels that compute it)" : "";
      lines.push(`${timeText(box.ns)}, ${percent(box.ns / this.compilation.whole)}${share}`);
    }
    if (this.options.overlay && box.worst) lines.push(`${this.options.overlay.name} ${box.worst.toExponential(1)}`);
    for (const node of box.nodes) if (node in this.compilation.unsupported) lines.push(this.compilation.unsupported[node]);
    return lines.filter(Boolean).join("\n");
  }

  click(event) {
    const box = this.at(event);
    if (!box) return this.onSelect(null, this);
    const corner = this.canvas.getBoundingClientRect();
    const onTitle = (event.clientY - corner.y - this.view.y) / this.view.scale < box.y + 22;
    if (box.inside.length && (!box.record || !box.open || onTitle)) this.toggle(box);
    if (box.record) this.onSelect(box.record, this);
  }
}

/** What a closed kernel computes: contract · add · relu. */
function summaryOf(group) {
  const all = group.inside.map((inner) => inner.label);
  const telling = [...new Set(all.filter((kind) => !/^(broadcast|reshape|pad)$/.test(kind)))];
  const kinds = telling.length ? telling : all;
  return kinds.slice(0, 4).join(" · ") + (kinds.length > 4 ? " …" : "");
}
