"use strict";
const $ = (id) => document.getElementById(id);
const classes = data.task === "classes", plane = data.plane, G = data.grid, last = data.columns.length - 1;
const colors = data.colors.map(rgb), canDiscretize = classes && plane.dimensions === 2;
const FINE = 4; // the map has this many times the cells of the grid, per side
const state = { frame: 0, split: data.splits[data.splits.length - 1], discretize: false, unit: null, playing: 0, turn: [0.6, 0.4] };
let arrays;

// ---- the network -----------------------------------------------------------------------------------------------------------
let positions = [], buttons = [];

function layNetwork() {
  const box = $("network"), width = box.clientWidth, tallest = Math.max(...data.columns.map((c) => c.names.length));
  const node = Math.max(26, Math.min(58, (width / data.columns.length) * 0.62, 560 / tallest - 14));
  const top = 34, pitch = node + 16;
  box.style.height = `${top + tallest * pitch}px`;
  positions = data.columns.map((column, i) => column.names.map((_, j) => ({
    x: ((i + 0.5) * width) / data.columns.length,
    y: top + (tallest * pitch) / 2 + (j - (column.names.length - 1) / 2) * pitch - 6,
  })));
  box.querySelectorAll(".unit, .name, .title").forEach((element) => element.remove());
  buttons = data.columns.map((column, i) => {
    const title = document.createElement("div");
    title.className = "title";
    const count = column.names.length < column.total ? `${column.names.length} of ${column.total}` : `${column.total}`;
    title.textContent = i === 0 ? "input" : i === last ? "output" : width / data.columns.length < 110 ? `layer ${column.layer}\n${count}` : `layer ${column.layer}: ${count}`;
    Object.assign(title.style, { left: `${(i * width) / data.columns.length}px`, width: `${width / data.columns.length}px` });
    box.append(title);
    return column.names.map((name, j) => addUnit(box, i, j, name, node, width / data.columns.length));
  });
}

function addUnit(box, i, j, name, node, room) {
  const button = document.createElement("button"), canvas = document.createElement("canvas"), at = positions[i][j];
  button.type = "button"; button.className = "unit"; button.dataset.unit = `${i}.${j}`;
  button.setAttribute("aria-label", `${i === 0 ? "input" : i === last ? "output" : "unit"} ${name}`);
  Object.assign(button.style, { left: `${at.x - node / 2}px`, top: `${at.y - node / 2}px`, width: `${node}px`, height: `${node}px` });
  button.append(canvas);
  const look = () => choose([i, j], button), leave = () => choose(null);
  button.addEventListener("pointerenter", look); button.addEventListener("pointerleave", leave);
  button.addEventListener("focus", look); button.addEventListener("blur", leave);
  box.append(button);
  if (i === 0 || i === last) {
    const label = document.createElement("div");
    const text = document.createElement("span");
    text.textContent = name; label.className = "name"; label.append(text);
    Object.assign(label.style, { left: `${at.x - room / 2}px`, top: `${at.y + node / 2 + 1}px`, width: `${room}px` });
    box.append(label);
  }
  return canvas;
}

function choose(unit, button) {
  state.unit = unit;
  document.querySelectorAll(".unit.chosen").forEach((element) => element.classList.remove("chosen"));
  if (unit) { button.classList.add("chosen"); tip(unitText(...unit), besideNetwork(button)); } else { $("tip").hidden = true; }
  drawMap();
}

// The numbers of a unit are shown next to the diagram if the window is wide, otherwise below it.
function besideNetwork(button) {
  const diagram = $("network").getBoundingClientRect(), unit = button.getBoundingClientRect();
  if (window.innerWidth - diagram.right > 360) return { left: diagram.right, right: diagram.right, top: unit.top, bottom: unit.top };
  const bottom = Math.min(diagram.bottom, window.innerHeight - 90);
  return bottom > unit.bottom ? { left: diagram.left, right: diagram.left, top: unit.top, bottom } : unit;
}

