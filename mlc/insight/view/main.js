"use strict";
/* The page: its tabs, its keys, and a walk through all of it that tests ask for (?selftest). */

class Page {
  constructor(compilations) {
    this.compilations = compilations;
    this.asked = location.hash; // before the page writes where it is
    this.missing = ""; // of what its address names
    this.side = 0;
    this.tab = "graph";
    this.pages = { graph: new GraphPage(this), kernels: new KernelPage(this), memory: new MemoryPage(this), time: new TimePage(this) };
    this.main = el("main", {}, Object.values(this.pages).map((one) => one.element));
    this.pass = this.firstPass();
  }

  get compilation() {
    return this.compilations[this.side];
  }

  get other() {
    return this.compilations[1 - this.side] ?? null;
  }

  /** Groups say most at a glance: the ops as written, and what becomes one kernel. */
  firstPass() {
    const { passes } = this.compilation;
    const found = passes.findIndex((pass) => pass.name === "fuse");
    return found < 0 ? Math.max(0, passes.length - 1) : found;
  }

  start() {
    readColours();
    this.header = el("header");
    document.body.append(this.header, this.main, tip.box);
    this.fillHeader();
    this.startPages();
    addEventListener("hashchange", () => this.restore(location.hash));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    addEventListener("keydown", (event) => this.key(event));
  }

  fillHeader() {
    const { compilation } = this;
    const { name, inputs, target } = compilation.model;
    const titles = { graph: "Graph", kernels: "Kernels", memory: "Memory", time: "Time" };
    this.tabs = el("div", { className: "tabs", role: "tablist" }, Object.entries(titles).map(([key, title]) => {
      const made = button(title, () => this.show(key));
      made.role = "tab";
      made.dataset.tab = key;
      return made;
    }));
    const counts = compilation.kernels.length ? `${countText(compilation.kernels.length, "kernel")}, ${countText(compilation.steps.length, "call")}` : "";
    const facts = [target, inputs.join(", "), counts, compilation.timed ? timeText(compilation.whole) : ""].filter(Boolean);
    const title = this.other ? this.sideChoice() : el("b", { textContent: name });
    const problem = compilation.failure?.message ?? compilation.broken ?? this.missing;
    this.header.replaceChildren(
      ...[
        title,
        this.tabs,
        problem ? el("span", { className: "bad", role: "alert", textContent: problem.split("\n")[0] }) : null,
        el("span", { className: "facts-line", textContent: facts.join("   ") }),
        button("◐", () => this.turn(), { title: "light or dark", label: "light or dark" }),
      ].filter(Boolean),
    );
    this.markTab();
  }

  sideChoice() {
    const select = el("select", { aria: { label: "compilation" } }, this.compilations.map((one, k) => el("option", { value: k, textContent: one.model.name })));
    select.value = this.side;
    select.onchange = () => {
      const name = this.compilation.passes[this.pass]?.name;
      this.side = Number(select.value);
      const same = this.compilation.passes.findIndex((pass) => pass.name === name);
      this.pass = same < 0 ? this.firstPass() : same;
      this.pages.graph.options.chosen = null;
      this.fillHeader();
      this.startPages();
    };
    return select;
  }

  startPages() {
    for (const one of Object.values(this.pages)) one.start();
    this.pages.graph.refresh();
    this.show(this.tab);
  }

  show(tab) {
    this.tab = tab;
    for (const [key, one] of Object.entries(this.pages)) one.element.hidden = key !== tab;
    this.markTab();
    if (tab !== "graph") this.pages[tab].refresh();
    else for (const pane of this.pages.graph.panes) pane.draw();
    this.remember();
  }

  markTab() {
    for (const made of this.tabs.children) {
      made.setAttribute("aria-selected", made.dataset.tab === this.tab);
      made.setAttribute("aria-pressed", made.dataset.tab === this.tab);
    }
  }

  showKernel(name) {
    this.show("kernels");
    return this.pages.kernels.show(name);
  }

  goNode(node) {
    this.pages.graph.goNode(node);
  }

  /** Write into the address what is shown. */
  remember() {
    if (!this.restoring) history.replaceState(null, "", `${location.search}${Places.of(this)}`);
  }

  /** Show what an address names, and say what there is not. */
  async restore(address) {
    this.restoring = true;
    this.missing = await Places.go(this, address);
    this.restoring = false;
    if (address) history.replaceState(null, "", `${location.search}${address}`);
    this.fillHeader();
    document.body.dataset.missing = this.missing;
    document.body.dataset.place = address;
  }

  turn() {
    document.documentElement.style.colorScheme = dark ? "light" : "dark";
    this.recolour();
  }

  recolour() {
    readColours();
    this.pages.memory.start();
    this.pages.time.start();
    for (const pane of this.pages.graph.panes) {
      pane.legendText = null;
      pane.draw();
    }
  }

