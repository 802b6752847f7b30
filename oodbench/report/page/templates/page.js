// State lives in the URL's hash, so that a filtered view is a link. Everything is drawn from it.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEYS = ["pair", "network", "method", "scorer", "tune", "condition", "id_set"];
const DEFAULT = { pair: "", network: "", method: "", scorer: "", tune: "", condition: "clean", id_set: "id", shift: "", metric: "auroc", q: "", sort: "rank", dir: "asc", cell: "" };
const PAGE = 100;
let state = { ...DEFAULT }, shown = PAGE;

data.cells.forEach((c, i) => {
  c.i = i; c.f = c.f || 0; c.x = c.x || 0; c.sets = c.sets || [];
  KEYS.forEach((k, j) => { c[k] = data.names[c.k[j]]; });
  c.text = KEYS.map((k) => c[k]).join(" ").toLowerCase();
  const of = {};
  data.main.forEach((name, j) => { if (c.v[j]) of[name] = c.v[j]; });
  data.more.forEach((name, j) => { if (c.m[j] !== null) of[name] = [c.m[j], null, null, null]; });
  c.v = of;
});
const values = (key) => [...new Set(data.cells.map((c) => c[key]))];
for (const key of ["condition", "id_set"]) if (data.cells.length && !values(key).includes(DEFAULT[key])) DEFAULT[key] = "";

function readHash() {
  state = { ...DEFAULT };
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) if (key in state) state[key] = value;
  if (!data.metrics.some(([m]) => m === state.metric)) state.metric = DEFAULT.metric;
}
function hashOf(changes) {
  const next = { ...state, ...changes }, params = new URLSearchParams();
  for (const [key, value] of Object.entries(next)) if (value !== DEFAULT[key]) params.set(key, value);
  return "#" + params;
}
function go(changes) {
  shown = PAGE;
  history.replaceState(null, "", hashOf(changes) === "#" ? location.pathname + location.search : hashOf(changes));
  readHash();
  draw();
}

const filtered = (but = []) => data.cells.filter((c) => KEYS.every((k) => but.includes(k) || !state[k] || c[k] === state[k]) && (!state.q || state.q.toLowerCase().split(/\s+/).every((w) => c.text.includes(w))));
const metric = () => data.metrics.find(([m]) => m === state.metric);
const value = (c, name) => (c.v[name] ? c.v[name][0] : null);
const there = ["near", "far"].filter((k) => data.cells.some((c) => value(c, `${k}_auroc`) !== null));
const shifts = () => (there.includes(state.shift) ? [state.shift] : there);
const named = (c) => (c.tune === "none" ? c.scorer : `${c.scorer} [${c.tune}]`);
const openCell = (c) => go({ cell: String(c.i) });

// ------------------------------------------------------------ controls