// The formula of a unit with the weights of this frame, and the range of its output.
function unitText(i, j) {
  const column = data.columns[i], name = `map.${i}.${j}`, range = outputRange(name);
  if (i === 0) return `${column.names[j]}: an input`;
  let inside = "";
  if (arrays.has(`weight.${i}`)) {
    const before = data.columns[i - 1], weights = arrays.frame(`weight.${i}`, state.frame), wide = column.names.length;
    inside = before.names.map((from, a) => [weights[a * wide + j], from]).map(([w, from]) => `${w < 0 ? "- " : "+ "}${short(Math.abs(w))} ${from}`).join(" ");
    if (before.names.length < before.total) inside += ` ... (${before.total - before.names.length} more)`;
  } else inside = "... (previous layers are not shown)";
  if (arrays.has(`bias.${i}`)) { const b = arrays.frame(`bias.${i}`, state.frame)[j]; inside += ` ${b < 0 ? "-" : "+"} ${short(Math.abs(b))}`; }
  inside = inside.replace(/^\+ /, "");
  if (column.normalization) inside = `${column.normalization}_norm(${inside})`;
  const formula = column.activation ? `${column.activation}(${inside})` : inside;
  const noun = i === last && classes ? `P(${column.names[j]} | x) over the plane` : "over the plane";
  return `${column.names[j]} = ${formula}\n${noun}: ${short(range[0])} to ${short(range[1])}`;
}

function outputRange(name) {
  let low = 255, high = 0;
  for (const step of arrays.frame(name, state.frame)) { if (step < low) low = step; if (step > high) high = step; }
  return [arrays.value(name, low), arrays.value(name, high)];
}

// The color of each cell of a unit's map.
function unitColors(i, j, fine = null) {
  const name = `map.${i}.${j}`, steps = fine || arrays.frame(name, state.frame), table = [];
  const [low, high] = outputRange(name);
  const reach = Math.max(Math.abs(low), Math.abs(high), 1e-12), middle = i === last && !classes ? (low + high) / 2 : 0;
  for (let step = 0; step < 256; step++) {
    const value = arrays.value(name, step);
    if (i === last && classes) table.push(mix(WHITE, colors[j], state.discretize ? Math.round(value) : value));
    else {
      const scaled = (value - middle) / (middle ? Math.max((high - low) / 2, 1e-12) : reach);
      table.push(diverging(state.discretize ? Math.sign(scaled) * 0.8 : scaled));
    }
  }
  return (field) => table[Math.round(steps[field])];
}

function drawNetwork() {
  const { context } = prepare($("edges"));
  for (let i = 1; i <= last; i++) {
    if (!arrays.has(`weight.${i}`)) {
      context.fillStyle = css("--soft"); context.font = "20px sans-serif";
      context.fillText("...", (positions[i - 1][0].x + positions[i][0].x) / 2 - 8, $("network").clientHeight / 2);
      continue;
    }
    const weights = arrays.frame(`weight.${i}`, state.frame), wide = data.columns[i].names.length;
    let largest = 1e-12;
    for (const w of weights) largest = Math.max(largest, Math.abs(w));
    positions[i - 1].forEach((from, a) => positions[i].forEach((to, b) => {
      const w = weights[a * wide + b];
      if (!Number.isFinite(w)) return;
      context.globalAlpha = 0.6;
      line(context, [from.x, to.x], [from.y, to.y], css_rgb(w < 0 ? ORANGE : BLUE), 0.2 + (5 * Math.abs(w)) / largest);
    }));
    context.globalAlpha = 1;
  }
  buttons.forEach((column, i) => column.forEach((canvas, j) => drawUnit(canvas, i, j)));
}

function drawUnit(canvas, i, j) {
  const { context, width, height } = prepare(canvas);
  if (plane.dimensions === 1) {
    const steps = arrays.frame(`map.${i}.${j}`, state.frame);
    // All units of a layer share one scale, which contains zero.
    const entries = data.columns[i].names.map((_, unit) => arrays.all(`map.${i}.${unit}`));
    const low = Math.min(0, ...entries.map((entry) => entry.low)), high = Math.max(0, ...entries.map((entry) => entry.high));
    const y = (value) => height * (0.92 - 0.84 * ((value - low) / Math.max(high - low, 1e-12)));
    const ys = Array.from(steps, (step) => y(arrays.value(`map.${i}.${j}`, step)));
    line(context, [0, width], [y(0), y(0)], "#5b6675", 0.6);
    line(context, ys.map((_, k) => (k / (ys.length - 1)) * width), ys, i === last && classes ? css_rgb(colors[j]) : "#1c2430", 1.6);
    return;
  }
  context.imageSmoothingEnabled = true;
  context.drawImage(fieldPicture(G, unitColors(i, j)), 0, 0, width, height);
}

