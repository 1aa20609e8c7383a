"use strict";
// The switches: what is chosen decides the rows of the table and the points of the plot.
(() => {
  const { data, make, text } = Site;
  const by = (id) => document.getElementById(id);
  const distinct = (values) => [...new Set(values)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const option = (value, name) => make("option", { value }, name);

  const comparisons = data.comparisons.map((each, i) => [String(i), each.name]);
  const counts = data.comparisons.map((_, i) => data.rows.filter((row) => row.at === i).length);
  const quick = data.comparisons.findIndex((each) => each.board === "quick");
  const first = quick >= 0 ? quick : counts.indexOf(Math.max(...counts));
  const headers = Object.fromEntries(data.columns.map((column) => [column.name, column.header]));

  const fill = (id, pairs, all) => {
    const chosen = by(id).value;
    by(id).replaceChildren(...(all ? [option("", all)] : []), ...pairs.map((pair) => option(...pair)));
    if (pairs.some(([value]) => value === chosen)) by(id).value = chosen;
  };
  const names = (column) => distinct(data.rows.map((row) => text(row, column)).filter(Boolean)).map((each) => [each, each]);

  fill("comparison", comparisons, "all");
  by("comparison").value = String(first);
  fill("model", names("model"), "all");
  fill("budget", names("budget").filter(([each]) => each !== "FP"), "all");
  fill("format", names("format").filter(([each]) => each !== "FP"), "all");
  fill("total", data.totals.map((name) => [name, headers[name]]));

  // Full precision is the reference: the row stays whatever budget or format class is chosen.
  const keeps = (row) => {
    const full = text(row, "format") === "FP";
    const alike = (id) => !by(id).value || text(row, id) === by(id).value;
    const wanted = by("search").value.trim().toLowerCase();
    return (!by("comparison").value || row.at === Number(by("comparison").value))
      && alike("model") && (full || (alike("budget") && alike("format")))
      && (!wanted || text(row, "method").toLowerCase().includes(wanted));
  };

  let rows = [];
  const update = () => {
    rows = data.rows.filter(keeps);
    by("count").textContent = `${rows.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} rows`;
    table.filter(keeps);
    table.total(by("total").value);
    Site.plot.show(rows, by("total").value);
    const chosen = data.comparisons[Number(by("comparison").value)];
    const notes = by("comparison").value ? chosen.notes : [];
    by("notes").replaceChildren(...notes.map((each) => make("li", {}, each)));
  };

  by("model").addEventListener("change", () => {
    const model = by("model").value;
    fill("comparison", comparisons.filter((_, i) => !model || data.comparisons[i].model === model), "all");
  });
  let wait = 0;
  by("switches").addEventListener("change", update);
  by("search").addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(update, 150); });
  by("switches").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("resize", () => { clearTimeout(wait); wait = setTimeout(update, 150); });
  const table = Site.table.build(() => { update(); Site.detail.follow(); });
})();
