"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f"];  // Okabe and Ito: colors that color-blind people can tell apart
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash"];

const digits = (value, real) => {
  if (value === null || value === undefined) return "-";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && !real) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(3) : value.toPrecision(4);
};

function element(name, text, attributes) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  return node;
}

// A table of {columns: [{name, kind}], rows: [[cell]]}. A cell is a value, or {shown, value, href}. Headers sort the rows; long tables expand on demand.
class SortedTable {
  constructor(host, table, limit) {
    this.table = table; this.limit = limit; this.filter = ""; this.column = null; this.down = false;
    this.root = element("table");
    const head = this.root.createTHead().insertRow();
    table.columns.forEach((column, i) => {
      const cell = element("th", undefined, {scope: "col", "aria-sort": "none"});
      if (column.kind !== "number") cell.className = "text";
      const button = element("button", column.name, {type: "button"});
      button.addEventListener("click", () => this.sort(i));
      cell.append(button); head.append(cell);
    });
    this.body = this.root.createTBody();
    const box = element("div", undefined, {class: "scroll", tabindex: "0", role: "region", "aria-label": table.label});
    box.append(this.root);
    this.more = element("button", "", {type: "button"});
    this.more.addEventListener("click", () => { this.limit = Infinity; this.draw(); });
    host.append(box, this.more);
    this.draw();
  }
  sort(i) {
    this.down = this.column === i ? !this.down : this.table.columns[i].best === "high";
    this.column = i;
    [...this.root.tHead.rows[0].cells].forEach((cell, j) => cell.setAttribute("aria-sort", j !== i ? "none" : this.down ? "descending" : "ascending"));
    this.draw();
  }
  rows() {
    const value = (cell) => cell !== null && typeof cell === "object" ? cell.value : cell;
    let rows = this.table.rows;
    if (this.filter) rows = rows.filter((row) => row.some((cell) => String(cell !== null && typeof cell === "object" ? cell.shown : cell).toLowerCase().includes(this.filter)));
    if (this.column === null) return rows;
    const i = this.column, sign = this.down ? -1 : 1;
    return [...rows].sort((one, other) => {
      const a = value(one[i]), b = value(other[i]);
      if (a === null || a === undefined || b === null || b === undefined) return (a === null || a === undefined) - (b === null || b === undefined);
      if (typeof a === "number" && typeof b === "number") return sign * (a - b);
      return sign * String(a).localeCompare(String(b), "en", {numeric: true});
    });
  }
  draw() {
    const rows = this.rows(), shown = rows.slice(0, this.limit);
    this.body.replaceChildren(...shown.map((row) => {
      const line = element("tr");
      row.forEach((cell, i) => {
        const column = this.table.columns[i], rich = cell !== null && typeof cell === "object";
        const node = element("td", rich && cell.href ? undefined : rich ? cell.shown : column.kind === "number" ? digits(cell, column.real) : cell ?? "-");
        if (rich && cell.href) node.append(element("a", cell.shown, {href: cell.href}));
        node.className = column.kind === "number" ? "" : column.kind;
        if (cell === "failed" || cell === "diverged") node.classList.add("bad");
        line.append(node);
      });
      return line;
    }));
    this.more.hidden = shown.length === rows.length;
    this.more.textContent = `show all ${rows.length}`;
  }
}

function theme(layout) {
  const style = getComputedStyle(document.documentElement), pick = (name) => style.getPropertyValue(name).trim();
  const axis = {gridcolor: pick("--line"), zerolinecolor: pick("--line"), linecolor: pick("--line"), automargin: true};
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family: "system-ui, sans-serif", color: pick("--ink"), size: 13},
    margin: {l: 60, r: 20, t: 30, b: 50}, modebar: {bgcolor: "rgba(0,0,0,0)", color: pick("--soft"), activecolor: pick("--accent")}, legend: {orientation: "h", yref: "container", y: 0, yanchor: "bottom"}, ...layout,
    xaxis: {...axis, ...layout.xaxis}, yaxis: {...axis, ...layout.yaxis},
  };
}

