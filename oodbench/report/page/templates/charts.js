"use strict";
// Small SVG charts. Every text reaches the page through textContent, so no name can become markup.

const SVG = "http://www.w3.org/2000/svg";

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const h = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => make(document.createElementNS(SVG, tag), attributes, children);

const pc = (v, digits = 1) => (v === null || v === undefined ? "–" : (100 * v).toFixed(digits));
const SHIFTS = { id: "known (ID)", near: "near-OOD", far: "far-OOD" };

// A scale over the bulk of some values: a few far on the bad side (beyond three interquartile ranges) would press all others together.
function bulk(values, higher = true) {
  const v = [...values].sort((a, b) => a - b), at = (q) => v[Math.round(q * (v.length - 1))];
  if (!v.length) return [0, 1];
  const reach = v.length < 8 ? Infinity : 3 * (at(0.75) - at(0.25)) || Infinity;
  return higher ? [v.find((x) => x >= at(0.25) - reach), v[v.length - 1]] : [v[0], v.findLast((x) => x <= at(0.75) + reach)];
}
const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
// What is too much left out of its middle: variants of one name differ at its end.
const short = (name, most) => (name.length <= most ? name : `${name.slice(0, most - (most >> 1) - 1)}…${name.slice(name.length - (most >> 1))}`);

function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((f) => f >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(+v.toFixed(10));
  return found;
}

