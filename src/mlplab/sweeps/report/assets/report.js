"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

const digits = (value, real) => {
  if (value === null || value === undefined) return "-";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && !real) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(3) : value.toPrecision(4);
};

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
    this.note = element("p", "", {class: "soft"});
    this.more = element("button", "", {type: "button"});
    this.more.addEventListener("click", () => { this.limit = Infinity; this.draw(); });
    host.append(box, this.note, this.more);
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
    const held = this.table.rows.length, total = this.table.total;
    this.note.hidden = held === total;
    this.note.textContent = `This page has ${held.toLocaleString("en")} of ${total.toLocaleString("en")} ${this.table.label}.`;
  }
}

function axes(host) {
  const figures = data.axes.charts, maps = data.axes.kind === "heat";
  const draw = (figure, box) => maps ? heat(box, figure, data.headline, data.higher) : points(box, figure, data.headline);
  const draw_points = (list) => list.forEach((figure) => { const box = element("div", undefined, {class: "chart"}); host.append(box); responsive(box, () => points(box, figure, data.headline)); });
  if (!maps) { draw_points(figures); return; }
  const box = element("div", undefined, {class: "chart scroll-x"});
  let shown = figures[0];
  if (figures.length > 1) {
    const select = element("select");
    figures.forEach((figure, i) => select.append(element("option", figure.keys.join(" and "), {value: i})));
    select.addEventListener("change", () => { shown = figures[select.value]; redraw(); });
    const label = element("label", "keys "), bar = element("div", undefined, {class: "controls"});
    label.append(select); bar.append(label); host.append(bar);
  }
  host.append(box);
  const redraw = responsive(box, () => draw(shown, box));
  draw_points(data.axes.points);
}

function start() {
  const by = (id) => document.getElementById(id);
  if (by("forest")) forest(by("forest"), data.forest, 25);
  if (by("effects")) data.effects.forEach((effect) => {
    const box = element("section"), title = element("h3"), over = effect.others.join(" and ");
    title.append(element("code", effect.key), element("span", `, mean over ${over}`, {class: "soft"})); box.append(title);
    forest(box, effect, 30); by("effects").append(box);
  });
  if (data.axes) axes(by("axes"));
  if (data.curves.groups.length) {
    const redraw = responsive(by("curves"), () => curves(by("curves"), by("legend"), data.curves.groups, by("metric").value, by("log").checked));
    for (const id of ["metric", "log"]) by(id).addEventListener("change", redraw);
  }
  new SortedTable(by("groups"), data.groups, 50);
  const jobs = new SortedTable(by("jobs"), data.jobs, 50);
  by("filter").addEventListener("input", (event) => { jobs.filter = event.target.value.toLowerCase(); jobs.draw(); });
  if (data.failures.rows.length) new SortedTable(by("failures"), data.failures, 50);
  const copy = by("copy");
  if (copy) copy.addEventListener("click", () => {
    const code = by("command"), range = document.createRange();
    range.selectNodeContents(code); getSelection().removeAllRanges(); getSelection().addRange(range);
    (navigator.clipboard ? navigator.clipboard.writeText(code.textContent) : Promise.reject()).then(() => { copy.textContent = "copied"; }, () => { copy.textContent = "selected"; });
  });
}
start();