const drawn = [];
function chart(id, make) {
  const host = document.getElementById(id);
  if (!host) return;
  const draw = () => { const [traces, layout] = make(); Plotly.react(host, traces, theme(layout), {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"]}); };
  drawn.push(draw); draw();
  return draw;
}

function curves() {
  const metric = document.getElementById("metric").value, log = document.getElementById("log").checked, traces = [];
  data.curves.groups.forEach((group, i) => {
    const curve = group.curves[metric];
    if (!curve) return;
    const color = PALETTE[i % PALETTE.length];
    if (curve.low) {
      traces.push({x: [...curve.x, ...[...curve.x].reverse()], y: [...curve.high, ...[...curve.low].reverse()], fill: "toself", fillcolor: color + "26", line: {width: 0}, hoverinfo: "skip", showlegend: false, legendgroup: i, type: "scatter"});
    }
    traces.push({x: curve.x, y: curve.mean, name: group.name, legendgroup: i, type: "scatter", mode: "lines", line: {color, width: 2, dash: DASHES[i % DASHES.length]}});
  });
  return [traces, {xaxis: {title: {text: "epoch"}}, yaxis: {title: {text: metric}, type: log ? "log" : "linear"}, hovermode: "x unified"}];
}

function axes() {
  const figure = data.axes, title = data.headline, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const colorscale = dark ? [[0, "#7b6fd6"], [0.5, "#39b3a0"], [1, "#f6d743"]] : "Viridis";  // the dark end of Viridis is invisible on a dark page
  if (figure.kind === "points") {
    return [[{x: figure.x, y: figure.mean, error_y: {type: "data", symmetric: false, array: figure.above, arrayminus: figure.below, visible: true}, mode: figure.numeric ? "markers+lines" : "markers", marker: {size: 9, color: PALETTE[0]}, line: {color: PALETTE[0]}, text: figure.text, hovertemplate: "%{x}: %{y:.4g}<br>%{text}<extra></extra>"}],
      {xaxis: {title: {text: figure.keys[0]}, type: !figure.numeric ? "category" : figure.log ? "log" : "linear"}, yaxis: {title: {text: title}}}];
  }
  if (figure.kind === "heat") {
    const few = figure.x.length * figure.y.length <= 120;
    return [[{type: "heatmap", text: figure.z.map((line) => line.map((z) => z === null ? "" : digits(z, true))), texttemplate: few ? "%{text}" : "", hovertext: figure.text, x: figure.x, y: figure.y, z: figure.z, colorscale, reversescale: !data.higher, hovertemplate: "%{hovertext}<extra></extra>", colorbar: {title: {text: title}}, xgap: 2, ygap: 2}],
      {xaxis: {title: {text: figure.keys[1]}, type: "category"}, yaxis: {title: {text: figure.keys[0]}, type: "category"}}];
  }
  return [[{type: "parcoords", dimensions: figure.dimensions, line: {color: figure.color, colorscale, reversescale: !data.higher, showscale: true, colorbar: {title: {text: title}}}}], {margin: {l: 80, r: 60, t: 60, b: 30}}];
}

function start() {
  new SortedTable(document.getElementById("groups"), data.groups, 100);
  const jobs = new SortedTable(document.getElementById("jobs"), data.jobs, 100);
  document.getElementById("filter").addEventListener("input", (event) => { jobs.filter = event.target.value.toLowerCase(); jobs.draw(); });
  if (data.failures.rows.length) new SortedTable(document.getElementById("failures"), data.failures, 200);
  if (data.curves.groups.length) {
    document.getElementById("curves").style.height = `${22 + 1.6 * data.curves.groups.length}rem`;
    const draw = chart("curves", curves);
    for (const id of ["metric", "log"]) document.getElementById(id).addEventListener("change", draw);
  }
  if (data.axes) chart("axes", axes);
  const copy = document.getElementById("copy");
  if (copy) copy.addEventListener("click", () => {
    const code = document.getElementById("command"), range = document.createRange();
    range.selectNodeContents(code); getSelection().removeAllRanges(); getSelection().addRange(range);
    (navigator.clipboard ? navigator.clipboard.writeText(code.textContent) : Promise.reject()).then(() => { copy.textContent = "copied"; }, () => { copy.textContent = "selected"; });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((draw) => draw()));
}
start();