// A frame with axes; returns the svg, scales and the size of the plotting area.
function frame({ width = 300, height = 200, x, y, left = 40, bottom = 34, top = 8, right = 10, xlabel = "", ylabel = "", label = "", yticks = true, fmt = String }) {
  const X = (v) => left + ((v - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const Y = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0] || 1)) * (height - bottom - top);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", style: `max-width:${Math.round(width * 1.45)}px`, role: "img", "aria-label": label });
  for (const v of ticks(x[0], x[1], width < 280 ? 3 : 5)) {
    svg.append(s("line", { class: "gridline", x1: X(v), x2: X(v), y1: top, y2: height - bottom }), s("text", { x: X(v), y: height - bottom + 13, "text-anchor": "middle", class: "soft" }, fmt(v)));
  }
  if (yticks) for (const v of ticks(y[0], y[1], 4)) {
    svg.append(s("line", { class: "gridline", x1: left, x2: width - right, y1: Y(v), y2: Y(v) }), s("text", { x: left - 5, y: Y(v) + 4, "text-anchor": "end", class: "soft" }, fmt(v)));
  }
  svg.append(s("path", { class: "axis", d: `M${left} ${height - bottom}H${width - right}` }));
  if (xlabel) svg.append(s("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, xlabel));
  if (ylabel) svg.append(s("text", { transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, ylabel));
  return { svg, X, Y };
}

// Histograms as steps: series is [[kind, counts as shares]], all over the same edges.
// Shares stand on a square-root scale: nearly all known samples may fall into one bin.
function histogram(edges, series, { xlabel = "", label = "", ymax = null, means = [] } = {}) {
  series = series.map(([kind, shares]) => [kind, shares.map(Math.sqrt)]);
  const bins = series[0][1].length, high = (ymax ? Math.sqrt(ymax) : Math.max(1e-9, ...series.flatMap(([, c]) => c))) * 1.05;
  const { svg, X, Y } = frame({ width: 300, height: 170, left: 12, x: edges, y: [0, high], xlabel, label, yticks: false });
  const at = (i) => X(edges[0] + ((edges[1] - edges[0]) * i) / bins);
  for (const [kind, shares] of series) {
    let d = `M${at(0).toFixed(1)} ${Y(0).toFixed(1)}`;
    shares.forEach((v, i) => { d += `V${Y(v).toFixed(1)}H${at(i + 1).toFixed(1)}`; });
    svg.append(s("path", { class: `area ${kind}`, d: `${d}V${Y(0).toFixed(1)}Z` }), s("path", { class: `line ${kind}`, d }));
  }
  for (const [kind, v] of means) if (v >= edges[0] && v <= edges[1]) svg.append(s("circle", { class: `dot ${kind}`, cx: X(v), cy: Y(0), r: 4 }));
  return svg;
}

// ROC curves over the same false positive rates: curves is [[kind, name, tprs, auroc]].
function roc(rates, curves, label) {
  const { svg, X, Y } = frame({ width: 300, height: 240, left: 40, x: [0, 1], y: [0, 1], xlabel: "ID rejected (FPR)", ylabel: "OOD rejected (TPR)", label });
  svg.append(s("path", { class: "axis", "stroke-opacity": 0.4, d: `M${X(0)} ${Y(0)}L${X(1)} ${Y(1)}` }));
  curves.forEach(([kind, name, tprs, area], i) => {
    const d = "M" + rates.map((r, j) => `${X(r).toFixed(1)} ${Y(tprs[j]).toFixed(1)}`).join("L");
    svg.append(s("path", { class: `line ${kind}`, style: `stroke-dasharray:${dash(curves, i)}`, d }, s("title", {}, `${name}: AUROC ${pc(area)}`)));
  });
  return svg;
}
// Colour says near or far, the dash which set of them.
const DASHES = ["none", "6 2", "1.5 2", "8 2 1.5 2", "3 3", "10 3 1.5 3 1.5 3"];
const dash = (curves, i) => DASHES[curves.slice(0, i).filter(([kind]) => kind === curves[i][0]).length % DASHES.length];
const rocLegend = (curves) => h("div", { class: "legend" }, curves.map(([kind, name, , area], i) => h("span", { class: "key" }, s("svg", { viewBox: "0 0 26 6", width: 26, height: 6, "aria-hidden": "true" }, s("path", { class: `line ${kind}`, style: `stroke-dasharray:${dash(curves, i)};stroke-width:2`, d: "M0 3H26" })), `${name} ${pc(area)}`)));

// A dot and its interval on a common scale, for a table cell.
function bar([mean, , low, high], [from, to]) {
  const W = 86, X = (v) => clamp(((v - from) / (to - from || 1)) * W, 0, W), off = mean < from || mean > to;
  const svg = s("svg", { viewBox: `-4 0 ${W + 8} 12`, width: W + 8, height: 12, "aria-hidden": "true" });
  svg.append(s("line", { x1: 0, x2: W, y1: 6, y2: 6, stroke: "var(--faint)", "stroke-width": 3 }));
  if (low !== null && high !== null) svg.append(s("line", { x1: X(low), x2: X(high), y1: 6, y2: 6, stroke: "var(--bar)", "stroke-width": 4, "stroke-linecap": "round" }));
  svg.append(s("circle", { cx: X(mean), cy: 6, r: 3.2, fill: off ? "var(--panel)" : "var(--accent)", stroke: "var(--accent)" }));
  return svg;
}

// Demsar's critical-difference diagram: best rank at the left; bars join names that do not differ.
function cdDiagram({ names, ranks, cliques, cd }, label) {
  const order = names.map((_, i) => i).sort((a, b) => ranks[a] - ranks[b]), k = names.length;
  const width = 560, left = 150, right = 150, half = Math.ceil(k / 2), line = 17, top = 46 + 8 * cliques.length, height = top + half * line + 14;
  const X = (r) => left + ((r - 1) / Math.max(1, k - 1)) * (width - left - right);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "cd", role: "img", "aria-label": label });
  svg.append(s("path", { class: "axis", d: `M${X(1)} 30H${X(k)}` }));
  const every = Math.ceil(k / 12);
  for (let r = 1; r <= k; r += every) svg.append(s("path", { class: "axis", d: `M${X(r)} 30v-5` }), s("text", { x: X(r), y: 21, "text-anchor": "middle", class: "soft" }, r));
  if (cd !== null) {
    const w = Math.min(X(1 + cd) - X(1), width - left - right);
    svg.append(s("path", { class: "axis", d: `M${left} 6h${w}m0 -3v6m${-w} 0v-6` }), s("text", { x: left - 6, y: 10, "text-anchor": "end" }, `CD ${cd.toFixed(2)}${cd > k - 1 ? ": the whole scale" : ""}`));
  }
  cliques.forEach(([a, b], i) => {
    const y = 38 + 8 * i;
    svg.append(s("path", { d: `M${X(ranks[order[a]]) - 3} ${y}H${X(ranks[order[b]]) + 3}`, stroke: "var(--accent)", "stroke-width": 3.5, "stroke-linecap": "round" }));
  });
  order.forEach((at, i) => {
    const leftSide = i < half, y = top + (leftSide ? i : k - 1 - i) * line + 8, x = X(ranks[at]);
    svg.append(s("path", { class: "axis", d: `M${x} 30V${y}H${leftSide ? left - 8 : width - right + 8}` }));
    const name = short(names[at], 20);
    svg.append(s("text", { x: leftSide ? left - 12 : width - right + 12, y: y + 4, "text-anchor": leftSide ? "end" : "start" }, `${name} ${ranks[at].toFixed(2)}`, s("title", {}, names[at])));
  });
  return svg;
}