// The line under a point of the diagram: [column, unit before it, unit], or null.
function edgeAt(x, y) {
  let nearest = 6, found = null;
  for (let i = 1; i <= last; i++) {
    if (!arrays.has(`weight.${i}`)) continue;
    positions[i - 1].forEach((from, a) => positions[i].forEach((to, b) => {
      const [dx, dy] = [to.x - from.x, to.y - from.y], t = Math.max(0, Math.min(1, ((x - from.x) * dx + (y - from.y) * dy) / (dx * dx + dy * dy)));
      const distance = Math.hypot(from.x + t * dx - x, from.y + t * dy - y);
      if (distance < nearest) { nearest = distance; found = [i, a, b]; }
    }));
  }
  return found;
}

function pointAtEdge(event) {
  if (event.target.closest(".unit")) return;
  const box = $("network").getBoundingClientRect(), edge = edgeAt(event.clientX - box.left, event.clientY - box.top);
  if (!edge) { $("tip").hidden = true; return; }
  const [i, a, b] = edge, weight = arrays.frame(`weight.${i}`, state.frame)[a * data.columns[i].names.length + b];
  tip(`weight from ${data.columns[i - 1].names[a]} to ${data.columns[i].names[b]}: ${short(weight)}`, { left: event.clientX, right: event.clientX + 10, top: event.clientY, bottom: event.clientY + 14 });
}

function unitsNote() {
  if (plane.dimensions === 1) return `Units: output over ${plane.names[0]}, one scale for each layer, with a line at zero.`;
  return `Inputs and hidden units: blue is positive, white zero, orange negative. Outputs: ${classes ? "probability, white at 0, the color of the class at 1" : "blue above, orange below the middle of their range"}.`;
}

// ---- the map ---------------------------------------------------------------------------------------------------------------
const margin = { left: 46, right: 20, top: 8, bottom: 40 };

function mapScale(width, height, low, high) {
  const [x0, x1, y0, y1] = plane.dimensions === 1 ? [plane.extent[0], plane.extent[1], low, high] : plane.extent;
  const inner = [width - margin.left - margin.right, height - margin.top - margin.bottom];
  return {
    inner, box: [x0, x1, y0, y1],
    x: (v) => margin.left + ((v - x0) / (x1 - x0)) * inner[0], y: (v) => margin.top + (1 - (v - y0) / (y1 - y0)) * inner[1],
    back: (px, py) => [x0 + ((px - margin.left) / inner[0]) * (x1 - x0), y0 + (1 - (py - margin.top) / inner[1]) * (y1 - y0)],
  };
}

function axesOf(context, scale, names) {
  const [x0, x1, y0, y1] = scale.box;
  context.fillStyle = css("--soft"); context.font = "11px system-ui, sans-serif"; context.strokeStyle = css("--line"); context.lineWidth = 1;
  context.strokeRect(margin.left, margin.top, ...scale.inner);
  context.textAlign = "center";
  for (const t of ticks(x0, x1)) context.fillText(short(t), scale.x(t), margin.top + scale.inner[1] + 14);
  context.fillText(names[0], margin.left + scale.inner[0] / 2, margin.top + scale.inner[1] + 32);
  context.textAlign = "right";
  for (const t of ticks(y0, y1)) context.fillText(short(t), margin.left - 5, scale.y(t) + 4);
  context.save(); context.translate(11, margin.top + scale.inner[1] / 2); context.rotate(-Math.PI / 2); context.textAlign = "center";
  context.fillText(names[1] || "", 0, 0); context.restore();
}

