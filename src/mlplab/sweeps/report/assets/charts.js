"use strict";
// The charts of the page: SVG and boxes, drawn again when the width changes. Colors are variables of the style sheet.
const NUM_COLORS = 8, DASHES = ["", "7 4", "2 3", "8 3 2 3", "12 4", "12 3 2 3", "", "7 4"];

function element(name, text, attributes) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  return node;
}

function shape(parent, name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

const title = (node, text) => shape(node, "title", {}, text);

function responsive(host, draw) {
  let width = 0;
  const redraw = () => { width = host.clientWidth; host.replaceChildren(); draw(); };
  new ResizeObserver(() => { if (host.clientWidth !== width) redraw(); }).observe(host);
  redraw();
  return redraw;
}

const short = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(4)));
};

// Round numbers from low to high, about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power, values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) values.push(Number((i * step).toPrecision(12)));
  return values;
}

// Powers of ten, or fewer than three of them with 2 and 5 between.
function log_ticks(low, high) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), values = [];
  const stride = Math.ceil((last - first) / 8), factors = last - first <= 3 ? [1, 2, 5] : [1];
  for (let power = first; power <= last; power += stride) for (const factor of factors) values.push(factor * 10 ** power);
  return values.filter((value) => value >= low * 0.999 && value <= high * 1.001);
}

function scale(low, high, start, end, log) {
  const f = log ? Math.log : (value) => value;
  if (high <= low) { const margin = Math.abs(low) / 10 || 1; low -= log ? low / 2 : margin; high += margin; }
  const map = (value) => start + (end - start) * (f(value) - f(low)) / (f(high) - f(low));
  map.ticks = (count) => log ? log_ticks(low, high) : ticks(low, high, count);
  map.low = low; map.high = high;
  return map;
}

function frame(host, height, left, bottom) {
  const width = Math.max(host.clientWidth, 260), svg = shape(host, "svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img"});
  return {svg, width, height, left, right: width - 14, top: 12, bottom: height - bottom};
}

