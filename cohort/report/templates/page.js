"use strict";
// Charts, tables that sort and filter, and the mark of the current section. Nothing is fetched.
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false,
    ast: true, // interpret expressions: the page's policy forbids `new Function`
    tooltip: { disableDefaultStyle: true },
  };
  const views = new Map();

  // Histograms come with logarithmic counts; linear ones begin at zero.
  function scaled(spec, scale) {
    if (scale === "log" || !spec.usermeta || !("log_floor" in spec.usermeta)) return spec;
    const copy = JSON.parse(JSON.stringify(spec));
    const encoding = copy.layer[0].encoding;
    delete encoding.y.axis.values;
    encoding.y.scale = { type: "linear", domainMin: 0, nice: true };
    if (encoding.y2) encoding.y2.datum = 0;
    return copy;
  }

  async function draw(place, scale) {
    const name = place.dataset.chart;
    if (!(name in specs)) return;
    if (views.has(name)) views.get(name).finalize();
    views.set(name, await vegaEmbed(place, scaled(specs[name], scale), options));
    place.dataset.drawn = scale;
  }

  async function drawAll(scale, only) {
    for (const place of document.querySelectorAll("[data-chart]")) {
      if (only && !place.dataset.chart.startsWith(only)) continue;
      await draw(place, scale);
      await new Promise((next) => setTimeout(next)); // the page answers between two charts
    }
    document.dispatchEvent(new CustomEvent("charts", { detail: views }));
    document.documentElement.dataset.charts = "drawn";
  }

  for (const input of document.querySelectorAll("input[name=scale]")) {
    input.addEventListener("change", () => drawAll(input.value, "histogram-"));
  }

  function key(row, column) {
    const cell = row.cells[column];
    const given = cell.dataset.sort;
    return given === undefined ? cell.textContent.trim() : Number(given);
  }

  function order(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].sort((a, b) => order(key(a, column), key(b, column)) * (down ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function filterable(tools) {
    const table = document.getElementById(tools.dataset.table);
    const search = tools.querySelector("[data-search]");
    const checks = [...tools.querySelectorAll("[data-severity]")];
    const shown = tools.querySelector("[data-shown]");
    const apply = () => {
      const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const off = new Set(checks.filter((check) => !check.checked).map((check) => check.dataset.severity));
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = off.has(row.dataset.severity) || !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden && !row.classList.contains("out")).length;
      shown.textContent = left === rows.length ? "" : `${left} of ${rows.length} shown`;
    };
    search.addEventListener("input", apply);
    checks.forEach((check) => check.addEventListener("change", apply));
    apply();
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("[data-table]").forEach(filterable);

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  links.forEach((_, id) => seen.observe(document.getElementById(id)));

  drawAll("log", "").catch((error) => console.error(error));
})();
