"use strict";
/* How a pane draws its boxes and edges. */

Object.assign(Pane.prototype, {
  /** At the next frame; what was slow to draw is moved while it is dragged, and drawn when it lies still. */
  draw() {
    if (this.pending || !this.root) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      if (this.drag && this.took > SLOW_FRAME) this.movePicture();
      else this.render();
    });
  },

  movePicture() {
    const pen = this.canvas.getContext("2d");
    const [dx, dy] = [this.view.x - this.drawn.x, this.view.y - this.drawn.y];
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = paint.bg;
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.picture, dx * devicePixelRatio, dy * devicePixelRatio);
  },

  keepPicture() {
    this.picture.width = this.canvas.width;
    this.picture.height = this.canvas.height;
    if (this.canvas.width) this.picture.getContext("2d").drawImage(this.canvas, 0, 0);
  },

  render() {
    if (!this.root) return;
    const started = performance.now();
    const { canvas } = this;
    const pen = canvas.getContext("2d");
    const { x, y, scale } = this.view;
    const ratio = devicePixelRatio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = paint.bg;
    pen.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    this.bounds = [-x / scale, -y / scale, (canvas.clientWidth - x) / scale, (canvas.clientHeight - y) / scale];
    this.hottest = 1;
    this.worst = 0;
    for (const box of this.visible()) {
      if (box.open) continue;
      this.hottest = Math.max(this.hottest, box.ns);
      this.worst = Math.max(this.worst, box.worst);
    }
    if (scale < FAR) this.renderFar(pen);
    else this.renderNear(pen);
    this.showLegend();
    this.took = performance.now() - started;
    this.drawn = { ...this.view };
    if (this.took > SLOW_FRAME) this.keepPicture();
  },

  inSight(left, top, right, bottom) {
    const [x0, y0, x1, y1] = this.bounds;
    return right > x0 && left < x1 && bottom > y0 && top < y1;
  },

  renderNear(pen) {
    const waiting = [this.root];
    while (waiting.length) {
      const box = waiting.pop();
      if (box !== this.root && !this.inSight(box.x, box.y, box.x + box.w, box.y + box.h)) continue;
      if (!box.open) {
        this.paintClosed(pen, box);
        continue;
      }
      if (box !== this.root) this.paintFrame(pen, box);
      pen.lineWidth = Math.min(2, Math.max(1, 0.6 / this.view.scale));
      for (const edge of box.edges) this.paintEdge(pen, edge);
      for (const inner of box.inside) waiting.push(inner);
    }
  },

  /** Everything at once: one path per colour. */
  renderFar(pen) {
    const blots = new Map();
    const add = (colour, box) => {
      if (!blots.has(colour)) blots.set(colour, new Path2D());
      blots.get(colour).rect(box.x, box.y, box.w, box.h);
    };
    const lines = new Path2D();
    const waiting = [this.root];
    while (waiting.length) {
      const box = waiting.pop();
      if (box !== this.root && !this.inSight(box.x, box.y, box.x + box.w, box.y + box.h)) continue;
      if (!box.open) {
        add(this.isChosen(box) ? paint.accent : this.markColour(box) ?? this.farColour(box), box);
        continue;
      }
      if (box !== this.root) {
        pen.fillStyle = box.isGroup ? paint.kernel : paint.group;
        pen.fillRect(box.x, box.y, box.w, box.h);
      }
      for (const { points } of box.edges) {
        lines.moveTo(...points[0]);
        for (let k = 1; k < points.length; k++) lines.lineTo(...points[k]);
      }
      for (const inner of box.inside) waiting.push(inner);
    }
    pen.strokeStyle = paint.edge;
    pen.globalAlpha = 0.5;
    pen.lineWidth = 0.7 / this.view.scale;
    pen.stroke(lines);
    pen.globalAlpha = 1;
    for (const [colour, path] of blots) {
      pen.fillStyle = colour;
      pen.fill(path);
    }
  },

  farColour(box) {
    if (this.options.colour !== "kind") return this.fillOf(box);
    return box.record ? strong(HUE[familyOf(box.record[KIND])]) : paint.edge;
  },

  isChosen(box) {
    const { chosen } = this.options;
    if (!box.record || !chosen) return false;
    return box.record[UID] === chosen.uid && this.compilation === chosen.compilation;
  },

  isRelated(box) {
    const { chosen } = this.options;
    return !!chosen?.node && !box.open && box.nodes.has(chosen.node);
  },

  markColour(box) {
    if (box.bad) return paint.bad;
    if (this.options.colour !== "change" && !this.options.split) return null;
    return { added: paint.added, removed: paint.removed, altered: paint.altered }[this.marks.get(box.index)] ?? null;
  },

  fillOf(box) {
    switch (this.options.colour) {
      case "time":
        return box.ns ? heat(Math.sqrt(box.ns / this.hottest)) : paint.box;
      case "overlay":
        return box.worst ? heat(nearness(box.worst, this.worst)) : paint.box;
      case "precision":
        return box.record && !box.inside.length ? tint(hueOfPrecision(precisionOf(box.record))) : paint.box;
      case "role":
        return box.record ? tint(HUE_OF_ROLE[box.record[ROLE]], 70) : paint.box;
      case "change":
        return this.changeTint(box);
    }
    if (!box.record) return paint.box;
    const family = box.isGroup ? leadingFamily(box) : familyOf(box.record[KIND]);
    return tint(HUE[family], family === "movement" ? 14 : 60);
  },

  changeTint(box) {
    const hue = { added: 140, removed: 0, altered: 38 }[this.marks.get(box.index)];
    if (hue !== undefined) return tint(hue, 80);
    return box.changed ? tint(38, 60) : paint.box;
  },

  paintFrame(pen, box) {
    pen.beginPath();
    pen.roundRect(box.x, box.y, box.w, box.h, 10);
    pen.fillStyle = box.isGroup ? paint.kernel : paint.group;
    pen.fill();
    pen.strokeStyle = this.isChosen(box) ? paint.accent : this.markColour(box) ?? (box.isGroup ? strong(40) : paint.line);
    pen.lineWidth = box.isGroup ? 1.4 : 1;
    pen.setLineDash(box.isGroup ? [5, 3] : []);
    pen.stroke();
    pen.setLineDash([]);
    if (this.view.scale < 0.3) return;
    pen.fillStyle = paint.dim;
    pen.font = "600 11.5px system-ui";
    pen.textAlign = "left";
    pen.fillText(clipped(pen, `− ${this.linesOf(box)[0]}`, box.w - 76), box.x + 10, box.y + 16);
    if (!box.ns) return;
    pen.font = "11px system-ui";
    pen.textAlign = "right";
    pen.fillText(percent(box.ns / this.compilation.whole), box.x + box.w - 10, box.y + 16);
  },

  paintClosed(pen, box) {
    const mark = this.markColour(box);
    const chosen = this.isChosen(box);
    if (box.inside.length) this.paintPile(pen, box);
    pen.beginPath();
    pen.roundRect(box.x, box.y, box.w, box.h, 7);
    pen.fillStyle = this.fillOf(box);
    pen.fill();
    const own = box.record ? strong(HUE[familyOf(box.record[KIND])]) : paint.edge;
    pen.strokeStyle = chosen || this.isRelated(box) ? paint.accent : mark ?? own;
    pen.globalAlpha = chosen || mark || this.isRelated(box) ? 1 : 0.55;
    pen.lineWidth = chosen ? 3 : mark || this.isRelated(box) ? 2 : 1;
    pen.stroke();
    pen.globalAlpha = 1;
    if (box.ns && (!box.record || this.pass.steps.has(box.index))) {
      pen.fillStyle = paint.accent;
      pen.fillRect(box.x + 6, box.y + box.h - 4, (box.w - 12) * Math.sqrt(box.ns / this.hottest), 2);
    }
    if (this.view.scale < 0.3) return;
    const [title, below] = box.lines;
    pen.textAlign = "center";
    pen.fillStyle = paint.text;
    pen.font = "600 12px system-ui";
    const middle = box.x + box.w / 2;
    pen.fillText(clipped(pen, (box.inside.length ? "+ " : "") + title, box.w - 10), middle, box.y + (below ? 15 : 17));
    if (!below) return;
    pen.fillStyle = paint.dim;
    pen.font = "11px system-ui";
    pen.fillText(clipped(pen, below, box.w - 10), middle, box.y + 29);
  },

  /** Sheets behind a box that holds others. */
  paintPile(pen, box) {
    pen.fillStyle = paint.box;
    pen.strokeStyle = paint.line;
    pen.lineWidth = 1;
    for (const shift of [4, 2]) {
      pen.beginPath();
      pen.roundRect(box.x + shift, box.y + shift, box.w, box.h, 7);
      pen.fill();
      pen.stroke();
    }
  },

  paintEdge(pen, { points, from, to }) {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const [x, y] of points) {
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    if (!this.inSight(left, top, right, bottom)) return;
    const on = this.isChosen(from) || this.isChosen(to);
    pen.strokeStyle = on ? paint.accent : paint.edge;
    pen.globalAlpha = on ? 1 : 0.7;
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (let k = 1; k < points.length; k++) {
      const [u, v] = points[k - 1];
      const [s, t] = points[k];
      const half = (t - v) / 2;
      pen.bezierCurveTo(u, v + half, s, t - half, s, t);
    }
    pen.stroke();
    if (this.view.scale > 0.3) {
      const [s, t] = points[points.length - 1];
      pen.beginPath();
      pen.moveTo(s - 3.5, t - 6);
      pen.lineTo(s, t);
      pen.lineTo(s + 3.5, t - 6);
      pen.fillStyle = pen.strokeStyle;
      pen.fill();
    }
    pen.globalAlpha = 1;
  },

  showLegend() {
    const rows = this.legendRows();
    const text = rows.map((row) => row.join()).join();
    if (text === this.legendText) return;
    this.legendText = text;
    this.legend.replaceChildren(
      ...rows.map(([colour, name]) => el("span", {}, el("i", { vars: { colour } }), name)),
    );
  },

  legendRows() {
    const { colour, overlay, split } = this.options;
    const seen = new Set(colour === "change" || split ? this.marks.values() : []);
    const changes = ["added", "removed", "altered"].filter((name) => seen.has(name)).map((name) => [paint[name], name]);
    const bad = Object.keys(this.compilation.unsupported).length ? [[paint.bad, "cannot be compiled"]] : [];
    const total = this.compilation.whole || 1;
    switch (colour) {
      case "time":
        return [[heat(0.05), "little"], [heat(1), `most of the time (${percent(this.hottest / total)})`], ...changes, ...bad];
      case "overlay":
        return [[heat(0.05), "exact"], [heat(1), `${overlay?.name ?? ""} ${this.worst.toExponential(1)}`], ...changes, ...bad];
      case "precision": {
        const used = new Set([...this.byUid.values()].map((box) => precisionOf(box.record)).filter(Boolean));
        return [...[...used].map((name) => [strong(hueOfPrecision(name)), name]), ...changes, ...bad];
      }
      case "role":
        return [...Object.entries(HUE_OF_ROLE).map(([name, hue]) => [strong(hue), name || "forward"]), ...changes, ...bad];
      case "change":
        return [...changes, ...bad];
    }
    const kinds = Object.entries(HUE).map(([name, hue]) => [strong(hue), name === "end" ? "input, output" : name]);
    return [...kinds, ...changes, ...bad];
  },
});

/** Errors lie orders of magnitude apart: a share of the decades between 1e-9 and the largest. */
function nearness(error, worst) {
  const decades = Math.log10(Math.max(worst, 1e-8)) + 9;
  return Math.min(1, Math.max(0.03, (Math.log10(Math.max(error, 1e-9)) + 9) / decades));
}

function leadingFamily(group) {
  const families = new Set(group.inside.map((inner) => familyOf(inner.record[KIND])));
  return ["product", "reduction", "elementwise"].find((family) => families.has(family)) ?? "movement";
}

const widthOf = new Map(); // of texts, by font: measuring them is most of a frame

function clipped(pen, text, width) {
  const key = `${pen.font} ${text}`;
  if (widthOf.size > 50000) widthOf.clear();
  if (!widthOf.has(key)) widthOf.set(key, pen.measureText(text).width);
  const whole = widthOf.get(key);
  if (whole <= width) return text;
  return `${text.slice(0, Math.max(1, Math.floor((text.length * width) / whole) - 1))}…`;
}