// Dots that open a cell: points is [[x, y, title, open]]; front draws the staircase of points nothing beats (less x, more y).
function scatter(points, { xlabel, ylabel, label, higher = true, log = false, front = false, kinds = [], fmtx = null, fmty = null }) {
  const range = bulk(points.map((p) => p[1]), higher), off = points.filter((p) => p[1] < range[0] || p[1] > range[1]).length;
  const xs = points.map((p) => (log ? Math.log10(Math.max(p[0], 1e-6)) : p[0])), ys = points.map((p) => clamp(p[1], ...range));
  const pad = (v) => { const a = Math.min(...v), b = Math.max(...v), m = (b - a) * 0.07 || Math.abs(a) * 0.05 || 0.05; return [a - m, b + m]; };
  // as many digits as tell neighbouring ticks apart
  const fine = (v, f) => { const t = ticks(...v, 4), step = 100 * (t[1] - t[0]); return f || ((x) => pc(x, Math.max(0, Math.min(3, Math.ceil(-Math.log10(step) - 1e-9))))); };
  fmtx = log ? fmtx : fine(pad(xs), fmtx); fmty = fine(pad(ys), fmty);
  const { svg, X, Y } = frame({ width: innerWidth < 640 ? 360 : 520, height: innerWidth < 640 ? 260 : 320, left: 46, x: pad(xs), y: pad(ys), xlabel, ylabel, label, fmt: (v) => v });
  svg.querySelectorAll("text.soft").forEach((t) => { const v = +t.textContent; t.textContent = t.getAttribute("text-anchor") === "end" ? fmty(v) : log ? (10 ** v >= 1 ? (10 ** v).toPrecision(2) : (10 ** v).toPrecision(1)) : fmtx(v); });
  if (front) {
    const sign = higher ? 1 : -1, order = points.map((_, i) => i).sort((a, b) => xs[a] - xs[b] || sign * (ys[b] - ys[a]));
    let best = -sign * Infinity, d = "";
    for (const i of order) if (sign * (ys[i] - best) > 0) { d += d ? `H${X(xs[i])}V${Y(ys[i])}` : `M${X(xs[i])} ${Y(ys[i])}`; best = ys[i]; }
    svg.append(s("path", { d, fill: "none", stroke: "var(--accent)", "stroke-width": 1.2, "stroke-dasharray": "4 3" }));
  }
  points.forEach(([, , title, open], i) => {
    const go = (e) => { if (e.type === "click" || e.key === "Enter" || e.key === " ") { e.preventDefault(); open(); } };
    const out = points[i][1] !== ys[i], colour = kinds[i] || "var(--accent)";
    const shape = { class: out ? "dot off" : "dot", tabindex: 0, role: "button", "aria-label": title, fill: out ? "var(--panel)" : colour, style: out ? `stroke:${colour};stroke-width:2` : null, on: { click: go, keydown: go } };
    svg.append(s("circle", { ...shape, cx: X(xs[i]), cy: Y(ys[i]), r: 5 }, s("title", {}, title)));
  });
  if (off) svg.append(s("text", { x: 50, y: higher ? Y(pad(ys)[0]) - 5 : 14, class: "soft" }, `hollow: ${off} ${higher ? "below" : "above"} the scale`));
  return svg;
}

const CIVIDIS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
function heatColour(f) {
  const at = Math.max(0, Math.min(0.99999, f)) * (CIVIDIS.length - 1), i = Math.floor(at), w = at - i;
  const c = CIVIDIS[i].map((v, j) => Math.round(v + (CIVIDIS[i + 1][j] - v) * w));
  const [r, g, b] = c.map((x) => (x <= 10 ? x / 3294 : ((x / 255 + 0.055) / 1.055) ** 2.4)); // WCAG's relative luminance
  return [`rgb(${c.join(" ")})`, 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff"];
}
const OKABE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8f98"];
