"use strict";
// Charts that filter each other and the table of volumes. All from the cells of one small cube.
document.addEventListener("charts", ({ detail: views }) => {
  const block = document.getElementById("cube");
  const root = document.getElementById("explore");
  if (!root) return;
  const { dimensions, cells } = JSON.parse(block.textContent);
  const rows = [...document.querySelectorAll("#volumes-table tbody tr")];
  const places = rows.map((row) => row.dataset.cell.split(" ").map(Number));
  const chosen = dimensions.map((dimension) => new Set(dimension.labels.keys()));
  const selects = (name) => [...root.querySelectorAll(`select[data-measure=${name}]`)];
  const whole = (d) => chosen[d].size === dimensions[d].labels.length;

  // The counts of each dimension under the choices in all others.
  function counted() {
    const counts = dimensions.map((dimension) => new Array(dimension.labels.length).fill(0));
    let total = 0;
    for (const cell of cells) {
      const out = [];
      for (let d = 0; d < dimensions.length && out.length < 2; d++) if (!chosen[d].has(cell[d])) out.push(d);
      const n = cell[dimensions.length];
      if (out.length === 0) { total += n; counts.forEach((of, d) => { of[cell[d]] += n; }); }
      if (out.length === 1) counts[out[0]][cell[out[0]]] += n;
    }
    return { counts, total };
  }

  // Later, and once for many changes: a view may be in the middle of telling of one.
  let due = false;
  function show() {
    if (!due) requestAnimationFrame(() => { due = false; paint(); });
    due = true;
  }

  function paint() {
    const { counts, total } = counted();
    const every = cells.reduce((sum, cell) => sum + cell[dimensions.length], 0);
    dimensions.forEach((dimension, d) => {
      if (dimension.kind === "category") {
        root.querySelectorAll(`input[data-category=${dimension.name}]`).forEach((input) => {
          input.parentElement.querySelector("[data-count]").textContent = counts[d][input.value].toLocaleString("en");
        });
      } else if (views.has(`explore-${dimension.name}`)) {
        const bins = dimension.labels.map((label, b) => ({
          b: label, n: chosen[d].has(b) ? counts[d][b] : 0, m: counts[d][b],
        }));
        views.get(`explore-${dimension.name}`).view.data("bins", bins).runAsync();
      }
    });
    rows.forEach((row, r) => { row.classList.toggle("out", !places[r].every((b, d) => chosen[d].has(b))); });
    root.querySelector("[data-selected]").textContent = total.toLocaleString("en");
    root.querySelector("[data-clear]").disabled = total === every && dimensions.every((_, d) => whole(d));
    const table = document.querySelector("[data-table=volumes-table] [data-search]");
    if (table) table.dispatchEvent(new Event("input"));
  }

  // The two lists of a measure are its state; a brush sets them, and so does the keyboard.
  function range(d, first, last) {
    const [from, to] = selects(dimensions[d].name);
    from.value = first;
    to.value = last;
    chosen[d] = new Set([...dimensions[d].labels.keys()].filter((b) => b >= first && b <= last));
    show();
  }

  dimensions.forEach((dimension, d) => {
    const last = dimension.labels.length - 1;
    if (dimension.kind === "category") {
      const inputs = [...root.querySelectorAll(`input[data-category=${dimension.name}]`)];
      inputs.forEach((input) => input.addEventListener("change", () => {
        chosen[d] = new Set(inputs.filter((one) => one.checked).map((one) => Number(one.value)));
        show();
      }));
      return;
    }
    const [from, to] = selects(dimension.name);
    const typed = () => range(d, Math.min(from.value, to.value), Math.max(from.value, to.value));
    from.addEventListener("change", typed);
    to.addEventListener("change", typed);
    const drawn = views.get(`explore-${dimension.name}`);
    if (!drawn) return;
    drawn.view.addSignalListener("brush", (_, value) => {
      const hit = (value && value.b ? value.b : []).map((label) => dimension.labels.indexOf(label)).filter((b) => b >= 0);
      if (hit.length) range(d, Math.min(...hit), Math.max(...hit));
      else range(d, 0, last);
    });
  });

  root.querySelector("[data-clear]").addEventListener("click", () => {
    dimensions.forEach((dimension, d) => {
      chosen[d] = new Set(dimension.labels.keys());
      if (dimension.kind === "category") {
        root.querySelectorAll(`input[data-category=${dimension.name}]`).forEach((input) => { input.checked = true; });
        return;
      }
      const [from, to] = selects(dimension.name);
      from.value = 0;
      to.value = dimension.labels.length - 1;
    });
    views.forEach((drawn, name) => { if (name.startsWith("explore-")) drawn.view.signal("brush_x", [0, 0]).runAsync(); });
    show();
  });
  root.classList.add("live");
  show();
}, { once: true });
