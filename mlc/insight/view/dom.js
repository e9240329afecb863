"use strict";
/* Elements, numbers as people read them, colours, and the tip beside the pointer. */

/** An element with properties; `aria` and `vars` (custom properties of its style) are set one by one. */
function el(tag, { aria = {}, vars = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  for (const [name, value] of Object.entries(vars)) made.style.setProperty(`--${name}`, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function button(text, act, { pressed, title = "", label } = {}) {
  const aria = { ...(pressed === undefined ? {} : { pressed }), ...(label ? { label } : {}) };
  return el("button", { type: "button", textContent: text, onclick: act, title, aria });
}

/** Something to click that goes to another place of the page. */
function link(text, act) {
  return el("button", { type: "button", className: "link", textContent: text, onclick: act });
}

/** A bar of a share of 1, with a text behind it. */
function bar(share, text) {
  const width = `${(100 * Math.min(1, share || 0)).toFixed(2)}%`;
  return el("span", { className: "bar" }, el("i", { vars: { width } }), el("span", { textContent: text }));
}

function dim(text) {
  return el("span", { className: "dim", textContent: text });
}

function escaped(text) {
  return String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

function timeText(ns) {
  if (ns >= 1e9) return `${(ns / 1e9).toFixed(2)} s`;
  return ns >= 1e6 ? `${(ns / 1e6).toFixed(2)} ms` : `${(ns / 1e3).toFixed(1)} µs`;
}

function bytesText(bytes) {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  if (bytes >= 2 ** 20) return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return bytes >= 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${bytes} B`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function countText(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** The items by what `key` says of them, in the order in which the keys come. */
function grouped(items, key) {
  const found = new Map();
  for (const item of items) {
    const at = key(item);
    if (found.has(at)) found.get(at).push(item);
    else found.set(at, [item]);
  }
  return found;
}

function largest(values, least = 0) {
  let found = least;
  for (const value of values) if (value > found) found = value;
  return found;
}

// Colours: a canvas knows neither light-dark() nor variables, so that each is asked for through an element.
const paint = {};
let dark = false;

const PAINTS = "bg panel line text dim accent box group kernel edge added removed altered bad".split(" ");

function readColours() {
  const probe = document.body.appendChild(el("i"));
  for (const name of PAINTS) {
    probe.style.color = `var(--${name})`;
    paint[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  const chosen = document.documentElement.style.colorScheme;
  dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** From little to much, for a number of 0 to 1. */
function heat(t) {
  return dark ? `hsl(${50 - 50 * t} 90% ${18 + 27 * t}%)` : `hsl(${48 - 44 * t} 95% ${94 - 36 * t}%)`;
}

function tint(hue, saturation = 60) {
  return dark ? `hsl(${hue} ${saturation * 0.5}% 24%)` : `hsl(${hue} ${saturation}% 92%)`;
}

function strong(hue) {
  return dark ? `hsl(${hue} 65% 62%)` : `hsl(${hue} 65% 46%)`;
}

const tip = {
  box: el("div", { id: "tip", role: "tooltip" }),
  show(text, event) {
    this.box.textContent = text;
    if (!text) return;
    const x = Math.min(event.clientX + 14, innerWidth - this.box.offsetWidth - 8);
    const y = Math.min(event.clientY + 14, innerHeight - this.box.offsetHeight - 8);
    this.box.style.left = `${Math.max(0, x)}px`;
    this.box.style.top = `${Math.max(0, y)}px`;
  },
  hide() {
    this.box.textContent = "";
  },
};
