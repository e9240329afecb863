"use strict";
/* The memory page: buffers of the arena as rectangles over the steps of a call, what makes the peak, and what memory is for. */

function hueOfBuffer(steps, buffer) {
  const maker = steps[buffer.makers[0]];
  return HUE[familyOf(maker?.kernel ?? "")];
}

class MemoryPage extends PlotPage {
  cards() {
    const { memory, steps } = this.compilation;
    if (!memory || !memory.buffers) return "This file holds no plan of memory.";
    return [wide(this.parts(memory)), wide(this.rectangles(memory, steps)), wide(this.curve(memory, steps)), this.atPeak(memory, steps), this.largest(memory, steps)];
  }

  parts(memory) {
    const rows = [
      ["weights", memory.weights, 220],
      ["intermediate results", memory.arena - memory.scratch, 28],
      ["scratch of threads", memory.scratch, 330],
      ["outputs", memory.outputs, 285],
      ["state kept between calls", memory.state, 150],
    ].filter(([, bytes]) => bytes > 0);
    const total = rows.reduce((sum, [, bytes]) => sum + bytes, 0) || 1;
    let x = 0;
    const bars = rows.map(([name, bytes, hue]) => {
      const w = (1280 * bytes) / total;
      const made = `<rect x="${x}" y="4" width="${Math.max(1, w - 1)}" height="28" rx="4" fill="${strong(hue)}" data-tip="${name}: ${bytesText(bytes)}"/>`;
      x += w;
      return made;
    });
    const legend = el("p", {}, ...rows.map(([name, bytes, hue]) => el("span", { className: "key" }, el("i", { vars: { colour: strong(hue) } }), `${name} ${bytesText(bytes)}`)));
    const at = Object.entries(memory.sizes ?? {}).map(([name, size]) => `${name} = ${size}`).join(", ");
    const title = `${bytesText(total)} for a call${at ? ` at ${at}` : ""}`;
    return card("parts", title, "", drawing(this.page, 1280, 36, bars.join(""), title), legend);
  }

  rectangles(memory, steps) {
    const [w, h, left] = [1300, 420, 70];
    const end = largest(memory.buffers.map((buffer) => buffer.last), largest(steps.map((step) => step.at), 1)) + 1;
    const own = memory.arena - memory.scratch || 1;
    const begin = Math.min(...memory.buffers.map((buffer) => buffer.first), end - 1);
    const X = (at) => left + ((w - left - 10) * (at - begin)) / (end - begin);
    const Y = (bytes) => h - 30 - ((h - 40) * bytes) / own;
    const grid = byteTicks(own, 6)
      .map((at) => `<line class="grid" x1="${left}" x2="${w - 10}" y1="${Y(at)}" y2="${Y(at)}"/><text x="${left - 6}" y="${Y(at) + 4}" text-anchor="end">${bytesText(Math.round(at))}</text>`)
      .join("");
    const peak = steps[memory.step]?.at ?? -1;
    const rectangles = memory.buffers.map((buffer, number) => {
      const hue = hueOfBuffer(steps, buffer);
      const maker = steps[buffer.makers[0]];
      const readers = buffer.readers.map((k) => steps[k]?.source[0] ?? steps[k]?.kernel).slice(0, 5).join(", ");
      const text = `buffer ${number}: ${bytesText(buffer.bytes)} at ${bytesText(buffer.offset - memory.scratch)}\nmade by ${maker ? stepText(maker) : "?"}\nread by ${readers || "nothing"}`;
      const [x, y] = [X(buffer.first), Y(buffer.offset - memory.scratch + buffer.bytes)];
      const [width, height] = [Math.max(1.5, X(buffer.last + 1) - x - 0.5), Math.max(1, Y(buffer.offset - memory.scratch) - y - 0.5)];
      const alive = buffer.first <= peak && peak <= buffer.last;
      return `<rect class="hit" x="${x}" y="${y}" width="${width}" height="${height}" fill="${strong(hue)}" fill-opacity="${alive ? 0.95 : 0.5}" data-tip="${escaped(text)}" data-kernel="${maker?.kernel ?? ""}"/>`;
    });
    const mark = peak >= 0 ? `<line x1="${X(peak + 0.5)}" x2="${X(peak + 0.5)}" y1="6" y2="${h - 30}" stroke="${paint.bad}" stroke-dasharray="4 3"/><text x="${X(peak + 0.5) + 4}" y="${h - 34}" style="fill: ${paint.bad}">peak ${bytesText(memory.peak)}</text>` : "";
    const axis = `<text x="${left}" y="${h - 8}">first step</text><text x="${w - 10}" y="${h - 8}" text-anchor="end">last step</text>`;
    return card("arena", "The arena over one call", "Each rectangle is a buffer: across, from the first to the last step that touches it; up, where it lies. Full colour: alive at the peak.", drawing(this.page, w, h, grid + rectangles.join("") + mark + axis, "buffers of the arena over the steps of a call"));
  }