function vertical_axis(plot, y, name) {
  for (const value of y.ticks(6)) {
    shape(plot.svg, "line", {class: "grid", x1: plot.left, x2: plot.right, y1: y(value), y2: y(value)});
    shape(plot.svg, "text", {class: "tick", x: plot.left - 6, y: y(value) + 4, "text-anchor": "end"}, short(value));
  }
  shape(plot.svg, "text", {class: "axis", transform: `translate(13 ${(plot.top + plot.bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, name);
}

function horizontal_axis(plot, x, name, labels) {
  const marks = labels || x.ticks(Math.max(3, Math.floor((plot.right - plot.left) / 90))).map((value) => [value, short(value)]);
  for (const [value, text] of marks) shape(plot.svg, "text", {class: "tick", x: x(value), y: plot.bottom + 17, "text-anchor": "middle"}, text);
  shape(plot.svg, "line", {class: "base", x1: plot.left, x2: plot.right, y1: plot.bottom, y2: plot.bottom});
  shape(plot.svg, "text", {class: "axis", x: (plot.left + plot.right) / 2, y: plot.height - 6, "text-anchor": "middle"}, name);
}

const fits = (text, width) => text.length * 7.2 <= width ? text : `${text.slice(0, Math.max(1, Math.floor(width / 7.2) - 1))}…`;

// Rows of {label, mean, difference, low, high, differs, text, title}: a dot with an interval each, on one scale.
function forest(host, chart, limit) {
  const box = element("div", undefined, {class: "forest"}), more = element("button", "", {type: "button"}), note = element("p", "", {class: "soft"});
  const draw = () => {
    const rows = chart.rows.slice(0, limit), ends = rows.flatMap((row) => [row.low, row.difference, row.high]).filter((value) => value !== null);
    ends.push(0);
    let low = Math.min(...ends), high = Math.max(...ends);
    const margin = (high - low) * 0.03 || Math.abs(high) / 10 || 1;
    low -= margin; high += margin;
    const x = scale(low, high, 0, 100, false), percent = (value) => `${x(value).toFixed(2)}%`;
    const marks = ticks(low, high, 4);
    const track = () => {
      const node = element("div", undefined, {class: "track"});
      for (const value of marks) { const line = element("i", undefined, {class: value === 0 ? "zero" : "mark"}); line.style.left = percent(value); node.append(line); }
      return node;
    };
    const head = element("div", undefined, {class: "line head"}), key = element("div", undefined, {class: "key"});
    for (const [kind, text] of [["alike", "not distinguishable from the best"], ["differs", "distinguishable"]]) { const item = element("span", undefined, {class: kind}); item.append(element("i"), text); key.append(item); }
    head.append(element("span", chart.keys, {class: "label"}), key, element("span", "minus the best", {class: "value"}));
    box.replaceChildren(head, ...rows.map((row) => {
      const line = element("div", undefined, {class: `line ${row.differs ? "differs" : "alike"}`, title: `${row.label}: ${row.title}`}), bar = track();
      if (row.low !== null) { const interval = element("b"); interval.style.left = percent(row.low); interval.style.width = `${(x(row.high) - x(row.low)).toFixed(2)}%`; bar.append(interval); }
      const dot = element("s"); dot.style.left = percent(row.difference); bar.append(dot);
      const label = element("span", row.label, {class: "label"});
      label.append(element("small", row.mean)); line.append(label, bar, element("span", row.text, {class: "value"}));
      return line;
    }));
    const axis = element("div", undefined, {class: "line ticks", "aria-hidden": "true"}), bar = element("div", undefined, {class: "track"});
    for (const value of marks) { const text = element("em", short(value)); text.style.left = percent(value); bar.append(text); }
    axis.append(element("span", chart.measure, {class: "label"}), bar, element("span", "", {class: "value"})); box.append(axis);
    more.hidden = rows.length === chart.rows.length; more.textContent = `show ${chart.rows.length}`;
    note.hidden = rows.length === chart.total;
    note.textContent = `The ${rows.length} best of ${chart.total.toLocaleString("en")}.`;
  };
  more.addEventListener("click", () => { limit = Infinity; draw(); });
  host.append(box, note, more);
  draw();
}

// Means with intervals along one key.
function points(host, figure, name) {
  const plot = frame(host, 330, 62, 50), ends = [...figure.low, ...figure.mean, ...figure.high].filter((value) => value !== null);
  const low = Math.min(...ends), high = Math.max(...ends), margin = (high - low) * 0.05;
  const y = scale(low - margin, high + margin, plot.bottom, plot.top, false), categories = figure.numeric ? null : [...new Set(figure.x)];
  const ordered = figure.numeric ? figure.x : figure.x.map((value) => categories.indexOf(value));
  const log = figure.log, pad = 18;
  const x = figure.numeric ? scale(Math.min(...ordered), Math.max(...ordered), plot.left + pad, plot.right - pad, log) : scale(-0.5, categories.length - 0.5, plot.left, plot.right, false);
  vertical_axis(plot, y, name);
  const room = (plot.right - plot.left) / (categories ? categories.length : 1), skip = categories ? Math.ceil(26 / room) : 1;
  horizontal_axis(plot, x, figure.shown < figure.total ? `${figure.key} (${figure.shown} of ${figure.total.toLocaleString("en")} configurations)` : figure.key, categories && categories.map((text, i) => [i, fits(text, room * skip - 6)]).filter(([i]) => i % skip === 0));
  if (figure.numeric && figure.one_each) shape(plot.svg, "polyline", {class: "curve c0", points: ordered.map((value, i) => `${x(value)},${y(figure.mean[i])}`).join(" ")});
  ordered.forEach((value, i) => {
    const group = shape(plot.svg, "g", {class: "c0"});
    if (figure.low[i] !== null && figure.one_each) shape(group, "line", {class: "interval", x1: x(value), x2: x(value), y1: y(figure.low[i]), y2: y(figure.high[i])});
    shape(group, "circle", {class: "dot", cx: x(value), cy: y(figure.mean[i]), r: figure.one_each ? 5 : 3});
    title(group, figure.text[i]);
  });
}

const BLUES = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];  // viridis
function color(fraction) {
  const position = Math.min(Math.max(fraction, 0), 1) * (BLUES.length - 1), i = Math.min(Math.floor(position), BLUES.length - 2);
  return BLUES[i].map((start, channel) => Math.round(start + (position - i) * (BLUES[i + 1][channel] - start)));
}

// A table of colored cells over two keys; cells keep room for their number, and the chart scrolls.
function heat(host, figure, name, higher) {
  const values = figure.z.flat().filter((value) => value !== null), low = Math.min(...values), high = Math.max(...values);
  const longest = Math.max(...figure.y.map((text) => text.length), 4), left = Math.min(34 + longest * 7.2, 170), cell_height = 30;
  const few = figure.x.length * figure.y.length <= 400, width = Math.max(host.clientWidth, left + figure.x.length * (few ? 52 : 12) + 10);
  const height = 12 + figure.y.length * cell_height + 52, svg = shape(host, "svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img"});
  const cell_width = (width - left - 6) / figure.x.length, bottom = 12 + figure.y.length * cell_height, skip = Math.ceil(26 / cell_width);
  figure.z.forEach((line, row) => {
    shape(svg, "text", {class: "tick", x: left - 6, y: 12 + (row + 0.62) * cell_height, "text-anchor": "end"}, fits(figure.y[row], left - 32));
    line.forEach((value, column) => {
      if (value === null) return;
      const fraction = high > low ? (value - low) / (high - low) : 1, [r, g, b] = color(higher ? fraction : 1 - fraction), group = shape(svg, "g", {});
      shape(group, "rect", {x: left + column * cell_width + 1, y: 12 + row * cell_height + 1, width: Math.max(cell_width - 2, 1), height: cell_height - 2, fill: `rgb(${r},${g},${b})`, rx: 3});
      if (few) shape(group, "text", {class: "cell", x: left + (column + 0.5) * cell_width, y: 12 + (row + 0.63) * cell_height, "text-anchor": "middle", style: `fill:${0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff"}`}, digits(value, true));
      title(group, figure.text[row][column]);
    });
  });
  figure.x.forEach((text, column) => { if (column % skip === 0) shape(svg, "text", {class: "tick", x: left + (column + 0.5) * cell_width, y: bottom + 17, "text-anchor": "middle"}, fits(text, cell_width * skip - 2)); });
  shape(svg, "text", {class: "axis", x: (left + width) / 2, y: height - 8, "text-anchor": "middle"}, figure.keys[1]);
  shape(svg, "text", {class: "axis", transform: `translate(13 ${(12 + bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, figure.keys[0]);
}

// Means with bands over epochs; pointing shows the values.
function curves(host, legend, groups, metric, log) {
  const plot = frame(host, 380, 62, 46), drawn = groups.map((group, i) => [group, group.curves[metric], i]).filter(([, curve]) => curve);
  const usable = (value) => value !== null && (!log || value > 0);
  const ys = drawn.flatMap(([, curve]) => [curve.mean, curve.low || [], curve.high || []].flat()).filter(usable), xs = drawn.flatMap(([, curve]) => curve.x);
  legend.replaceChildren();
  if (!ys.length) { shape(plot.svg, "text", {class: "axis", x: plot.width / 2, y: plot.height / 2, "text-anchor": "middle"}, "no positive values"); return; }
  const low = Math.min(...ys), high = Math.max(...ys), margin = log ? 0 : (high - low) * 0.03;
  const x = scale(Math.min(...xs), Math.max(...xs), plot.left, plot.right, false), y = scale(low - margin, high + margin, plot.bottom, plot.top, log);
  vertical_axis(plot, y, metric); horizontal_axis(plot, x, "epoch");
  const path = (curve, values) => values.map((value, i) => [curve.x[i], value]).filter(([, value]) => usable(value)).map(([at, value]) => `${x(at).toFixed(1)},${y(Math.min(Math.max(value, y.low), y.high)).toFixed(1)}`);
  for (const [, curve, i] of drawn) if (curve.low) shape(plot.svg, "polygon", {class: `band c${i % NUM_COLORS}`, points: [...path(curve, curve.high), ...path(curve, curve.low).reverse()].join(" ")});
  for (const [group, curve, i] of drawn) {
    title(shape(plot.svg, "polyline", {class: `curve c${i % NUM_COLORS}`, "stroke-dasharray": DASHES[i % DASHES.length], points: path(curve, curve.mean).join(" ")}), group.name);
    const item = element("span", undefined, {class: `item c${i % NUM_COLORS}`}), value = element("strong");
    item.append(element("i"), element("span", group.name), value); legend.append(item);
  }
  const cursor = shape(plot.svg, "line", {class: "cursor", y1: plot.top, y2: plot.bottom, visibility: "hidden"}), values = [...legend.querySelectorAll("strong")];
  plot.svg.addEventListener("pointermove", (event) => {
    const at = (event.clientX - plot.svg.getBoundingClientRect().left - plot.left) / (plot.right - plot.left), target = x.low + at * (x.high - x.low);
    const nearest = (list) => list.reduce((best, value, i) => Math.abs(value - target) < Math.abs(list[best] - target) ? i : best, 0);
    const all = drawn.map(([, curve]) => nearest(curve.x)), epoch = drawn[0][1].x[all[0]];
    cursor.setAttribute("visibility", "visible"); cursor.setAttribute("x1", x(epoch)); cursor.setAttribute("x2", x(epoch));
    drawn.forEach(([, curve], k) => { values[k].textContent = curve.mean[all[k]] === null ? "" : ` ${digits(curve.mean[all[k]], true)}`; });
  });
  plot.svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); values.forEach((value) => { value.textContent = ""; }); });
}
