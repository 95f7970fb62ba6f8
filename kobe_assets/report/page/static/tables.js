// Sorting by a click or key on a column's name.
function sortBy(button) {
  const head = button.closest("th"), table = button.closest("table"), index = [...head.parentElement.children].indexOf(head);
  const numeric = head.classList.contains("num"), down = head.getAttribute("aria-sort") === (numeric ? "descending" : "ascending");
  const direction = numeric ? (down ? 1 : -1) : (down ? -1 : 1);
  const key = (row) => {
    const cell = row.children[index], raw = cell.dataset.sort ?? cell.textContent.trim();
    return numeric ? (raw === "" || raw === "–" ? null : Number(raw.replace(/[^0-9eE.+−-]/g, "").replace("−", "-"))) : raw;
  };
  const compare = (a, b) => {
    const x = key(a), y = key(b);
    if (x === null || y === null) return (x === null) - (y === null);  // no value: last, whichever way
    return direction * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  all("th", head.parentElement).forEach((other) => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
}