  curve(memory, steps) {
    const [w, h, left] = [1300, 150, 70];
    const alive = steps.map((step) => memory.buffers.reduce((sum, buffer) => sum + (buffer.first <= step.at && step.at <= buffer.last ? buffer.bytes : 0), 0));
    const most = Math.max(memory.arena - memory.scratch, ...alive, memory.before?.peak ?? 0, 1);
    const X = (k) => left + ((w - left - 10) * k) / Math.max(1, steps.length);
    const Y = (bytes) => h - 24 - ((h - 34) * bytes) / most;
    const points = alive.map((bytes, k) => `L${X(k)},${Y(bytes)} L${X(k + 1)},${Y(bytes)}`).join(" ");
    const area = alive.length ? `<path d="M${X(0)},${Y(0)} ${points} L${X(steps.length)},${Y(0)} Z" fill="${strong(28)}" fill-opacity=".45" stroke="${strong(28)}"/>` : "";
    const hits = steps.map((step, k) => `<rect x="${X(k)}" y="6" width="${Math.max(0.5, X(k + 1) - X(k))}" height="${h - 30}" fill="transparent" data-kernel="${step.kernel}" data-tip="${escaped(`${stepText(step)}\n${bytesText(alive[k])} alive`)}"/>`).join("");
    const line = (bytes, text, colour) => `<line x1="${left}" x2="${w - 10}" y1="${Y(bytes)}" y2="${Y(bytes)}" stroke="${colour}" stroke-dasharray="4 3"/><text x="${w - 12}" y="${Math.max(10, Y(bytes) - 4)}" text-anchor="end">${text} ${bytesText(bytes)}</text>`;
    const arena = line(memory.arena - memory.scratch, "arena", paint.dim);
    const before = memory.before ? line(memory.before.peak, "without the budget", paint.bad) : "";
    return card("alive", "Alive at each step", "", drawing(this.page, w, h, area + arena + before + hits, "bytes alive at each step"));
  }

  rows(memory, steps, chosen) {
    const most = largest(chosen.map(({ buffer }) => buffer.bytes), 1);
    return chosen.map(({ buffer }) => {
      const maker = steps[buffer.makers[0]];
      const name = maker ? link(maker.source[0] ?? maker.kernel, () => this.page.showKernel(maker.kernel)) : dim("?");
      return el("div", {}, name, dim(`  ${buffer.last - buffer.first + 1} steps`), bar(buffer.bytes / most, bytesText(buffer.bytes)));
    });
  }

  atPeak(memory, steps) {
    const peak = steps[memory.step];
    if (!peak) return card("peak", "The peak", "no step uses the arena");
    const alive = memory.buffers.map((buffer, number) => ({ buffer, number })).filter(({ buffer }) => buffer.first <= peak.at && peak.at <= buffer.last);
    alive.sort((a, b) => b.buffer.bytes - a.buffer.bytes);
    return card("peak", `What makes the peak of ${bytesText(memory.peak)}`, `${alive.length} buffers are alive while ${peak.source[0] ?? peak.kernel} runs`, ...this.rows(memory, steps, alive.slice(0, 14)));
  }

  largest(memory, steps) {
    const all = memory.buffers.map((buffer, number) => ({ buffer, number })).sort((a, b) => b.buffer.bytes - a.buffer.bytes);
    return card("largest", "The largest buffers", countText(all.length, "buffer"), ...this.rows(memory, steps, all.slice(0, 14)));
  }
}
