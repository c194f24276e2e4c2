"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  let metric = data.headline;
  byId("scriptless").remove();

  // Numbers -------------------------------------------------------------------------------------

  const decimal = (value, signed) =>
    ((signed && value >= 0 ? "+" : "") + value.toFixed(1)).replace("-", "−");

  const bounds = ([, low, high], signed) =>
    low == null ? "" : `${decimal(low, signed)} to ${decimal(high, signed)}`;

  /** Colour a cell by a percentage: dark if the attack is strong. The text is black or white. */
  function paint(cell, value, { lower, scale: [low, high] }) {
    cell.classList.toggle("missing", value === null);
    if (value === null) {
      cell.style.backgroundColor = cell.style.color = "";
      return;
    }
    const share = (value - low) / (high - low);
    const place = Math.floor((lower ? share : 1 - share) * data.shades.length);
    const shade = data.shades[Math.min(data.shades.length - 1, Math.max(0, place))];
    cell.style.backgroundColor = shade[0];
    cell.style.color = shade[1];
  }

  function fillCell(cell, figures) {
    paint(cell, figures && figures[0], data.metrics[metric]);
    cell.firstChild.data = figures ? decimal(figures[0]) : data.notMeasured;
    const said = figures && bounds(figures) ? `, 95 % interval ${bounds(figures)}` : "";
    cell.querySelector(".sr").textContent = said + (cell.classList.contains("own") ? ", white-box" : "");
  }

  function fillNumber(place, figures) {
    const signed = "signed" in place.dataset;
    place.replaceChildren(figures ? decimal(figures[0], signed) : data.notMeasured);
    if (figures && bounds(figures)) {
      const small = document.createElement("small");
      small.textContent = bounds(figures, signed);
      place.append(" ", small);
    }
    place.classList.toggle("beyond", Boolean(figures && figures[3]));
  }

  const placed = all("[data-n]");
  const charts = [];

  function choose(name) {
    metric = name;
    const { label, meaning, lower, scale } = data.metrics[name];
    byId("low").textContent = scale[lower ? 0 : 1];
    byId("high").textContent = scale[lower ? 1 : 0];
    for (const place of placed) {
      const figures = data.figures[name][place.dataset.n];
      (place.classList.contains("cell") ? fillCell : fillNumber)(place, figures);
    }
    for (const place of all("[data-unit]")) {
      const unit = place.dataset.unit || (name === "drop" ? "points" : "%");
      place.textContent = `${label}, ${unit}`;
    }
    const better = document.createElement("b");
    better.textContent = `${lower ? "Lower" : "Higher"} values and darker cells: a stronger attack.`;
    byId("meaning").replaceChildren(`${meaning} `, better);
    for (const view of charts) view.signal("metric", name).runAsync();
    for (const table of all("table.sortable")) sortAgain(table);
    hideReadout();
  }

  byId("metrics").addEventListener("change", (event) => choose(event.target.value));
  byId("metrics").addEventListener("submit", (event) => event.preventDefault());

  // Matrices: the arrow keys move, a readout follows --------------------------------------------

  const readout = byId("readout");

  function headOf(cell) {
    const table = cell.closest("table");
    const row = cell.parentNode;
    const name = row.cells[0].querySelector("b").textContent;
    const { attack } = row.dataset;
    return {
      attack,
      source: name === attack ? "" : `${name} → `,
      target: [...table.tHead.rows].at(-1).cells[cell.cellIndex].textContent,
      clean: data.figures[metric][table.querySelector(".clean tr").cells[cell.cellIndex].dataset.n],
    };
  }

  function line(tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }

  function showReadout(cell) {
    const figures = data.figures[metric][cell.dataset.n];
    const { attack, source, target, clean } = headOf(cell);
    const onClean = attack === undefined;
    const { label } = data.metrics[metric];
    const lines = [line("span", onClean ? `${target}, clean images` : `${attack}: ${source}${target}`)];
    lines.push(line("b", figures ? `${label} ${decimal(figures[0])}` : data.notMeasured));
    if (figures && bounds(figures)) lines.push(line("span", `95 % interval ${bounds(figures)}`));
    if (figures && clean && !onClean && ["miou", "aacc", "macc"].includes(metric)) {
      lines.push(line("span", `clean ${decimal(clean[0])}, change ${decimal(figures[0] - clean[0], true)}`));
    }
    if (cell.classList.contains("own")) lines.push(line("span", "white-box"));
    readout.replaceChildren(...lines);
    readout.hidden = false;
    const box = cell.getBoundingClientRect();
    const below = box.bottom + readout.offsetHeight + 12 < innerHeight;
    readout.style.top = `${below ? box.bottom + 8 : box.top - readout.offsetHeight - 8}px`;
    const left = box.left + box.width / 2 - readout.offsetWidth / 2;
    readout.style.left = `${Math.max(8, Math.min(left, innerWidth - readout.offsetWidth - 8))}px`;
  }

  function hideReadout() {
    readout.hidden = true;
  }

  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  function move(event, rows) {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const row = rows.indexOf(cell.parentNode);
    const column = cell.cellIndex;
    let to = null;
    if (event.key in MOVES) {
      const [down, right] = MOVES[event.key];
      to = rows[row + down]?.cells[column + right];
    } else if (event.key === "Home") to = cell.parentNode.cells[1];
    else if (event.key === "End") to = cell.parentNode.cells[cell.parentNode.cells.length - 1];
    else return;
    event.preventDefault();
    if (!to?.classList.contains("cell")) return;
    cell.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  }

  for (const table of all("table.matrix:not(.classes)")) {
    table.setAttribute("role", "grid");
    const cells = all(".cell", table);
    cells.forEach((cell, place) => (cell.tabIndex = place ? -1 : 0));
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    table.addEventListener("keydown", (event) => move(event, rows));
    for (const kind of ["focusin", "pointerover"]) {
      table.addEventListener(kind, (event) => {
        const cell = event.target.closest(".cell");
        if (cell) showReadout(cell);
      });
    }
    for (const kind of ["focusout", "pointerleave"]) table.addEventListener(kind, hideReadout);
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideReadout());
  addEventListener("scroll", hideReadout, { passive: true });

  // Tables wider than the window ----------------------------------------------------------------

  function showEdges(box, hint) {
    const left = box.scrollLeft > 1;
    const right = box.scrollLeft + box.clientWidth < box.scrollWidth - 1;
    box.classList.toggle("more-left", left);
    box.classList.toggle("more-right", right);
    hint.hidden = !left && !right;
  }

  for (const box of all(".scroll")) {
    const hint = line("p", "This table scrolls sideways ↔");
    hint.className = "hint";
    box.before(hint);
    const show = () => showEdges(box, hint);
    box.addEventListener("scroll", show, { passive: true });
    new ResizeObserver(show).observe(box);
    show();
  }

  // Sorting -------------------------------------------------------------------------------------

  function sortKey(cell) {
    if ("n" in cell.dataset) return data.figures[metric][cell.dataset.n]?.[0] ?? NaN;
    if ("v" in cell.dataset) return cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
    return cell.tagName === "TH" ? cell.textContent.trim() : NaN;
  }

  function sortAgain(table) {
    const head = table.querySelector("[aria-sort]");
    if (!head) return;
    const sign = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const keyed = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[head.cellIndex]), row]);
    keyed.sort(([a], [b]) => {
      if (typeof a === "string") return sign * a.localeCompare(b, undefined, { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // last
      return sign * (a - b || 0);
    });
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  }

  for (const table of all("table.sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (!head) return;
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortAgain(table);
    });
  }

  // Charts --------------------------------------------------------------------------------------

  const font = "system-ui, sans-serif";
  const config = {
    background: null,
    font,
    view: { stroke: null },
    axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", tickCount: 6 },
    legend: { labelFontSize: 12 },
  };

  const ERROR = 1; // no warnings where a metric has no value

  async function drawCharts() {
    for (const place of all("[data-chart]")) {
      const options = { actions: false, renderer: "svg", ast: true, config, logLevel: ERROR };
      const { view } = await vegaEmbed(place, data.charts[place.dataset.chart], options);
      charts.push(view);
      await view.signal("metric", metric).runAsync();
    }
    document.documentElement.dataset.ready = "";
  }

  // Classes -------------------------------------------------------------------------------------

  /** Offer the rows that an attack has, keeping the chosen source where it has it. */
  function offerSources(select, attack, offered = () => true) {
    const chosen = select.selectedOptions[0]?.textContent;
    const rows = data.rows[attack].map((name, place) => [name, place]);
    const options = rows.length > 1 ? rows.filter(([name]) => offered(name)) : rows;
    select.replaceChildren(...options.map(([name, place]) => new Option(name, place)));
    const again = options.findIndex(([name]) => name === chosen);
    select.selectedIndex = Math.max(0, again);
  }

  function fillClasses() {
    const attack = byId("class-attack").value;
    const source = byId("class-source").value;
    const attacked = data.classes.attacks[attack][source];
    const name = byId("class-attack").selectedOptions[0].textContent;
    byId("class-caption").textContent =
      `${data.classScore} of every class under ${name} made on ${data.rows[attack][source]}`;
    for (const cell of all(".classes .cell")) {
      const { k, t } = cell.dataset;
      const value = attacked[t] ? attacked[t][k] : null;
      const clean = data.classes.clean[t] ? data.classes.clean[t][k] : null;
      paint(cell, value, { lower: true, scale: [0, 100] });
      cell.replaceChildren(value === null ? "–" : decimal(value));
      if (clean !== null) cell.append(line("small", decimal(clean)));
    }
  }

  byId("class-attack").addEventListener("change", (event) => {
    offerSources(byId("class-source"), event.target.value);
    fillClasses();
  });
  byId("class-source").addEventListener("change", fillClasses);

  // Images --------------------------------------------------------------------------------------

  function picture(uri, alt, kind = "") {
    if (!uri) {
      const none = line("span", "no result");
      none.className = "none";
      return none;
    }
    const image = new Image();
    Object.assign(image, { src: uri, alt, className: kind });
    return image;
  }

  function tile(caption, ...pictures) {
    const figure = document.createElement("figure");
    figure.className = "tile";
    const box = document.createElement("div");
    box.append(...pictures);
    figure.append(line("figcaption", caption), box);
    return figure;
  }

  function tiles(kind, ...content) {
    const box = document.createElement("div");
    box.className = `tiles ${kind}`;
    box.append(...content);
    return box;
  }

  function showImage() {
    const slider = byId("image");
    const shown = data.gallery[slider.value];
    const attack = byId("image-attack").selectedOptions[0].textContent;
    const source = byId("image-source").selectedOptions[0].textContent;
    const made = shown.attacks[byId("image-attack").value][byId("image-source").value];
    const count = data.gallery.length;
    byId("image-name").textContent = `${Number(slider.value) + 1} of ${count}: ${shown.name}`;
    slider.setAttribute("aria-valuetext", shown.name);
    const by = `${attack} on ${source}`;
    const first = tiles(
      "",
      tile("Clean", picture(shown.clean, `Image ${shown.name}, clean`, "photo")),
      tile(`Adversarial: ${by}`, picture(made.image, `Image ${shown.name} under ${by}`, "photo")),
      tile(`Perturbation × ${data.amplification}`, picture(made.perturbation, `Perturbation by ${by}`)),
      tile("Label", picture(shown.label, `Label of image ${shown.name}`)),
    );
    const predictions = data.pictured.targets.map((target) => {
      const place = data.targets.indexOf(target);
      const clean = shown.predictions[place];
      const attacked = made.predictions[place];
      const right = [clean, attacked].map((p) => (p ? `${p[1]} %` : "–")).join(" → ");
      return tile(
        `${target}: ${right} correct`,
        picture(clean?.[0], `Prediction of ${target} on the clean image`),
        picture(attacked?.[0], `Prediction of ${target} under ${by}`),
      );
    });
    const title = line("p", "Predictions of the targets, on the clean image (left) and on the AE (right), with the share of labelled pixels that have the label's class.");
    title.className = "note";
    byId("gallery").replaceChildren(first, title, tiles("pairs", ...predictions));
  }

  function step(by) {
    const slider = byId("image");
    slider.value = (Number(slider.value) + by + data.gallery.length) % data.gallery.length;
    showImage();
  }

  function offerPictured(attack) {
    offerSources(byId("image-source"), attack, (name) => data.pictured.sources.includes(name));
  }

  function openGallery() {
    byId("image").addEventListener("input", showImage);
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    byId("image-source").addEventListener("change", showImage);
    byId("image-attack").addEventListener("change", (event) => {
      offerPictured(event.target.value);
      showImage();
    });
    offerPictured(byId("image-attack").value);
    showImage();
  }

  // Theme, print --------------------------------------------------------------------------------

  const root = document.documentElement;
  const stored = (() => {
    try {
      return localStorage.getItem("segtransfer-theme");
    } catch {
      return null; // a page without storage
    }
  })();

  function isDark() {
    return (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  }

  function showTheme() {
    byId("theme").textContent = isDark() ? "Switch to light" : "Switch to dark";
  }

  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("segtransfer-theme", root.dataset.theme);
    } catch {
      // Not kept, then.
    }
    showTheme();
  });
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();

  const opened = [];
  addEventListener("beforeprint", () => {
    for (const details of all("details:not([open])")) {
      details.open = true;
      opened.push(details);
    }
  });
  addEventListener("afterprint", () => {
    for (const details of opened.splice(0)) details.open = false;
  });

  // Browsers keep what was chosen before a reload.
  choose(document.querySelector("input[name=metric]:checked").value);
  offerSources(byId("class-source"), byId("class-attack").value);
  fillClasses();
  if (data.gallery.length) openGallery();
  drawCharts();
})();
