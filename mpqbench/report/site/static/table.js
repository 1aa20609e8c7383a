"use strict";
// The sortable table: Tabulator with virtual rows, and formatters that make text nodes.
Site.table = (() => {
  const { data, make, text, value, link } = Site;
  const shown = data.columns
    .map((column, at) => ({ ...column, at }))
    .filter((column) => column.view !== "data" && column.name !== "model");
  // First what names a row, then distance and cost, then all else.
  const keys = ["format", "rank"];
  const leading = window.innerWidth > 700 ? ["method", "budget", ...keys, "fd"] : ["method", "budget", "fd"];
  leading.push( "fd_delta", ...data.totals);
  const order = (column) => (leading.includes(column.name) ? leading.indexOf(column.name) : leading.length);
  const ordered = [...shown].sort((a, b) => order(a) - order(b));
  const hasValue = (column) => data.rows.some((row) => row.cells[column.at] !== null);
  const isNumber = (column) => data.rows.some((row) => Array.isArray(row.cells[column.at]));

  const formatter = (column) => (cell) => {
    const row = data.rows[cell.getRow().getData().id];
    const words = text(row, column.name);
    if (column.name === "fd_delta") return make("span", {}, `${words} ${text(row, "ties")}`.trim());
    const isBest = column.name === "fd" && value(row, "rank") === 1;
    if (column.name !== "method") return make(isBest ? "strong" : "span", {}, words);
    return make("a", { href: link(row) }, words);
  };

  const widths = { method: window.innerWidth > 700 ? 190 : 130, rank: 62, budget: 84, format: 112 };
  const define = (column) => ({
    title: column.header + ({ lower: " ↓", higher: " ↑" }[column.role === "score" && column.direction] || ""),
    field: `c${column.at}`,
    formatter: formatter(column),
    titleFormatter: (cell) => make("span", {}, cell.getValue()),
    hozAlign: isNumber(column) ? "right" : "left",
    headerHozAlign: isNumber(column) ? "right" : "left",
    sorter: isNumber(column) ? "number" : "string",
    sorterParams: { alignEmptyValues: "bottom" },
    headerSortStartingDir: column.direction === "higher" ? "desc" : "asc",
    minWidth: widths[column.name] || 104,
    ...(column.name === "method" && window.innerWidth <= 700 ? { width: 130 } : {}),
    frozen: column.name === "method" && window.innerWidth > 700,
    visible: true,
  });

  const columns = ordered.filter(hasValue);
  const rows = data.rows.map((row, id) => {
    const object = { id };
    for (const column of columns) object[`c${column.at}`] = value(row, column.name) ?? null;
    return object;
  });

  // Build the table; call ``ready`` when filters and columns may be changed.
  const build = (ready) => {
    const table = new Tabulator("#table", {
      data: rows,
      columns: columns.map(define),
      layout: "fitDataFill",
      maxHeight: "36rem",
      rowHeight: 34,
      nestedFieldSeparator: false,
      placeholder: "No row has these settings",
      columnDefaults: { resizable: false, tooltip: false, headerTooltip: false },
    });
    table.on("tableBuilt", () => {
      const holder = document.querySelector("#table .tabulator-tableholder");
      holder.setAttribute("aria-label", "Rows of the leaderboard");
      makeHeadersReachable();
      ready();
    });
    const field = (name) => `c${columns.find((column) => column.name === name)?.at}`;
    return {
      filter: (keep) => table.setFilter((object) => keep(data.rows[object.id])),
      total: (name) => {
        for (const other of data.totals) {
          const column = table.getColumn(field(other));
          if (column) (other === name ? column.show() : column.hide());
        }
      },
    };
  };

  // Headers sort by keyboard as they do by a click.
  const makeHeadersReachable = () => {
    for (const header of document.querySelectorAll("#table .tabulator-col.tabulator-sortable")) {
      header.tabIndex = 0;
      header.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        header.click();
      });
    }
  };

  return { build };
})();