function controls() {
  const choose = (key, label, options) => h("label", {}, label, h("select", { id: `f-${key}`, on: { change: (e) => go({ [key]: e.target.value }) } }, options.map(([v, t]) => h("option", { value: v }, t))));
  const any = (key) => [["", "all"], ...values(key).map((v) => [v, v || "–"])];
  $("controls").append(
    ...KEYS.filter((k) => values(k).length > 1).map((k) => choose(k, { id_set: "ID set", tune: "tuning" }[k] || k, any(k))),
    ...(there.length > 1 ? [choose("shift", "OOD", [["", "near and far"], ["near", "near"], ["far", "far"]])] : []),
    choose("metric", "metric", data.metrics.map(([m, label]) => [m, label])),
    h("label", {}, "search", h("input", { id: "f-q", type: "search", on: { input: (e) => go({ q: e.target.value }) } })),
    h("button", { type: "button", id: "reset", on: { click: () => go({ ...DEFAULT }) } }, "Reset"),
  );
  const themes = () => document.documentElement.dataset.theme;
  const set = (t) => { document.documentElement.dataset.theme = t; };
  set(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  $("theme").addEventListener("click", () => set(themes() === "dark" ? "light" : "dark"));
  for (const section of document.querySelectorAll("main section[id] > h2")) {
    const at = section.parentElement;
    if (at.id !== "controls") $("nav").append(h("a", { href: `#${at.id}`, on: { click: (e) => { e.preventDefault(); at.scrollIntoView(); at.querySelector("[tabindex],button,summary")?.focus({ preventScroll: true }); } } }, section.textContent));
  }
}
function syncControls() {
  for (const key of Object.keys(DEFAULT)) { const field = $(`f-${key}`); if (field && field.value !== state[key] && document.activeElement !== field) field.value = state[key]; else if (field && field.tagName === "SELECT") field.value = state[key]; }
}

// ------------------------------------------------------------ leaderboard

function columns() {
  const [m, label, , percent] = metric();
  const names = KEYS.filter((k) => ["method", "scorer"].includes(k) || (!state[k] && values(k).length > 1));
  return [
    { key: "rank", label: "#", num: true, of: (c) => c.r, cell: (c) => c.r ?? "" },
    ...names.map((k) => ({ key: k, label: { id_set: "ID set", tune: "tuning" }[k] || k, of: (c) => c[k], cell: (c) => (k === "scorer" ? h("button", { class: "link", type: "button", "aria-label": `Open ${c.method}, ${c.scorer}`, on: { click: () => openCell(c) } }, c.scorer) : c[k]), name: true, wide: k === "network" })),
    ...shifts().flatMap((k) => [{ key: `${k}_${m}`, label: `${k} ${label}`, num: true, of: (c) => value(c, `${k}_${m}`), cell: (c) => number(c.v[`${k}_${m}`], percent) }, { key: `bar-${k}`, label: "", bar: `${k}_${m}`, wide: true }]),
    { key: "id_accuracy", label: "ID accuracy", num: true, of: (c) => value(c, "id_accuracy"), cell: (c) => number(c.v.id_accuracy) },
    { key: "n", label: "trials", num: true, wide: true, of: (c) => c.n, cell: (c) => [String(c.n), c.f ? h("span", { class: "tag bad", title: c.why || "" }, `${c.f} failed`) : null, c.x ? h("span", { class: "tag", title: c.why || "" }, `${c.x} skipped`) : null] },
  ];
}
function number(v, percent = true) {
  if (!v || v[0] === null) return "–";
  const text = (x) => (percent ? pc(x, 2) : Number.isInteger(x) ? String(x) : x.toFixed(3));
  return [text(v[0]), v[1] === null ? null : h("span", { class: "std" }, ` ± ${text(v[1])}`)];
}
function sorted(cells, column) {
  const sign = state.dir === "desc" ? -1 : 1;
  const empty = (v) => v === null || v === undefined;
  return [...cells].sort((a, b) => {
    const x = column.of(a), y = column.of(b);
    if (empty(x) || empty(y)) return empty(x) - empty(y) || a.i - b.i; // what has no value comes last, either way
    return (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y) * sign || a.i - b.i;
  });
}
function board() {
  const cols = columns(), by = cols.find((c) => c.key === state.sort) || cols[0], cells = sorted(filtered(), by);
  const scale = {};
  for (const c of cols) if (c.bar) {
    const all = cells.flatMap((x) => (x.v[c.bar] ? [x.v[c.bar][0]] : [])).filter((v) => v !== null);
    scale[c.bar] = bulk(all, metric()[2]);
  }
  const direction = { asc: "ascending", desc: "descending" }[state.dir];
  const head = h("tr", {}, cols.map((c) => c.bar ? h("th", { class: "wide scale", title: "Dot: mean; bar: 95 % interval; a hollow dot lies off the scale" }, scale[c.bar].map((v) => h("span", {}, metric()[3] ? pc(v, 1) : v.toPrecision(3)))) : h("th", { scope: "col", class: [c.num ? "num" : "", c.wide ? "wide" : ""].join(" "), "aria-sort": c.key === by.key ? direction : null },
    h("button", { type: "button", "data-sort": c.key, on: { click: () => sortBy(c) } }, c.label))));
  const rows = cells.slice(0, shown).map((c) => h("tr", { class: c.r === 1 ? "first" : null, "data-cell": c.i }, cols.map((col) => h("td", { class: [col.num ? "num" : "", col.name ? "name" : "", col.wide ? "wide" : ""].join(" ") }, col.bar ? (c.v[col.bar] && c.v[col.bar][0] !== null ? bar(c.v[col.bar], scale[col.bar]) : "") : col.cell(c)))));
  $("board").replaceChildren(h("table", {}, h("caption", { class: "note", style: "text-align:left" }, `${cells.length} of ${data.cells.length} cells${metric()[3] ? ", in percent" : ""}; sorted by ${by.key === "rank" ? "rank" : by.label}, ${direction}`), h("thead", {}, head), h("tbody", {}, rows)));
  const left = cells.length - rows.length;
  $("more").replaceChildren(left > 0 ? h("button", { type: "button", id: "show-more", on: { click: () => { shown = cells.length; board(); } } }, `Show the other ${left}`) : "");
  const [, label, higher] = metric();
  $("board-note").textContent = `${label}: ${higher ? "higher" : "lower"} is better. Ranks are by near-OOD AUROC (far-OOD where a pair has no near set), within each pair, tuning and condition.`;
}
function sortBy(column) {
  const same = state.sort === column.key, textual = column.name || column.key === "rank";
  const lower = state.sort !== column.key && !textual && (data.lower.includes(column.key.replace(/^(near|far)_/, "")));
  go({ sort: column.key, dir: same ? (state.dir === "asc" ? "desc" : "asc") : textual || lower ? "asc" : "desc" });
  document.querySelector(`[data-sort="${CSS.escape(column.key)}"]`)?.focus();
}

// ------------------------------------------------------------ other views

const boardsOf = (cells) => { const m = new Map(); for (const c of cells) { const k = JSON.stringify([c.pair, c.network, c.tune, c.condition, c.id_set]); if (!m.has(k)) m.set(k, []); m.get(k).push(c); } return [...m.values()]; };
const titleOf = (c) => [c.pair, c.network, values("tune").length > 1 ? c.tune : "", c.condition === "clean" ? "" : c.condition, c.id_set === "id" ? "" : c.id_set].filter(Boolean).join(", ");

function heat() {
  const [m, label, higher, percent] = metric(), show = (v) => (percent ? pc(v) : v.toPrecision(3)), groups = boardsOf(filtered()).slice(0, 4), out = [];
  for (const group of groups) for (const shift of shifts()) {
    const name = `${shift}_${m}`, found = group.filter((c) => value(c, name) !== null), nums = found.map((c) => value(c, name));
    if (!nums.length) continue;
    const [lo, hi] = bulk(nums, higher);
    const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
    const order = (key) => [...new Set(group.map((c) => c[key]))].map((n) => [n, found.filter((c) => c[key] === n).map((c) => value(c, name))]).sort((a, b) => (a[1].length && b[1].length ? (mean(b[1]) - mean(a[1])) * (higher ? 1 : -1) : b[1].length - a[1].length)).map(([n]) => n);
    const across = order("method"), down = order("scorer");
    out.push(h("div", {}, h("h3", {}, `${titleOf(group[0])}: ${SHIFTS[shift]} ${label}`), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Heat map, ${shift}` }, h("table", { class: "heat" },
      h("thead", {}, h("tr", {}, h("th", {}), across.map((n) => h("th", { scope: "col" }, n)))),
      h("tbody", {}, down.map((sc) => h("tr", {}, h("th", { scope: "row" }, sc), across.map((me) => {
        const c = group.find((x) => x.method === me && x.scorer === sc), v = c ? value(c, name) : null;
        if (v === null) return h("td", {}, c ? h("button", { type: "button", on: { click: () => openCell(c) } }, "–") : "");
        const [fill, ink] = heatColour(hi > lo ? (higher ? v - lo : hi - v) / (hi - lo) : 0.5);
        return h("td", {}, h("button", { type: "button", style: `background:${fill};color:${ink}`, "aria-label": `${me}, ${sc}: ${show(v)}`, on: { click: () => openCell(c) } }, show(v)));
      }))))))));
  }
  $("heatmap").replaceChildren(...(out.length ? out : [h("p", { class: "note" }, "Nothing to show for this filter.")]));
}

function ranks() {
  const out = data.ranks.map((r) => h("div", {}, h("h3", {}, `${r.what}, ${SHIFTS[r.shift]} AUROC, ${r.n} ${r.n === 1 ? "block" : "blocks"}`), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Critical-difference diagram of ${r.what}` }, cdDiagram(r, `Average ranks of ${r.what}`)), h("p", { class: "note" }, r.text), r.wtl ? h("details", {}, h("summary", {}, "Wins / ties / losses, row against column"), matrix(r)) : null));
  $("cd").replaceChildren(...out);
  $("ranks").hidden = !out.length;
  $("ranks-note").textContent = data.ranks_note;
}