// Class and certainty in a cell of the maps of all classes: [class, certainty from 0 to 1].
function predictedClass(maps, field) {
  let best = 0, most = -1;
  for (let c = 0; c < maps.length; c++) {
    const p = maps[c][field] / 255;
    if (p > most) { most = p; best = c; }
  }
  const count = data.classes.length;
  return [best, Math.max(0, (most - 1 / count) / (1 - 1 / count))];
}

function drawMap() {
  const { context, width, height } = prepare($("map"));
  const unit = state.unit;
  $("map-title").textContent = unit ? `Unit ${data.columns[unit[0]].names[unit[1]]}` : "Predictions";
  if (plane.dimensions === 1) { drawLine(context, width, height, unit); return; }
  const scale = mapScale(width, height);
  const fine = (i, j) => refined(arrays.frame(`map.${i}.${j}`, state.frame), G, FINE);
  let picture;
  if (unit) picture = fieldPicture(G * FINE, unitColors(...unit, fine(...unit)));
  else if (classes) {
    const maps = data.columns[last].names.map((_, c) => fine(last, c));
    picture = fieldPicture(G * FINE, (field) => {
      const [best, sure] = predictedClass(maps, field);
      return mix(WHITE, colors[best], state.discretize ? 0.6 : 0.05 + 0.65 * sure);
    });
  } else {
    const steps = fine(last, 0), [low, high] = targetRange();
    picture = fieldPicture(G * FINE, (field) => sequential((arrays.value(`map.${last}.0`, steps[field]) - low) / (high - low)));
  }
  context.imageSmoothingEnabled = !state.discretize;
  context.drawImage(picture, margin.left, margin.top, ...scale.inner);
  axesOf(context, scale, plane.names);
  const where = arrays.all(`position.${state.split}`).values, targets = arrays.all(`target.${state.split}`).values, [low, high] = targetRange();
  for (let n = 0; n < targets.length; n++) {
    const [x, y] = [where[2 * n], where[2 * n + 1]];
    const [x0, x1, y0, y1] = plane.extent;
    if (x < x0 || x > x1 || y < y0 || y > y1) continue;
    dot(context, scale.x(x), scale.y(y), targetColor(targets[n], low, high));
  }
}

function targetRange() {
  const values = Float32Array.from(arrays.all("target.train").values).sort();
  const low = values[Math.floor(0.01 * (values.length - 1))], high = values[Math.ceil(0.99 * (values.length - 1))];
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

const targetColor = (target, low, high) => css_rgb(classes ? colors[target] : sequential((target - low) / (high - low)));

function drawLine(context, width, height, unit) {
  const targets = arrays.all(`target.${state.split}`).values, where = arrays.all(`position.${state.split}`).values;
  const [i, j] = unit || [last, 0], name = `map.${i}.${j}`, entry = arrays.all(name);
  let low = classes || unit ? entry.low : Math.min(...targets), high = classes || unit ? entry.high : Math.max(...targets);
  const room = 0.08 * Math.max(high - low, 1e-9); low -= room; high += room;
  const scale = mapScale(width, height, low, high), span = plane.extent[1] - plane.extent[0];
  axesOf(context, scale, [plane.names[0], unit ? data.columns[i].names[j] : classes ? "P(class | x)" : data.targets[0]]);
  context.save(); context.beginPath(); context.rect(margin.left, margin.top, ...scale.inner); context.clip();
  const drawn = !unit && classes ? data.classes.map((_, c) => c) : [j];
  for (const c of drawn) {
    const steps = arrays.frame(`map.${i}.${c}`, state.frame), xs = Array.from(steps, (_, k) => scale.x(plane.extent[0] + ((k + 0.5) / steps.length) * span));
    line(context, xs, Array.from(steps, (s) => scale.y(arrays.value(`map.${i}.${c}`, s))), !unit && classes ? css_rgb(colors[c]) : "#D55E00", 2.2);
  }
  if (!unit && !classes) for (let n = 0; n < targets.length; n++) dot(context, scale.x(where[n]), scale.y(targets[n]), "#56B4E9");
  context.restore();
}

function pointAt(event) {
  const box = $("map").getBoundingClientRect();
  const scale = mapScale(box.width, box.height, 0, 1), [x, y] = scale.back(event.clientX - box.left, event.clientY - box.top);
  const [x0, x1, y0, y1] = plane.extent, column = Math.floor(((x - x0) / (x1 - x0)) * G), row = Math.floor(((y - y0) / (y1 - y0)) * G);
  if (column < 0 || column >= G || (plane.dimensions === 2 && (row < 0 || row >= G))) { $("tip").hidden = true; return; }
  const field = plane.dimensions === 2 ? row * G + column : column;
  const here = plane.dimensions === 2 ? `${plane.names[0]} ${short(x)}, ${plane.names[1]} ${short(y)}` : `${plane.names[0]} ${short(x)}`;
  const values = data.columns[last].names.slice(0, 6).map((name, c) => {
    const value = arrays.value(`map.${last}.${c}`, arrays.frame(`map.${last}.${c}`, state.frame)[field]);
    return classes ? `P(${name}) ${value.toFixed(2)}` : `${name} ${short(value)}`;
  });
  tip([here, ...values].join("\n"), { left: event.clientX, right: event.clientX + 10, top: event.clientY, bottom: event.clientY + 14 });
}

// ---- hidden spaces -----------------------------------------------------------------------------------------------------------
function laySpaces() {
  $("spaces").replaceChildren(...data.spaces.map((space, k) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), caption = document.createElement("figcaption");
    figure.append(canvas, caption);
    if (space.units === 3) canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      state.turn = [state.turn[0] + event.movementX / 90, Math.max(-1.5, Math.min(1.5, state.turn[1] + event.movementY / 90))];
      drawSpace(canvas, caption, space);
    });
    canvas.dataset.space = k;
    return figure;
  }));
}

