"use strict";
// Sorting tables, line charts and the navigation's mark. The player (player.js) draws with the same few functions.

const SVG = "http://www.w3.org/2000/svg";

/** A new SVG element with its attributes, put at the end of `parent`. */
function draw(parent, name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

/** A new HTML element with a text, put at the end of `parent`. */
function put(parent, name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

function written(value, least = 0, most = 6) {
  return value.toLocaleString("en-US", { minimumFractionDigits: least, maximumFractionDigits: most }).replace("-", "−");
}

/** Round numbers (1, 2, 2.5, 5 times a power of ten) from `low` to `high`, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

/**
 * Empty `svg` and draw axes in it, in CSS pixels. `x` and `y` are [lowest, highest]; the y axis is widened to a round
 * number where it is drawn. Returns the two scales (value to pixel), `valueAt` (pixel to x) and the plot's edges.
 */
function axes(svg, x, y, xlabel, ylabel) {
  svg.replaceChildren();
  const width = svg.clientWidth || 600, height = svg.clientHeight || 300;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const rows = ticks(y[0], y[1], height > 220 ? 6 : 4);
  const longest = Math.max(...rows.map(value => written(value).length), 2);
  const edge = { left: 10 + 7 * longest, right: width - 14, top: 26, bottom: height - 38 };
  const toX = value => edge.left + ((value - x[0]) / (x[1] - x[0])) * (edge.right - edge.left);
  const toY = value => edge.bottom - ((value - y[0]) / (y[1] - y[0])) * (edge.bottom - edge.top);
  for (const value of rows) {
    draw(svg, "line", { class: "grid", x1: edge.left, x2: edge.right, y1: toY(value), y2: toY(value) });
    draw(svg, "text", { x: edge.left - 7, y: toY(value) + 4, "text-anchor": "end" }, written(value));
  }
  draw(svg, "line", { class: "axis", x1: edge.left, x2: edge.right, y1: edge.bottom, y2: edge.bottom });
  for (const value of ticks(x[0], x[1], Math.max(3, Math.min(10, Math.floor((edge.right - edge.left) / 70))))) {
    draw(svg, "line", { class: "axis", x1: toX(value), x2: toX(value), y1: edge.bottom, y2: edge.bottom + 4 });
    draw(svg, "text", { x: toX(value), y: edge.bottom + 17, "text-anchor": "middle" }, written(value));
  }
  draw(svg, "text", { class: "label", x: 0, y: 12 }, ylabel);
  draw(svg, "text", { class: "label", x: edge.right, y: height - 4, "text-anchor": "end" }, xlabel);
  const valueAt = pixel => x[0] + ((pixel - edge.left) / (edge.right - edge.left)) * (x[1] - x[0]);
  return { toX, toY, valueAt, edge };
}

function path(xs, ys, scales) {
  return "M" + xs.map((x, i) => `${scales.toX(x).toFixed(1)},${scales.toY(ys[i]).toFixed(1)}`).join("L");
}

/** [lowest, highest] of the values with a margin, never of length 0. */
function span(values, margin) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = high > low ? (high - low) * margin : Math.abs(low) * 0.1 || 1;
  return high > low && margin === 0 ? [low, high] : [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

// Line charts --------------------------------------------------------------------------------------------------------

const DASHES = ["none", "7 3", "2 4", "9 3 2 3", "none", "4 3", "12 4", "2 4", "9 3 2 3"];

function lineChart(figure, chart) {
  const svg = figure.querySelector(".plot > svg"), plot = figure.querySelector(".plot");
  const tooltip = figure.querySelector(".tooltip"), legend = figure.querySelector(".legend");
  const hidden = new Set();
  let scales = null, marks = null, stops = [], at = -1, strong = null;

  const colour = line => `var(--line-${line.colour})`;
  const dash = line => DASHES[line.style % DASHES.length];
  const all = chart.lines.flatMap(line => line.y), extent = Math.max(...all) - Math.min(...all);
  const digits = extent >= 10 || extent === 0 ? 1 : Math.min(6, 2 - Math.floor(Math.log10(extent)));
  const exact = value => written(value, digits, digits);
  const shown = () => chart.lines.filter(line => !hidden.has(line));

  function redraw() {
    const lines = shown(), drawn = lines.length ? lines : chart.lines;
    const ys = drawn.flatMap(line => [...line.y, ...(line.low ?? []), ...(line.high ?? [])]);
    scales = axes(svg, span(drawn.flatMap(line => line.x), 0), span(ys, 0.06), chart.xlabel, chart.ylabel);
    stops = [...new Set(lines.flatMap(line => line.x))].sort((a, b) => a - b);
    for (const line of lines.filter(line => line.low)) {
      const back = path([...line.x].reverse(), [...line.low].reverse(), scales).replace("M", "L");
      draw(svg, "path", { class: "band", d: `${path(line.x, line.high, scales)}${back}Z`, fill: colour(line) });
    }
    for (const line of lines) {
      const group = draw(svg, "g", { class: "series", opacity: strong && strong !== line ? 0.2 : 1 });
      group.dataset.name = line.name;
      draw(group, "path", { class: "line", d: path(line.x, line.y, scales), stroke: colour(line), "stroke-dasharray": dash(line) });
      if (line.x.length <= 30) line.x.forEach((x, i) => draw(group, "circle", { cx: scales.toX(x), cy: scales.toY(line.y[i]), r: 2.6, fill: colour(line) }));
    }
    marks = draw(svg, "g");
    if (!lines.length) draw(svg, "text", { x: (scales.edge.left + scales.edge.right) / 2, y: 120, "text-anchor": "middle" }, "All lines are hidden.");
    plot.setAttribute("aria-valuemax", Math.max(0, stops.length - 1));
    read(at < 0 ? -1 : Math.min(at, stops.length - 1));
  }

  /** Show the values at stop number `index` of all lines, or none for -1. */
  function read(index) {
    at = index;
    marks.replaceChildren();
    tooltip.hidden = index < 0;
    if (index < 0) return;
    const x = stops[index], place = scales.toX(x);
    const rows = shown().map(line => [line, line.x.indexOf(x)]).filter(([, i]) => i >= 0).sort((a, b) => b[0].y[b[1]] - a[0].y[a[1]]);
    draw(marks, "line", { class: "cursor", x1: place, x2: place, y1: scales.edge.top, y2: scales.edge.bottom });
    tooltip.replaceChildren();
    put(tooltip, "b", `${chart.xlabel}: ${written(x)}`);
    const table = put(tooltip, "div"), spoken = [];
    for (const [line, i] of rows) {
      draw(marks, "circle", { class: "dot", cx: place, cy: scales.toY(line.y[i]), r: 4.5, fill: colour(line) });
      const range = line.low ? ` (${exact(line.low[i])} to ${exact(line.high[i])})` : "";
      put(table, "i").style.background = colour(line);
      put(table, "span", line.name);
      put(table, "span", exact(line.y[i]) + range, "value");
      spoken.push(`${line.name} ${exact(line.y[i])}${range}`);
    }
    const room = plot.clientWidth - tooltip.offsetWidth;
    const beside = place + 12 <= room ? place + 12 : place - 12 - tooltip.offsetWidth;
    tooltip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
    // under the plot, where it hides no line, unless that is out of sight
    const under = plot.getBoundingClientRect().bottom + 4 + tooltip.offsetHeight < innerHeight;
    tooltip.style.top = under ? `${plot.clientHeight + 4}px` : "8px";
    plot.setAttribute("aria-valuenow", index);
    plot.setAttribute("aria-valuetext", `${chart.xlabel} ${written(x)}: ${spoken.join(", ")}`);
  }

  for (const line of chart.lines) {
    const button = put(legend, "button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const sample = draw(button, "svg", { viewBox: "0 0 24 8", "aria-hidden": "true" });
    draw(sample, "path", { class: "line", d: "M1,4L23,4", stroke: colour(line), "stroke-dasharray": dash(line) });
    put(button, "span", line.name);
    button.addEventListener("click", () => {
      hidden.has(line) ? hidden.delete(line) : hidden.add(line);
      button.setAttribute("aria-pressed", String(!hidden.has(line)));
      strong = hidden.has(line) ? null : line;
      redraw();
    });
    // the line that is pointed at stands out of the others
    const stress = chosen => () => { strong = chosen && !hidden.has(chosen) ? chosen : null; redraw(); };
    button.addEventListener("pointerenter", event => event.pointerType === "mouse" && stress(line)());
    button.addEventListener("pointerleave", stress(null));
    button.addEventListener("blur", stress(null));
  }
  const nearest = event => {
    const x = scales.valueAt(event.clientX - svg.getBoundingClientRect().left);
    return stops.reduce((best, stop, i) => (best < 0 || Math.abs(stop - x) < Math.abs(stops[best] - x) ? i : best), -1);
  };
  svg.addEventListener("pointermove", event => read(nearest(event)));
  svg.addEventListener("pointerdown", event => read(nearest(event)));
  svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse" && document.activeElement !== plot) read(-1); });
  plot.addEventListener("focus", () => { if (at < 0 && stops.length) read(0); });
  plot.addEventListener("blur", () => read(-1));
  plot.addEventListener("keydown", event => {
    const last = stops.length - 1;
    const goal = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") read(-1);
    else if (goal !== undefined && last >= 0 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      read(Math.max(0, Math.min(last, goal)));
    }
  });
  new ResizeObserver(redraw).observe(svg);
  redraw();
}

const chartData = document.getElementById("chart-data");
if (chartData) {
  const charts = JSON.parse(chartData.textContent);
  for (const figure of document.querySelectorAll(".chart")) lineChart(figure, charts[+figure.dataset.chart]);
}

// Tables: a column's head sorts each block of rows by it; the blocks stay apart ----------------------------------------

/** What a cell sorts by: "81.5 ± 0.3" by 81.5, words as they are, null for nothing measured ("—"). */
function sortKey(text) {
  const bare = text.trim().replace(/^−/, "-");
  if (bare === "" || bare === "—" || bare === "nan") return null;
  return /^[-+]?\.?\d/.test(bare) ? parseFloat(bare.replaceAll(",", "")) : bare.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en");
  return typeof a === "number" ? -1 : 1; // numbers before words
}

for (const table of document.querySelectorAll("table")) {
  const blocks = [...table.tBodies].map(body => [body, [...body.rows].filter(row => !row.classList.contains("heading"))]);
  const heads = [...table.tHead.rows[0].cells];
  const following = { none: "ascending", ascending: "descending", descending: "none" };
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const order = following[head.getAttribute("aria-sort")], sign = order === "descending" ? -1 : 1;
      for (const other of heads) other.setAttribute("aria-sort", other === head ? order : "none");
      for (const [body, rows] of blocks) {
        const keyed = rows.map(row => [sortKey(row.cells[head.cellIndex].textContent), row]);
        // what was not measured comes last, whichever way the others go
        if (order !== "none") keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
        body.append(...keyed.map(([, row]) => row));
      }
    });
  }
}

// Navigation: the section being read is marked -------------------------------------------------------------------------

const links = [...document.querySelectorAll("nav a")];
const targets = links.map(link => document.querySelector(link.getAttribute("href")));
function markSection() {
  const start = innerHeight * 0.3, tops = targets.map(target => target.getBoundingClientRect().top);
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
  let read = atEnd ? targets.length - 1 : tops.findLastIndex(top => top < start);
  // sections that are short, or too near the end to scroll up: the one that was asked for, while its head is in sight
  const asked = targets.findIndex(target => `#${target.id}` === location.hash);
  if (tops[asked] >= 0 && tops[asked] < (atEnd ? innerHeight : start)) read = asked;
  links.forEach((link, i) => (i === read ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
}
addEventListener("hashchange", markSection);
addEventListener("scroll", markSection, { passive: true });
markSection();
