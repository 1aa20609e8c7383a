"use strict";
// The Fréchet distance against a cost, as SVG: points are links to their records.
Site.plot = (() => {
  const { data, make, text, value, half, link } = Site;
  const MOST = 2000; // points; more are slow to draw and hide each other
  const COLOURS = 7; // methods with a colour of their own; beyond, only the front has one
  const SVG = "http://www.w3.org/2000/svg";
  const column = (name) => data.columns.find((each) => each.name === name);

  const draw = (name, attributes, ...children) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, each] of Object.entries(attributes)) element.setAttribute(key, each);
    element.append(...children);
    return element;
  };

  // Return ticks 1, 2, 5 times powers of ten within [low, high], which are positive.
  const ticks = (low, high) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of [1, 2, 5]) {
        const tick = Number((factor * 10 ** power).toPrecision(1));
        if (tick >= low && tick <= high) found.push(tick);
      }
    }
    return found;
  };
  const thinned = (found, most) => {
    const step = Math.ceil(found.length / most);
    return found.filter((_, i) => i % step === 0);
  };
  const number = (tick) => (tick >= 1e5 ? tick.toExponential(0) : String(tick));

  const scale = (values, from, to) => {
    const low = Math.min(...values) / 1.12;
    const high = Math.max(...values) * 1.12;
    const span = Math.log(high / low);
    return { low, high, at: (each) => from + ((to - from) * Math.log(each / low)) / span };
  };

  // Return the points that no other point beats in both cost and distance, by cost.
  const front = (points) => {
    let best = Infinity;
    return [...points]
      .sort((a, b) => a.x - b.x || a.y - b.y)
      .filter((point) => point.y < best && ((best = point.y), true));
  };

  const clear = (message) => {
    document.getElementById("plot").replaceChildren();
    document.getElementById("plot-caption").textContent = message;
  };

  const show = (rows, total) => {
    if (new Set(rows.map((row) => row.at)).size > 1) {
      return clear("Choose one leaderboard to see distance against cost: rows that are judged by "
        + "different protocols are not drawn together.");
    }
    const unit = column(total).scale;
    let points = rows
      .filter((row) => value(row, "fd") > 0 && value(row, total) > 0)
      .map((row) => ({ row, x: value(row, total) / unit, y: value(row, "fd"), ci: half(row, "fd"),
        full: text(row, "format") === "FP", method: text(row, "method") }));
    if (!points.length) return clear("No row here has a distance and a cost.");
    const cut = points.length > MOST;
    if (cut) points = points.sort((a, b) => a.y - b.y).slice(0, MOST);
    const methods = [...new Set(points.filter((p) => !p.full).map((p) => p.method))].sort();
    const coloured = methods.length <= COLOURS;
    paint(points, front(points), total, (point) => point.full ? "full"
      : coloured ? `m${methods.indexOf(point.method)}` : "grey");
    caption(points, methods, coloured, cut);
  };

  const paint = (points, best, total, shade) => {
    const host = document.getElementById("plot");
    const width = Math.max(300, host.clientWidth);
    const height = width < 560 ? 300 : 400;
    const box = { left: 58, right: width - 16, top: 14, bottom: height - 50 };
    const x = scale(points.map((p) => p.x), box.left, box.right);
    const ends = points.flatMap((p) => [p.y + p.ci, Math.max(p.y - p.ci, p.y / 2)]);
    const y = scale(ends, box.bottom, box.top);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group",
      "aria-label": `${column("fd").header} against ${column(total).header}` });
    for (const tick of thinned(ticks(x.low, x.high), width < 560 ? 5 : 10)) {
      svg.append(draw("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: box.top, y2: box.bottom }));
      svg.append(draw("text", { x: x.at(tick), y: box.bottom + 18, "text-anchor": "middle" }, number(tick)));
    }
    for (const tick of thinned(ticks(y.low, y.high), 8)) {
      svg.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(tick), y2: y.at(tick) }));
      svg.append(draw("text", { x: box.left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, number(tick)));
    }
    svg.append(draw("text", { class: "axis", x: (box.left + box.right) / 2, y: height - 10, "text-anchor": "middle" },
      `${column(total).header} (log)`));
    const middle = (box.top + box.bottom) / 2;
    svg.append(draw("text", { class: "axis", x: 14, y: middle, "text-anchor": "middle",
      transform: `rotate(-90 14 ${middle})` }, `${column("fd").header} (log), lower is better`));
    const path = best.map((p, i) => (i ? `H${x.at(p.x)}V${y.at(p.y)}` : `M${x.at(p.x)} ${y.at(p.y)}`));
    svg.append(draw("path", { class: "front", d: path.join("") }));
    const inFront = new Set(best);
    for (const point of [...points].sort((a, b) => inFront.has(a) - inFront.has(b))) {
      svg.append(mark(point, x, y, `${shade(point)}${inFront.has(point) ? " best" : ""}`));
    }
    host.replaceChildren(svg);
  };

  const mark = (point, x, y, kind) => {
    const anchor = draw("a", { href: link(point.row), class: `point ${kind}`, "aria-label": words(point.row).join(", ") });
    const [cx, cy] = [x.at(point.x), y.at(point.y)];
    if (point.ci > 0) {
      const low = y.at(Math.max(point.y - point.ci, y.low));
      anchor.append(draw("line", { x1: cx, x2: cx, y1: y.at(point.y + point.ci), y2: low }));
    }
    anchor.append(draw("circle", { cx, cy, r: 5 }));
    for (const event of ["mouseenter", "focus"]) anchor.addEventListener(event, () => tip(anchor, point.row));
    for (const event of ["mouseleave", "blur"]) anchor.addEventListener(event, () => { hideTip(); });
    return anchor;
  };

  const words = (row) => [
    text(row, "method"),
    `${text(row, "budget")}, ${text(row, "format")}, seed ${text(row, "seed")}`,
    ...["fd", "fd_delta", ...data.totals]
      .filter((name) => text(row, name))
      .map((name) => `${column(name).header} ${text(row, name)}`),
  ];

  const hideTip = () => { document.getElementById("tip").hidden = true; };
  const tip = (anchor, row) => {
    const box = document.getElementById("tip");
    const [first, ...rest] = words(row);
    box.replaceChildren(make("strong", {}, first), ...rest.map((line) => make("div", {}, line)));
    box.hidden = false;
    const at = anchor.querySelector("circle").getBoundingClientRect();
    const left = Math.min(at.right + 10, window.innerWidth - box.offsetWidth - 8);
    box.style.left = `${Math.max(8, left) + window.scrollX}px`;
    box.style.top = `${Math.max(8, at.top - box.offsetHeight - 6) + window.scrollY}px`;
  };

  const caption = (points, methods, coloured, cut) => {
    const parts = [];
    if (points.some((point) => point.full)) parts.push(["full", "full precision"]);
    if (coloured) methods.forEach((name, i) => parts.push([`m${i}`, name]));
    else parts.push(["grey", `${methods.length} methods`], ["grey best", "none is better in both"]);
    const note = "The line joins rows that no other row beats in both; bars are 95 % intervals."
      + (cut ? ` Only the ${MOST} rows of least distance are drawn.` : "");
    document.getElementById("plot-caption").replaceChildren(
      make("span", { class: "legend" }, ...parts.map(([kind, name]) =>
        make("span", {}, make("i", { class: `dot ${kind}` }), name))),
      make("span", {}, note));
  };

  return { show };
})();
