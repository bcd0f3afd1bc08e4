"use strict";
// Colors and canvases.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
const BLUE = rgb("#0072B2"), ORANGE = rgb("#D55E00"), WHITE = [255, 255, 255];
const VIRIDIS = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"].map(rgb);

function diverging(v) { // v from -1 to 1
  const t = Math.max(-1, Math.min(1, v));
  return mix(WHITE, t < 0 ? ORANGE : BLUE, Math.abs(t));
}

function sequential(t) { // t from 0 to 1
  const position = Math.max(0, Math.min(1, t)) * (VIRIDIS.length - 1);
  const i = Math.min(VIRIDIS.length - 2, Math.floor(position));
  return mix(VIRIDIS[i], VIRIDIS[i + 1], position - i);
}

// Fit a canvas to the screen resolution and return its context, in CSS pixels.
function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, box.width, box.height);
  return { context, width: box.width, height: box.height };
}

// A canvas of size x size colored cells; rows are numbered from the bottom.
function fieldPicture(size, colorAt) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const color = colorAt(y * size + x), at = 4 * ((size - 1 - y) * size + x);
      image.data[at] = color[0]; image.data[at + 1] = color[1]; image.data[at + 2] = color[2]; image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Values of size x size cells at factor times as many cells per side, interpolated between the centers of the cells.
function refined(values, size, factor) {
  const fine = size * factor, result = new Float32Array(fine * fine), near = [];
  for (let k = 0; k < fine; k++) {
    const at = Math.max(0, Math.min(size - 1, (k + 0.5) / factor - 0.5)), low = Math.floor(at);
    near.push([low, Math.min(low + 1, size - 1), at - low]);
  }
  for (let y = 0; y < fine; y++) {
    const [y0, y1, v] = near[y];
    for (let x = 0; x < fine; x++) {
      const [x0, x1, u] = near[x];
      const below = values[y0 * size + x0] * (1 - u) + values[y0 * size + x1] * u;
      const above = values[y1 * size + x0] * (1 - u) + values[y1 * size + x1] * u;
      result[y * fine + x] = below * (1 - v) + above * v;
    }
  }
  return result;
}

function line(context, xs, ys, color, width = 1.5, dash = []) {
  context.beginPath();
  context.setLineDash(dash);
  let pen = false;
  for (let i = 0; i < xs.length; i++) {
    if (!Number.isFinite(ys[i])) { pen = false; continue; }
    if (pen) context.lineTo(xs[i], ys[i]); else context.moveTo(xs[i], ys[i]);
    pen = true;
  }
  context.strokeStyle = color; context.lineWidth = width; context.stroke(); context.setLineDash([]);
}

function dot(context, x, y, color, radius = 3) {
  context.beginPath(); context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = color; context.fill();
  context.strokeStyle = "#fff"; context.lineWidth = 0.8; context.stroke();
}

const css_rgb = (color) => `rgb(${color.map(Math.round).join(",")})`;

function short(value) {
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

// Round tick values between two numbers.
function ticks(low, high, count = 5) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const values = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) values.push(Number(t.toPrecision(10)));
  return values;
}
