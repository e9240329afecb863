"use strict";
/* Layered layout of a graph in near-linear time, without recursion.

   nodes: {w, h} in program order; edges: [from, to] by number. An edge against the order counts the other way round: boxes around ops can make
   cycles. Gives x and y of each node's centre, the size of the whole, and the points between that each edge runs through.

   1. The longest path gives the layer. 2. One chain of points per source carries all its long edges, so that a value which many read stays one
   line. 3. The order within a layer follows the means of the neighbours (Sugiyama's barycentres). 4. x is the least-squares fit to the means of
   neighbours under order and distance: isotonic regression by pooling adjacent violators. */

const ORDER_SWEEPS = 6;
const PLACE_SWEEPS = 8;
const LONGEST_ROUTES = 60000; // points of all edges together
const ALL_NEIGHBOURS = 6; // from this sweep on a node is drawn to both sides

function layered(nodes, edges, gapX = 18, gapY = 34) {
  const { out, into } = neighbours(nodes.length, edges);
  const layer = layersOf(out, into);
  const points = nodes.map((node, i) => ({ w: node.w, layer: layer[i], up: [], down: [], x: 0, rank: -1, real: true }));
  const chains = chained(points, out, layer);
  const rows = rowsOf(points);
  arrange(points, rows);
  placeAcross(rows, gapX);
  const heights = rows.map(() => 0);
  nodes.forEach((node, i) => (heights[layer[i]] = Math.max(heights[layer[i]], node.h)));
  let top = 0;
  rows.forEach((row, k) => {
    for (const point of row) point.y = top + heights[k] / 2;
    top += heights[k] + gapY;
  });
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point.x - point.w / 2);
    high = Math.max(high, point.x + point.w / 2);
  }
  for (const point of points) point.x -= low;
  const targets = out.map((all, i) => [...new Set(all.map((j) => layer[j] - layer[i]))].sort((a, b) => a - b));
  const long = out.reduce((sum, all, i) => sum + all.reduce((own, j) => own + layer[j] - layer[i], 0), 0) > LONGEST_ROUTES;
  const branchOf = (from, to) => {
    const place = targets[from].indexOf(layer[to] - layer[from]);
    return place > 0 ? Math.max(1, targets[from][place - 1] - 1) : 1;
  };
  return {
    at: points.slice(0, nodes.length),
    w: nodes.length ? high - low : 0,
    h: Math.max(0, top - gapY),
    /** The points between two nodes. Where all routes together would be too long, that from where the route leaves those before it. */
    route(from, to) {
      if (layer[to] <= layer[from]) return [];
      const start = long ? branchOf(from, to) : 1;
      return chains[from].slice(start, Math.max(start, layer[to] - layer[from])).map((point) => [point.x, point.y]);
    },
    /** Whether a route begins at the node itself. */
    whole: (from, to) => !long || layer[to] <= layer[from] || branchOf(from, to) === 1,
  };
}

function neighbours(count, edges) {
  const out = Array.from({ length: count }, () => []);
  const into = Array.from({ length: count }, () => []);
  const seen = new Set();
  for (const [source, target] of edges) {
    const a = Math.min(source, target);
    const b = Math.max(source, target);
    if (a === b || seen.has(a * count + b)) continue;
    seen.add(a * count + b);
    out[a].push(b);
    into[b].push(a);
  }
  return { out, into };
}

function layersOf(out, into) {
  const layer = new Int32Array(out.length);
  for (let i = 0; i < out.length; i++) for (const j of out[i]) layer[j] = Math.max(layer[j], layer[i] + 1);
  for (let i = out.length - 1; i >= 0; i--) {
    if (!out[i].length || into[i].length) continue;
    let nearest = Infinity; // what reads nothing stands right above its first reader
    for (const j of out[i]) nearest = Math.min(nearest, layer[j]);
    layer[i] = nearest - 1;
  }
  return layer;
}

