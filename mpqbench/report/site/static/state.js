"use strict";
// The data of the page, and small helpers. Text from records becomes text nodes only.
const Site = (() => {
  const data = JSON.parse(document.getElementById("site-data").textContent);
  const place = Object.fromEntries(data.columns.map((column, i) => [column.name, i]));

  const cell = (row, name) => row.cells[place[name]];
  const text = (row, name) => {
    const found = cell(row, name);
    return found === null || found === undefined ? "" : Array.isArray(found) ? found[1] : found;
  };
  const value = (row, name) => {
    const found = cell(row, name);
    return Array.isArray(found) ? found[0] : found;
  };
  const half = (row, name) => {
    const found = cell(row, name);
    return Array.isArray(found) && found.length > 2 ? found[2] : 0;
  };

  // Return a new element with attributes and children; strings become text nodes.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, each] of Object.entries(attributes)) element.setAttribute(key, each);
    element.append(...children);
    return element;
  };

  const link = (row) => {
    const board = data.comparisons[row.at].board;
    return `#job=${encodeURIComponent(board)}/${encodeURIComponent(text(row, "job"))}`;
  };
  const byLink = new Map(data.rows.map((row) => [link(row), row]));

  return { data, cell, text, value, half, make, link, byLink };
})();
