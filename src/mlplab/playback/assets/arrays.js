"use strict";
// The arrays of the page: described in JSON, packed as deflated bytes.
const data = JSON.parse(document.getElementById("data").textContent);

async function unpack() {
  const text = document.getElementById("arrays").textContent;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

class Arrays {
  constructor(buffer) {
    this.entries = {};
    for (const [name, entry] of Object.entries(data.arrays)) {
      const count = entry.shape.reduce((a, b) => a * b, 1);
      const kind = entry.kind === "float32" ? Float32Array : Uint8Array;
      this.entries[name] = { ...entry, count, values: new kind(buffer, entry.at, count) };
    }
  }
  has(name) { return name in this.entries; }
  // The values of one frame. Arrays that do not change have a single frame.
  frame(name, frame) {
    const entry = this.entries[name];
    const size = entry.count / entry.shape[0];
    const row = Math.min(frame, entry.shape[0] - 1);
    return entry.values.subarray(row * size, (row + 1) * size);
  }
  all(name) { return this.entries[name]; }
  // The number that a stored step represents.
  value(name, step) {
    const entry = this.entries[name];
    return entry.kind === "uint8" ? entry.low + ((entry.high - entry.low) * step) / 255 : step;
  }
}
