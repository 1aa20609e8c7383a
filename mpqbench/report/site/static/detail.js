"use strict";
// The view of one record, opened by the address #job=BOARD/JOB.
Site.detail = (() => {
  const { data, make, text, byLink } = Site;
  const dialog = document.getElementById("detail");
  const shared = (place) => (place === null ? null : data.shared[place]);

  // Return rows "name: value" of an object; nested objects are flattened with dots.
  const flat = (object, before = "") =>
    Object.entries(object || {}).flatMap(([key, each]) =>
      each !== null && typeof each === "object" && !Array.isArray(each)
        ? flat(each, `${before}${key}.`)
        : [[before + key, each]]);
  const words = (each) =>
    typeof each === "number" ? each.toLocaleString("en", { maximumSignificantDigits: 6 })
      : Array.isArray(each) ? each.join(", ") : String(each);
  const list = (pairs) =>
    make("dl", {}, ...pairs
      .filter(([, each]) => each !== null && each !== "" && !(Array.isArray(each) && !each.length))
      .flatMap(([key, each]) => [make("dt", {}, key.replace(/[_.]/g, " ")), make("dd", {}, words(each))]));
  const part = (title, ...children) => make("section", {}, make("h3", {}, title), ...children);

  // Return a map of the bits of every group; darker cells have more bits.
  const bitsMap = (groups, bits) => {
    const grade = (each) => {
      const found = /^W(\d+)/.exec(each);
      return found ? Math.min(8, Number(found[1])) : 8;
    };
    return make("ol", { class: "bits" }, ...groups.map((group, i) =>
      make("li", { class: `w${grade(bits[i])}` }, make("span", {}, group), make("b", {}, bits[i]))));
  };

  const sections = (row) => {
    const { details } = row;
    const scores = data.columns
      .filter((column) => ["score", "cost", "rank"].includes(column.role))
      .map((column) => [column.header, text(row, column.name)]);
    const remarks = ["reason", "remark", "notes"].map((name) => text(row, name)).filter(Boolean);
    const [groups, bits] = [shared(details.groups), shared(details.bits)];
    const files = [["Record (JSON)", details.file]];
    if (details.bits_file) files.push(["Allocation (JSON)", details.bits_file]);
    const samples = details.samples;
    return [
      ...remarks.map((each) => make("p", { class: "remark" }, each)),
      part("Scores and costs", list(scores)),
      part("Files", make("ul", {}, ...files.map(([name, path]) =>
        make("li", {}, make("a", { href: path.split("/").map(encodeURIComponent).join("/") }, name))))),
      ...(samples ? [part("Samples", make("img", {
        src: samples.split("/").map(encodeURIComponent).join("/"),
        alt: "Images of the same seeds at several precisions" }))] : []),
      part("Recipe", list(flat(shared(details.recipe)))),
      part("Allocation", ...(groups ? [bitsMap(groups, bits)]
        : [list(flat(shared(details.allocation))), make("p", {}, "The bits of single groups were not kept.")])),
      part("Protocol", list(flat(shared(details.protocol)))),
      part("Seconds by stage", list(flat(details.seconds))),
      part("Counted costs", list(flat(details.costs))),
      part("Environment", list([...flat(shared(details.provenance)),
        ["started", details.times[0]], ["finished", details.times[1]]])),
    ];
  };

  const open = (row) => {
    const close = make("button", { type: "button", class: "close" }, "Close");
    close.addEventListener("click", () => dialog.close());
    const title = `${text(row, "method")} at ${text(row, "budget")}`;
    const where = `${data.comparisons[row.at].name}, seed ${text(row, "seed")}, ${text(row, "status")}`;
    dialog.replaceChildren(
      make("div", { class: "bar" },
        make("div", {}, make("h2", { id: "detail-title" }, title), make("p", {}, where)), close),
      make("div", { class: "parts" }, ...sections(row)));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };

  const follow = () => {
    const row = byLink.get(window.location.hash);
    if (row) open(row);
    else if (dialog.open) dialog.close();
  };
  dialog.addEventListener("close", () => {
    if (window.location.hash.startsWith("#job=")) {
      window.history.replaceState(null, "", window.location.pathname + window.location.search);
    }
  });
  window.addEventListener("hashchange", follow);
  return { follow };
})();
