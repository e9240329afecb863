"use strict";
/* Places of the page have addresses, which can be sent along and linked to:

     #graph/PASS/NODE/before           the graph after a pass, a node of the model in it, what was before beside it
     #kernels/NODE-OR-KERNEL/TEXT/7    a kernel, or the slowest of a node's; a line of its structured, loops, code or assembly, else the one
                                       that does most of the work
     #memory/CARD, #time/CARD          as #time/roofline

   Parts may be left out from the end, and are encoded as parts of a URL: %2F for a slash. */

const Places = {
  /** The address of what is shown. */
  of(page) {
    const parts = [page.tab];
    if (page.tab === "graph") {
      const { chosen, split } = page.pages.graph.options;
      const before = split === "before" ? "before" : "";
      parts.push(page.compilation.passes[page.pass]?.name ?? "", chosen?.node ?? "", before);
    }
    if (page.tab === "kernels") {
      const { shown, at } = page.pages.kernels;
      parts.push(shown ?? "", ...(at ? [at.kind, at.line + 1] : []));
    }
    while (parts.length > 1 && parts.at(-1) === "") parts.pop();
    return `#${parts.map(encodeURIComponent).join("/")}`;
  },

  /** Show what an address names. What there is not of it, in words; "" where all is there. */
  async go(page, address) {
    const [tab, what, ...more] = address.replace(/^#/, "").split("/").map(decoded);
    if (!tab) return "";
    if (!(tab in page.pages)) return `there is no tab ${tab}`;
    if (tab === "graph") return this.goGraph(page, what, ...more);
    if (tab === "kernels") return this.goKernel(page, what, ...more);
    page.show(tab);
    return !what || page.pages[tab].go(what) ? "" : `${tab} has no part ${what}`;
  },

  goGraph(page, name, node, before) {
    const { graph } = page.pages;
    const pass = page.compilation.passes.findIndex((one) => one.name === name);
    page.show("graph");
    if (name && pass < 0) return `there is no pass ${name}`;
    if (name) page.pass = pass;
    graph.options.split = before === "before" ? "before" : "";
    graph.start(); // the tools say what is shown
    graph.refresh();
    return !node || graph.goNode(node) ? "" : `no op after ${name} comes from ${node}`;
  },

  async goKernel(page, name, kind, line) {
    const { compilation } = page;
    page.show("kernels");
    if (!name) return "";
    const bySlowness = [...(compilation.stepsOfNode.get(name) ?? [])].sort((a, b) => b.ns - a.ns);
    const kernel = compilation.kernel(name) ?? compilation.kernel(bySlowness[0]?.kernel);
    if (!kernel) return `there is no kernel ${name}, nor a node of that name that one computes`;
    await page.pages.kernels.show(kernel.name);
    return !kind || page.pages.kernels.go(kind, line) ? "" : `${kernel.name} has no ${kind}${line ? ` line ${line}` : ""}`;
  },
};

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a % that encodes nothing
  }
}