const drawSpaces = () => document.querySelectorAll("#spaces figure").forEach((figure, k) => drawSpace(figure.children[0], figure.children[1], data.spaces[k]));

function drawSpace(canvas, caption, space) {
  const { context, width, height } = prepare(canvas), targets = arrays.all(`target.${state.split}`).values, [low, high] = targetRange();
  const dims = space.layer === 0 ? plane.dimensions : Math.min(space.units, 3) === space.units ? space.units : 2;
  const name = space.layer === 0 ? `position.${state.split}` : `space.${space.layer}.${state.split}`;
  const raw = space.layer === 0 ? arrays.all(name).values : Array.from(arrays.frame(name, state.frame), (step) => arrays.value(name, step));
  const spots = [], around = dims === 3 ? middleOf(raw) : null;
  for (let n = 0; n < targets.length; n++) {
    const p = Array.from({ length: dims }, (_, d) => raw[n * dims + d]);
    spots.push(dims === 3 ? turned(p, around) : dims === 2 ? p : [p[0], classes ? ((n * 0.618) % 1) : targets[n]]);
  }
  const xs = spots.map((p) => p[0]), ys = spots.map((p) => p[1]);
  let box = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  if (dims === 3) box = [-1, 1, -1, 1];
  const pad = 14, sx = (width - 2 * pad) / Math.max(box[1] - box[0], 1e-9), sy = (height - 2 * pad) / Math.max(box[3] - box[2], 1e-9);
  const order = spots.map((_, n) => n).sort((a, b) => (spots[a][2] || 0) - (spots[b][2] || 0));
  for (const n of order) dot(context, pad + (xs[n] - box[0]) * sx, height - pad - (ys[n] - box[2]) * sy, targetColor(targets[n], low, high));
  let near = 0;
  space.scored.forEach((frame, k) => { if (Math.abs(frame - state.frame) < Math.abs(space.scored[near] - state.frame)) near = k; });
  const noun = classes ? "linear accuracy" : "linear R²", title = space.layer === 0 ? "input" : `after layer ${space.layer}, ${space.units} units${space.units === 3 ? " (drag to turn)" : ""}`;
  caption.textContent = `${title}: ${noun} ${space.scores[near] === null ? "-" : space.scores[near].toFixed(3)} (epoch ${data.epochs[space.scored[near]]})${space.note ? `; ${space.note}` : ""}`;
}