function matrix(r) {
  const order = r.names.map((n, i) => [r.ranks[i], n]).sort((a, b) => a[0] - b[0]).map(([, n]) => n);
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Wins, ties and losses of ${r.what}` }, h("table", { class: "heat wtl" },
    h("thead", {}, h("tr", {}, h("th", {}), order.map((n) => h("th", { scope: "col" }, n)))),
    h("tbody", {}, order.map((n, i) => h("tr", {}, h("th", { scope: "row" }, n), r.wtl[i].map((t) => h("td", {}, t)))))));
}

const legend = (kinds) => h("div", { class: "legend" }, kinds.map((k) => h("span", { class: k }, h("i", {}), SHIFTS[k])));

function als() {
  const wanted = data.als.filter((a) => (!state.pair || a.pair === state.pair) && (!state.network || a.network === state.network)).slice(0, 3), out = [];
  for (const a of wanted) {
    out.push(h("h3", {}, [a.pair, a.network].filter(Boolean).join(", ")), legend(["id", "near", "far"].filter((k) => a.rows[0].methods[0][k])));
    for (const row of a.rows) out.push(h("div", { class: "multiples" }, row.methods.filter((x) => !state.method || x.name === state.method).slice(0, 24).map((x) => h("div", {}, h("h3", {}, x.name), histogram(row.edges, ["id", "near", "far"].filter((k) => x[k]).map((k) => [k, x[k]]), { xlabel: row.label, ymax: row.ymax, means: ["id", "near", "far"].filter((k) => x[k]).map((k) => [k, x.means[k]]), label: `${row.label} of known and unknown samples, ${x.name}` })))));
  }
  $("als").replaceChildren(...out);
  $("known").hidden = !data.als.length;
}

function trade() {
  const cells = filtered(), [m, name, higher, percent] = metric(), shift = shifts()[0] || "near", of = `${shift}_${m}`, out = [], names = values("method");
  const colour = (c) => OKABE[Math.min(names.indexOf(c.method), OKABE.length - 1)];
  const y = { ylabel: `${shift}-OOD ${name}${percent ? ", %" : ""}`, higher: !!higher, fmty: percent ? null : (v) => String(+v.toPrecision(3)) };
  const dots = (list, x) => list.map((c) => [x(c), value(c, of), `${c.method}, ${c.scorer}`, () => openCell(c)]);
  const key = h("div", { class: "legend" }, names.slice(0, 7).map((n, i) => h("span", {}, h("i", { style: `border-top:8px solid ${OKABE[Math.min(i, OKABE.length - 1)]};width:.7rem;border-radius:9px` }), i === 6 && names.length > 7 ? "others" : n)));
  const both = cells.filter((c) => value(c, of) !== null && value(c, "id_accuracy") !== null);
  if (both.length) out.push(h("div", {}, h("h3", {}, "ID accuracy against detection"), scatter(dots(both, (c) => value(c, "id_accuracy")), { xlabel: "ID accuracy, %", ...y, label: `ID accuracy against ${name}`, kinds: both.map(colour) }), key.cloneNode(true)));
  const timed = cells.filter((c) => c.cost && c.cost[1] !== null && value(c, of) !== null);
  if (timed.length) out.push(h("div", {}, h("h3", {}, "Cost against detection"), scatter(dots(timed, (c) => c.cost[1]), { xlabel: "score seconds per 1,000 samples (log scale)", ...y, label: `Cost against ${name}; the dashed line is the Pareto front`, log: true, front: true, kinds: timed.map(colour) }), h("p", { class: "note" }, "Dashed: the Pareto front, what nothing cheaper beats."), key));
  $("tradeoffs").replaceChildren(...out);
  $("trade").hidden = !out.length;
}

function hardest() {
  const out = data.hard.filter((x) => !state.pair || x.pair === state.pair).map((x) => h("div", {}, h("h3", {}, `${x.pair}${x.split ? `, split ${x.split}` : ""}: ${x.ood || "ID test"} `, h("span", { class: "tag" }, SHIFTS[x.shift])), h("div", { class: "thumbs" }, x.images.map((im) => h("figure", {}, h("img", { src: im.src, alt: `${x.ood || "ID test"} sample ${im.id}`, width: 56, height: 56 }), h("figcaption", { title: im.id }, `${Math.round(100 * im.at)}%`))))));
  $("hardest").replaceChildren(...out);
  $("hard").hidden = !data.hard.length;
}

function costs() {
  const c = data.costs, table = (head, names, rows) => h("table", {}, h("thead", {}, h("tr", {}, head.map((t, i) => h("th", { scope: "col", class: names(i) ? "" : "num" }, t)))), h("tbody", {}, rows.map((r) => h("tr", {}, r.map((t, i) => h("td", { class: names(i) ? "name" : "num" }, t))))));
  $("cost").hidden = !c.rows.length;
  if (!c.rows.length) return;
  const from = new Set(c.rows.map((r) => r[0])).size > 1 ? 0 : 1, cut = (rows) => rows.map((r) => r.slice(from)); // one network needs no column
  $("costs").replaceChildren(table(c.head.slice(from), (i) => i + from < 2 || i + from > 5, cut(c.rows)), ...(c.training.length ? [h("h3", { style: "margin-top:1rem" }, "Training"), table(["network", "method", "training, s", "reads besides ID"].slice(from), (i) => i + from !== 2, cut(c.training))] : []));
}

function cards() {
  const best = data.cells.filter((c) => c.r === 1 && c.condition === DEFAULT.condition && c.id_set === DEFAULT.id_set).slice(0, 3), shift = shifts()[0] || "near";
  $("cards").append(...best.map((c) => h("div", { class: "card" }, h("b", {}, `${pc(value(c, `${shift}_auroc`), 2)} %`), h("span", {}, `best ${shift}-OOD AUROC on ${titleOf(c)}: `, h("button", { class: "link", type: "button", on: { click: () => openCell(c) } }, `${c.method} + ${c.scorer}`)))), ...data.facts.map(([b, t]) => h("div", { class: "card" }, h("b", {}, b), h("span", {}, t))));
}

// ------------------------------------------------------------ one cell

function cell() {
  const dialog = $("cell"), c = data.cells[+state.cell];
  if (state.cell === "" || !c) { if (dialog.open) dialog.close(); return; }
  const part = [];
  const facts = [["pair", c.pair], ["network", c.network || "–"], ["method", data.names[c.p[0]]], ["scorer", data.names[c.p[1]]], ["tuning", c.tune], ["trials", `${c.n} (${c.s} ${c.s === 1 ? "split" : "splits"})`]];
  if (c.f || c.x) facts.push(["not ok", `${c.f} rows failed, ${c.x} skipped${c.why ? `: ${c.why}` : ""}`]);
  if (c.vs) facts.push([`near AUROC against ${c.vs[0]}`, c.vs[1]]);
  if (c.b) facts.push(["95 % over samples", ["near", "far"].filter((k) => c.b[k]).map((k) => `${k} AUROC ${pc(c.b[k][0], 2)} to ${pc(c.b[k][1], 2)}`).join("; ") + ` (bootstrap, ${data.replicates} replicates, these trials)`]);
  if (c.cost) facts.push(["cost", [c.cost[0] === null ? "" : `fit ${c.cost[0].toPrecision(2)} s`, c.cost[1] === null ? "" : `score ${c.cost[1].toPrecision(2)} s per 1,000`].filter(Boolean).join(", ")]);
  part.push(h("dl", {}, facts.flatMap(([t, d]) => [h("dt", {}, t), h("dd", {}, d)])));
  const lines = (list) => list.map(([m, label, , percent]) => [label + (percent ? "" : " *"), c.v[`near_${m}`], c.v[`far_${m}`], percent]).filter((r) => r[1] || r[2]);
  const twoColumns = (list) => h("table", {}, h("thead", {}, h("tr", {}, ["", "near", "far"].map((t) => h("th", { class: t ? "num" : "", scope: "col" }, t)))), h("tbody", {}, list.map(([label, a, b, percent]) => h("tr", {}, h("td", {}, label), h("td", { class: "num" }, number(a, percent)), h("td", { class: "num" }, number(b, percent))))));
  const oneColumn = (list) => h("table", {}, h("tbody", {}, list.filter(([m]) => value(c, m) !== null).map(([m, label, , percent]) => h("tr", {}, h("td", {}, label + (percent ? "" : " *")), h("td", { class: "num" }, number(c.v[m], percent))))));
  const first = (list) => list.filter(([m]) => data.main.some((name) => name === m || name.endsWith(`ar_${m}`))), rest = (list) => list.filter((x) => !first(list).includes(x));
  part.push(h("div", { class: "pair" },
    h("div", {}, h("h3", {}, "Values, %"), twoColumns(lines(first(data.metrics)))),
    h("div", {}, h("h3", {}, "By OOD set, mean over trials, %"), h("table", {}, h("thead", {}, h("tr", {}, ["set", "shift", "AUROC", "FPR95 (ID)"].map((t, i) => h("th", { class: i > 1 ? "num" : "", scope: "col" }, t)))), h("tbody", {}, c.sets.map(([ood, shift, a, f]) => h("tr", {}, h("td", { class: "name" }, ood), h("td", {}, shift), h("td", { class: "num" }, pc(a, 2)), h("td", { class: "num" }, pc(f, 2))))))),
  ));
  if (c.h) part.push(h("div", { class: "pair" },
    h("div", {}, h("h3", {}, `OOD scores, ${data.trial}`), legend(["id", "near", "far"].filter((k) => c.h[k])), histogram(c.h.edges, ["id", "near", "far"].filter((k) => c.h[k]).map((k) => [k, c.h[k]]), { xlabel: "score (higher = more OOD)", label: "Histogram of OOD scores" })),
    h("div", {}, h("h3", {}, "ROC, mean over trials"), roc(data.rates, c.c, "ROC curves by OOD set"), rocLegend(c.c)),
  ));
  else part.push(h("p", { class: "note" }, data.no_samples));
  if (c.t && c.t.length) part.push(h("h3", {}, "Trials, %"), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["split", "seed", "near AUROC", "far AUROC", "ID accuracy", "run key"].map((t, i) => h("th", { scope: "col", class: i > 1 && i < 5 ? "num" : "" }, t)))), h("tbody", {}, c.t.map((t) => h("tr", {}, h("td", {}, t[0]), h("td", {}, t[1]), [2, 3, 4].map((i) => h("td", { class: "num" }, pc(t[i], 2))), h("td", {}, h("code", {}, t[5]))))))));
  part.push(h("h3", {}, "Classifier and further values, % (* not percent)"), h("div", { class: "pair" }, h("div", {}, oneColumn([...first(data.id_metrics), ...rest(data.id_metrics)])), h("div", {}, twoColumns(lines(rest(data.metrics))))));
  const close = () => go({ cell: "" });
  dialog.replaceChildren(h("header", {}, h("h2", { id: "cell-title" }, `${c.method} + ${c.scorer}`), h("button", { type: "button", "aria-label": "Close", on: { click: close } }, "✕")), ...part);
  dialog.oncancel = (e) => { e.preventDefault(); close(); };
  dialog.onclick = (e) => { if (e.target === dialog) close(); };
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function draw() {
  syncControls();
  board(); heat(); als(); trade(); hardest(); cell();
}

controls();
cards();
readHash();
ranks();
costs();
draw();
// On paper nothing can be opened: what is folded is opened for the print and folded again.
let folded = [];
addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; folded.forEach((d) => { d.open = true; }); });
addEventListener("afterprint", () => { folded.forEach((d) => { d.open = false; }); });
addEventListener("hashchange", () => { readHash(); draw(); });