  key(event) {
    if (/INPUT|SELECT/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const tabs = Object.keys(this.pages);
    if (event.key >= "1" && event.key <= String(tabs.length)) this.show(tabs[Number(event.key) - 1]);
    if (this.tab !== "graph") return;
    if (event.key === "ArrowLeft") this.pages.graph.step(-1);
    if (event.key === "ArrowRight") this.pages.graph.step(1);
    if (event.key === "/") {
      event.preventDefault();
      this.pages.graph.search.focus();
    }
  }
}

/** Walks through everything. What it saw, and what went wrong, stands in the document afterwards: `chromium --dump-dom` shows it. */
async function walkThrough(page, ready) {
  const seen = { ready, passes: 0, panes: 0, kernels: 0, linked: 0, lines: 0, tabs: 0, frames: [], errors: [] };
  const attempt = async (what, act) => {
    try {
      await act();
    } catch (error) {
      seen.errors.push(`${what}: ${error.stack ?? error}`);
    }
  };
  const { graph, kernels } = page.pages;
  const { compilation } = page;
  const visit = (pass, options) =>
    attempt(`pass ${pass} ${JSON.stringify(options)}`, () => {
      Object.assign(graph.options, options);
      page.pass = pass;
      graph.refresh();
      for (const pane of graph.panes) pane.render();
      seen.panes += graph.panes.length;
      const { nodes } = graph.pass;
      if (nodes.length) graph.select(compilation.records[nodes.at(-1)], graph.panes.at(-1));
      seen.passes++;
    });
  const count = compilation.passes.length;
  const large = largest(compilation.passes.map((pass) => pass.nodes.length)) > 5000;
  for (const split of large ? [""] : ["", "before", ...(page.other ? ["other"] : [])]) {
    for (const boxes of ["modules", "kernels", "flat"]) {
      for (let pass = 0; pass < count; pass++) await visit(pass, { split, boxes });
    }
  }
  for (const colour of ["kind", "time", "change", "precision", ...(compilation.isTraining ? ["role"] : []), ...(compilation.overlays.length ? ["overlay"] : [])]) {
    for (const pass of large ? [0] : [0, page.firstPass(), count - 1]) await visit(pass, { split: "", boxes: "modules", colour });
  }
  Object.assign(graph.options, { split: "", boxes: "modules", colour: "kind" });
  page.pass = page.firstPass();
  await attempt("frames", () => {
    graph.refresh();
    const pane = graph.panes[0];
    if (!pane) return;
    pane.openAll(true);
    for (const [name, act] of [["near", () => pane.fit()], ["whole", () => pane.fitAll()]]) {
      act();
      pane.render();
      const started = performance.now();
      pane.drag = { x: 0, y: 0, moved: 0 };
      for (let k = 0; k < 10; k++) {
        pane.view.x += 7;
        if (pane.took > SLOW_FRAME) pane.movePicture();
        else pane.render();
      }
      pane.drag = null;
      pane.canvas.getContext("2d").getImageData(0, 0, 1, 1); // waits for the drawing
      seen.frames.push([name, (performance.now() - started) / 10]);
    }
  });
  for (const kernel of compilation.kernels) {
    await attempt(kernel.name, async () => {
      await page.showKernel(kernel.name);
      const text = await compilation.text(kernel.name);
      for (const [kind] of COLUMNS) for (let n = 0; text?.[kind] && n < 30; n++) linkedLines(text.links, kind, n);
      if (!kernel.schedule.includes("Vector")) return;
      seen.lines += text?.links.assembly?.length ?? 0;
      seen.linked += (text?.links.assembly ?? []).filter((line) => line >= 0).length;
    });
    seen.kernels++;
  }
  for (const tab of Object.keys(page.pages)) {
    await attempt(tab, () => page.show(tab));
    seen.tabs++;
  }
  await attempt("theme", () => {
    page.turn();
    page.turn();
  });
  if (compilation.timed) {
    const sum = (values) => values.reduce((total, value) => total + value, 0);
    const nameless = sum(compilation.steps.filter((step) => !step.source.length).map((step) => step.ns));
    seen.sums = {
      steps: compilation.total,
      kernels: sum(compilation.kernels.map((kernel) => kernel.ns)),
      nodes: sum([...compilation.shareOfNode.values()]) + nameless,
      modules: sum(page.pages.time.modules().map(([, ns]) => ns)) + nameless,
      between: compilation.between,
      end_to_end: compilation.times.end_to_end,
    };
  }
  document.body.dataset.selftest = JSON.stringify(seen);
}

addEventListener("DOMContentLoaded", async () => {
  try {
    const page = new Page(await readCompilations());
    page.start();
    for (const pane of page.pages.graph.panes) pane.render();
    const ready = performance.now();
    document.body.dataset.ready = ready.toFixed(0);
    await page.restore(page.asked);
    if (location.search === "?selftest") await walkThrough(page, ready);
  } catch (error) {
    document.body.append(el("pre", { className: "bad", textContent: `This page could not be shown: ${error.stack}` }));
  }
});
