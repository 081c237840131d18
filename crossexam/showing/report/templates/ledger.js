// Filter, search and sort the ledger. The page is whole without it.
"use strict";
(() => {
  const table = document.getElementById("ledger");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const inputs = Object.fromEntries(["search", "field", "tier", "outcome", "verdict"].map((id) => [id, document.getElementById(id)]));

  function filter() {
    const words = inputs.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { field, tier, outcome, verdict } = Object.fromEntries(Object.entries(inputs).map(([id, input]) => [id, input.value]));
    const tiers = tier ? [tier] : ["exact", "small", "full"];
    let shown = 0;
    for (const row of rows) {
      const found = tiers.map((name) => row.dataset[`${name}Verdicts`].split("|").filter(Boolean));
      const keeps =
        words.every((word) => row.dataset.text.includes(word)) &&
        (!field || row.dataset.field === field) &&
        (!tier || found[0].length > 0) &&
        (!outcome || row.dataset.outcomes.split("|").includes(outcome)) &&
        (!verdict || found.some((names) => names.includes(verdict)));
      row.hidden = !keeps;
      shown += keeps;
    }
    document.getElementById("shown").textContent = `${shown} ${shown === 1 ? "paper" : "papers"}`;
  }

  function sort(button) {
    const head = button.closest("th");
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const key = button.dataset.sort;
    const value = (row) => (["title", "last"].includes(key) ? row.dataset[key] : Number(row.dataset[key]));
    rows.sort((a, b) => (value(a) < value(b) ? -direction : value(a) > value(b) ? direction : 0));
    body.append(...rows);
  }

  for (const input of Object.values(inputs)) input.addEventListener("input", filter);
  for (const button of table.querySelectorAll("button[data-sort]")) button.addEventListener("click", () => sort(button));
})();
