"use strict";
// The theme follows the system until the switch is used; the choice is kept where storage works.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const keep = (theme) => {
    try { localStorage.setItem("mpqbench-theme", theme); } catch { /* Storage is forbidden. */ }
  };
  let kept = null;
  try { kept = localStorage.getItem("mpqbench-theme"); } catch { /* Storage is forbidden. */ }
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    keep(root.dataset.theme);
  });
})();