// The center of 3D points, and half of their largest extent.
function middleOf(raw) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let n = 0; n < raw.length; n++) { low[n % 3] = Math.min(low[n % 3], raw[n]); high[n % 3] = Math.max(high[n % 3], raw[n]); }
  return { middle: low.map((v, d) => (v + high[d]) / 2), half: Math.max(...low.map((v, d) => (high[d] - v) / 2)) || 1 };
}

function turned(p, { middle, half }) {
  const [a, b] = state.turn;
  const [x, y, z] = p.map((v, d) => (v - middle[d]) / half / 1.6);
  const u = x * Math.cos(a) - y * Math.sin(a), w = x * Math.sin(a) + y * Math.cos(a);
  return [u, z * Math.cos(b) - w * Math.sin(b), -(w * Math.cos(b) + z * Math.sin(b))];
}

// ---- curves ------------------------------------------------------------------------------------------------------------------
function drawCurves() {
  const { context, width, height } = prepare($("curves")), metric = $("metric").value, epochs = data.curves.epoch;
  const drawn = ["train", "val"].map((split) => [split, data.curves.columns[`${split}/${metric}`]]).filter(([, values]) => values);
  const finite = drawn.flatMap(([, values]) => values).filter((v) => v !== null);
  if (!finite.length) return;
  let low = Math.min(...finite), high = Math.max(...finite);
  const log = metric !== "accuracy" && metric !== "r2" && low > 0 && high / low > 50, f = log ? Math.log10 : (v) => v;
  if (low === high) { low -= 0.5; high += 0.5; }
  const x = (e) => 52 + ((e - epochs[0]) / Math.max(epochs[epochs.length - 1] - epochs[0], 1)) * (width - 78);
  const y = (v) => 12 + (1 - (f(v) - f(low)) / (f(high) - f(low))) * (height - 46);
  context.font = "11px system-ui, sans-serif"; context.fillStyle = css("--soft"); context.textAlign = "right";
  const marks = log ? ticks(Math.ceil(f(low)), Math.floor(f(high)) + 1e-9).filter(Number.isInteger).map((e) => 10 ** e) : ticks(low, high, 4);
  for (const t of marks) { context.fillText(short(t), 46, y(t) + 4); line(context, [52, width - 26], [y(t), y(t)], css("--line"), 1); }
  context.textAlign = "center";
  for (const t of ticks(epochs[0], Math.max(epochs[epochs.length - 1], epochs[0] + 1))) context.fillText(short(t), x(t), height - 18);
  context.fillText("epoch", width / 2, height - 3);
  drawn.forEach(([split, values], k) => {
    line(context, epochs.map(x), values.map((v) => (v === null ? NaN : y(v))), css(`--${split}`), 1.8, k ? [6, 4] : []);
  });
  line(context, [x(data.epochs[data.chosen]), x(data.epochs[data.chosen])], [12, height - 34], css("--soft"), 1, [2, 3]);
  line(context, [x(data.epochs[state.frame]), x(data.epochs[state.frame])], [12, height - 34], css("--accent"), 2);
  drawn.forEach(([split], k) => {
    const text = `${split} ${metric}`, wide = context.measureText(text).width;
    context.fillStyle = css("--paper"); context.fillRect(width - 20 - wide, 12 + 14 * k, wide + 8, 14);
    context.fillStyle = css(`--${split}`); context.textAlign = "right"; context.fillText(text, width - 16, 22 + 14 * k);
  });
  $("curves").onclick = (event) => {
    const e = epochs[0] + ((event.offsetX - 52) / (width - 78)) * (epochs[epochs.length - 1] - epochs[0]);
    let near = 0;
    data.epochs.forEach((epoch, k) => { if (Math.abs(epoch - e) < Math.abs(data.epochs[near] - e)) near = k; });
    go(near);
  };
}

