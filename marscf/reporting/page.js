const dialog = document.querySelector("dialog");
const large = dialog.querySelector("img");
for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    dialog.showModal();
  });
}
large.addEventListener("click", () => dialog.close());

// A table: details fold where there is no room for them, a column's name sorts by it.
const number = (cell) => (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value));
const sorted = (rows, column, falling) => {
  const sign = falling ? -1 : 1;
  return rows.sort((a, b) => {
    const [x, y] = [a.cells[column], b.cells[column]];
    const [p, q] = [number(x), number(y)];
    if (Number.isNaN(p) && Number.isNaN(q)) return sign * x.textContent.localeCompare(y.textContent);
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) ? 1 : -1; // without a number: last
    return sign * (p - q);
  });
};
for (const table of document.querySelectorAll(".scroll > table")) {
  for (const head of table.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.ariaSort === "ascending";
      for (const other of table.querySelectorAll("thead th")) other.ariaSort = null;
      head.ariaSort = falling ? "descending" : "ascending";
      table.tBodies[0].append(...sorted([...table.tBodies[0].rows], head.cellIndex, falling));
    });
  }
  if (!table.querySelector(".detail")) continue;
  const room = table.parentElement;
  const more = document.createElement("button");
  more.className = "more";
  room.before(more);
  const narrow = window.matchMedia("(max-width: 40rem)"); // there a row is a list, which always has room
  let asked = false;
  const fold = () => {
    table.classList.remove("folded");
    const wide = narrow.matches || room.scrollWidth > room.clientWidth + 1;
    table.classList.toggle("folded", wide && !asked);
    more.hidden = !wide;
    more.textContent = asked ? "Fewer columns" : "All columns";
    more.ariaExpanded = asked;
  };
  more.addEventListener("click", () => {
    asked = !asked;
    fold();
  });
  addEventListener("resize", fold);
  fold();
}

// The rows of a run are marked everywhere: while the pointer or the keyboard is on one of them.
const rowsOf = new Map();
for (const row of document.querySelectorAll(".scroll tbody tr")) {
  const link = row.querySelector('a[href^="#run-"]');
  if (!link) continue;
  const run = link.getAttribute("href");
  rowsOf.set(run, [...(rowsOf.get(run) ?? []), row]);
  const mark = (on) => rowsOf.get(run).forEach((other) => other.classList.toggle("same", on));
  for (const event of ["mouseenter", "focusin"]) row.addEventListener(event, () => mark(true));
  for (const event of ["mouseleave", "focusout"]) row.addEventListener(event, () => mark(false));
}

// Compare: chosen runs beside each other, from what their own places on the page have.
const places = [...document.querySelectorAll(".run[data-curve]")];
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const make = (name, attributes = {}, ...children) => {
  const made = name === "svg" || name === "path" || name === "text"
    ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const titleOf = (place) => place.querySelector("h3").textContent;

function numbersOf(chosen) {
  const columns = chosen.map((place) => new Map([...place.querySelectorAll(".numbers tbody tr")].map(
    (row) => [row.cells[0].textContent, row.cells[1].textContent])));
  const names = [...new Set(columns.flatMap((column) => [...column.keys()]))];
  const head = make("tr", {}, make("th"), ...chosen.map((place, k) => make("th", {scope: "col"},
    make("span", {class: "key", style: `background:${colours[k % colours.length]}`}),
    make("a", {href: `#${place.id}`}, titleOf(place)))));
  const rows = names.map((name) => make("tr", {}, make("td", {"data-name": "number"}, name),
    ...columns.map((column, k) => make("td", {"data-name": titleOf(chosen[k])}, column.get(name) ?? "–"))));
  return make("div", {class: "scroll", tabindex: 0},
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

function curvesOf(chosen) {
  const curves = chosen.map((place) => JSON.parse(place.dataset.curve));
  const all = curves.flat();
  if (!all.length) return "";
  const [width, height, left, below] = [640, 260, 52, 36];
  const right = Math.max(...all.map(([x]) => x));
  // The first validations are far off: the axis shows what lies near the ends of the curves.
  const ends = curves.filter((curve) => curve.length).map((curve) => Math.min(...curve.map(([, y]) => y)));
  const low = Math.min(...ends);
  const high = Math.max(...ends) + Math.max(0.5 * (Math.max(...ends) - low), 0.25);
  const x = (value) => left + (width - left - 8) * value / right;
  const y = (value) => 8 + (height - below - 8) * (high - Math.min(value, high)) / (high - low);
  const label = (text, at, down, anchor) => make("text", {x: at, y: down, "text-anchor": anchor}, text);
  const lines = curves.map((curve, k) => make("path", {d: curve.map(([a, b], i) => `${i ? "L" : "M"}${x(a)} ${y(b)}`).join(""),
    fill: "none", "stroke-width": 2, stroke: colours[k % colours.length]}));
  return make("figure", {}, make("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Validation bits per dimension over minutes of training"},
    make("path", {d: `M${left} 8V${height - below}H${width - 8}`, fill: "none", stroke: "currentColor"}),
    label(high.toFixed(2), left - 6, 16, "end"), label(low.toFixed(2), left - 6, height - below, "end"),
    label("0", left, height - 18, "middle"), label(right.toFixed(1), width - 8, height - 18, "end"),
    label("minutes of training → validation bits/dim", (left + width) / 2, height - 4, "middle"), ...lines));
}

function sheetsOf(chosen) {
  const sheets = chosen.filter((place) => place.querySelector(".sheet")).map((place) => make("figure", {},
    place.querySelector(".sheet img").cloneNode(), make("figcaption", {}, titleOf(place))));
  return make("div", {class: "sheets"}, ...sheets);
}

if (places.length > 1) {
  const section = document.querySelector("#compare");
  const boxes = places.map((place) => make("input", {type: "checkbox"}));
  const draw = () => {
    const chosen = places.filter((place, k) => boxes[k].checked);
    const parts = chosen.length ? [numbersOf(chosen), curvesOf(chosen), sheetsOf(chosen)] : [];
    section.querySelector(".compared").replaceChildren(...parts);
    // Numbers of different datasets cannot be compared.
    boxes.forEach((box, k) => {
      box.disabled = chosen.length > 0 && places[k].dataset.dataset !== chosen[0].dataset.dataset;
    });
  };
  places.forEach((place, k) => {
    boxes[k].addEventListener("change", draw);
    section.querySelector(".choices").append(make("label", {}, boxes[k], titleOf(place)));
  });
  section.hidden = document.querySelector('nav a[href="#compare"]').hidden = false;
}