function chained(points, out, layer) {
  const join = (a, b) => {
    a.down.push(b);
    b.up.push(a);
  };
  return out.map((targets, i) => {
    const far = targets.filter((j) => layer[j] > layer[i]).sort((a, b) => layer[a] - layer[b]);
    const chain = [points[i]];
    for (const j of far) {
      while (chain[chain.length - 1].layer < layer[j] - 1) {
        const last = chain[chain.length - 1];
        const next = { w: 6, layer: last.layer + 1, up: [], down: [], x: 0, rank: -1, real: false };
        join(last, next);
        points.push(next);
        chain.push(next);
      }
      join(chain[layer[j] - 1 - layer[i]], points[j]);
    }
    return chain;
  });
}

function rowsOf(points) {
  const rows = [];
  for (const point of points) (rows[point.layer] ??= []).push(point);
  for (let k = 0; k < rows.length; k++) rows[k] ??= [];
  return rows;
}

function rank(row) {
  for (let i = 0; i < row.length; i++) row[i].rank = i;
}

function arrange(points, rows) {
  const next = rows.map(() => 0);
  const waiting = points.filter((point) => !point.up.length).reverse();
  while (waiting.length) { // depth first: what hangs together begins side by side
    const point = waiting.pop();
    if (point.rank >= 0) continue;
    point.rank = next[point.layer]++;
    for (let k = point.down.length - 1; k >= 0; k--) if (point.down[k].rank < 0) waiting.push(point.down[k]);
  }
  for (const point of points) if (point.rank < 0) point.rank = next[point.layer]++;
  for (const row of rows) {
    row.sort((a, b) => a.rank - b.rank);
    rank(row);
  }
  if (rows.every((row) => row.length < 2)) return;
  for (let sweep = 0; sweep < ORDER_SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (let k = 0; k < rows.length; k++) {
      const row = rows[down ? k : rows.length - 1 - k];
      if (row.length < 2) continue;
      for (const point of row) {
        const others = down ? point.up : point.down;
        let sum = 0;
        for (const other of others) sum += other.rank;
        point.wanted = others.length ? sum / others.length : point.rank;
      }
      row.sort((a, b) => a.wanted - b.wanted || a.rank - b.rank);
      rank(row);
    }
  }
}

function placeAcross(rows, gap) {
  for (const row of rows) {
    let at = 0;
    for (const point of row) {
      point.x = at + point.w / 2;
      at += point.w + gap;
    }
    for (const point of row) point.x -= at / 2;
  }
  for (let sweep = 0; sweep < PLACE_SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (let k = 0; k < rows.length; k++) fit(rows[down ? k : rows.length - 1 - k], gap, down, sweep >= ALL_NEIGHBOURS);
  }
}

/** Move the points of a row as near to where they want to be as order and distances let them. */
function fit(row, gap, down, both) {
  const blocks = [];
  let offset = 0;
  for (let i = 0; i < row.length; i++) {
    const point = row[i];
    if (i) offset += row[i - 1].w / 2 + point.w / 2 + gap * (point.real && row[i - 1].real ? 1 : 0.6);
    point.offset = offset;
    const weight = point.real ? 1 : 2; // straight long edges
    let block = { sum: (wantedX(point, down, both) - offset) * weight, weight, from: i };
    while (blocks.length && blocks[blocks.length - 1].sum / blocks[blocks.length - 1].weight >= block.sum / block.weight) {
      const last = blocks.pop();
      block = { sum: last.sum + block.sum, weight: last.weight + block.weight, from: last.from };
    }
    blocks.push(block);
  }
  blocks.forEach((block, k) => {
    const end = k + 1 < blocks.length ? blocks[k + 1].from : row.length;
    for (let i = block.from; i < end; i++) row[i].x = block.sum / block.weight + row[i].offset;
  });
}

function wantedX(point, down, both) {
  let sum = 0;
  let count = 0;
  if (both || down) for (const other of point.up) (sum += other.x), count++;
  if (both || !down) for (const other of point.down) (sum += other.x), count++;
  return count ? sum / count : point.x;
}