// ---- control -----------------------------------------------------------------------------------------------------------------
function tip(text, near) {
  const box = $("tip");
  box.textContent = text; box.hidden = false;
  const size = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(near.right + 8, window.innerWidth - size.width - 4))}px`;
  const below = near.bottom + 8;
  box.style.top = `${below + size.height > window.innerHeight ? Math.max(4, near.top - size.height - 8) : below}px`;
}

function draw() {
  drawNetwork(); drawMap(); drawSpaces(); drawCurves();
  if (state.unit && !$("tip").hidden) $("tip").textContent = unitText(...state.unit);
}

function go(frame) {
  state.frame = Math.max(0, Math.min(data.epochs.length - 1, frame));
  $("slider").value = state.frame;
  const best = state.frame === data.chosen ? " (best)" : "";
  $("epoch").textContent = `epoch ${data.epochs[state.frame]}${best}`;
  $("slider").setAttribute("aria-valuetext", $("epoch").textContent);
  draw();
}

function play(on) {
  clearInterval(state.playing);
  state.playing = 0;
  if (on) {
    if (state.frame === data.epochs.length - 1) go(0);
    state.playing = setInterval(() => { if (state.frame >= data.epochs.length - 1) play(false); else go(state.frame + 1); }, 1000 / Number($("speed").value));
  }
  $("play").textContent = on ? "\u23F8" : "\u25B6";
  $("play").setAttribute("aria-label", on ? "pause" : "play");
}

function toggle(id) { $(id).checked = !$(id).checked; $(id).dispatchEvent(new Event("change")); }

const KEYS = {
  " ": () => play(!state.playing), ArrowLeft: () => { play(false); go(state.frame - 1); }, ArrowRight: () => { play(false); go(state.frame + 1); },
  Home: () => go(0), End: () => go(data.epochs.length - 1), b: () => go(data.chosen), t: () => toggle("split"), d: () => { if (canDiscretize) toggle("steps"); },
};

function listen() {
  $("slider").max = data.epochs.length - 1;
  $("slider").addEventListener("input", () => { play(false); go(Number($("slider").value)); });
  $("play").addEventListener("click", () => play(!state.playing));
  $("speed").addEventListener("change", () => { if (state.playing) play(true); });
  const evalSplit = data.splits[data.splits.length - 1];
  $("split-label").hidden = data.splits.length < 2;
  $("split-label").querySelector("span").textContent = `${evalSplit} points`;
  $("split").checked = true;
  $("split").addEventListener("change", () => { state.split = $("split").checked ? evalSplit : data.splits[0]; draw(); });
  $("steps").addEventListener("change", () => { state.discretize = $("steps").checked; draw(); });
  $("steps-label").hidden = $("steps-key").hidden = !canDiscretize;
  $("units-note").textContent = unitsNote();
  $("network").addEventListener("pointermove", pointAtEdge);
  $("network").addEventListener("pointerleave", () => { $("tip").hidden = true; });
  $("metric").replaceChildren(...data.curves.metrics.map((metric) => new Option(metric)));
  $("metric").addEventListener("change", drawCurves);
  $("map").addEventListener("pointermove", pointAt);
  $("map").addEventListener("pointerleave", () => { $("tip").hidden = true; });
  document.addEventListener("keydown", (event) => {
    const typing = ["SELECT", "TEXTAREA"].includes(event.target.tagName) || (event.target.tagName === "BUTTON" && event.key === " ");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  let waiting = 0;
  new ResizeObserver(() => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => { layNetwork(); draw(); }); }).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

function drawKey() {
  const entries = classes ? data.classes.slice(0, 12).map((name, c) => {
    const entry = document.createElement("span"), mark = document.createElement("i");
    mark.style.background = css_rgb(colors[c]); entry.append(mark, name); return entry;
  }) : [];
  if (!classes && plane.dimensions === 2) {
    const [low, high] = targetRange(), bar = document.createElement("b"), entry = document.createElement("span");
    bar.style.background = `linear-gradient(90deg, ${VIRIDIS.map(css_rgb).join(", ")})`;
    entry.append(`${data.targets[0]} ${short(low)}`, bar, short(high)); entries.push(entry);
  }
  $("key").replaceChildren(...entries);
}

unpack().then((buffer) => {
  arrays = new Arrays(buffer);
  window.playback = { data, arrays, state, go, play };
  layNetwork(); laySpaces(); drawKey(); listen();
  const match = /frame=(\d+)/.exec(location.hash);
  go(match ? Number(match[1]) : data.chosen);
  document.body.dataset.ready = "yes";
}, (error) => { $("note").textContent = `This browser cannot show the page: ${error}`; });
