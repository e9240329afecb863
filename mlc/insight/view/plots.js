"use strict";
/* Plots: what the memory page and the time page are made of. */

const SVG = "http://www.w3.org/2000/svg";

/** An SVG of this size from its content as text; what carries data-tip or data-kernel answers to the pointer. */
function drawing(page, width, height, content, label) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${width} ${height}`);
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", label);
  made.innerHTML = content;
  made.onmousemove = (event) => tip.show(event.target.dataset?.tip ?? "", event);
  made.onmouseleave = () => tip.hide();
  made.onclick = (event) => {
    const { kernel } = event.target.dataset ?? {};
    if (kernel) page.showKernel(kernel);
  };
  return made;
}

/** `name` is the card's in addresses, as #time/roofline. */
function card(name, title, text, ...content) {
  const made = el("article", { className: "card" }, el("h2", { textContent: title }), text ? el("p", { className: "dim", textContent: text }) : null, ...content);
  made.dataset.card = name;
  return made;
}

function wide(made) {
  made.classList.add("wide");
  return made;
}

/** Round numbers from 0 on, at most about `count`. */
function ticks(end, count) {
  const rough = end / count;
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let at = 0; at <= end * 1.0001; at += step) found.push(at);
  return found;
}

/** Round numbers of bytes. */
function byteTicks(end, count) {
  const unit = end >= 2 ** 30 ? 2 ** 30 : end >= 2 ** 20 ? 2 ** 20 : end >= 2 ** 10 ? 2 ** 10 : 1;
  return ticks(end / unit, count).map((at) => at * unit);
}

function stepText(step) {
  return `${step.kernel}\n${step.source.slice(0, 6).join(", ")}${step.source.length > 6 ? ", …" : ""}`;
}

/** A tab of cards, made when the file is opened. */
class PlotPage {
  constructor(page) {
    this.page = page;
    this.element = el("section", { className: "tab plots" });
  }

  get compilation() {
    return this.page.compilation;
  }

  /** A text in place of all cards, or the cards. */
  start() {
    const cards = this.cards();
    this.element.replaceChildren(...(typeof cards === "string" ? [el("p", { className: "hint dim", textContent: cards })] : cards));
  }

  refresh() {}

  /** Bring a card into view by the name in its address. Whether there is one. */
  go(name) {
    const found = this.element.querySelector(`[data-card="${CSS.escape(name)}"]`);
    found?.scrollIntoView({ block: "start" });
    return !!found;
  }
}
