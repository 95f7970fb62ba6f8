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

// A table of the data. heads: [name, "num" or "text"]. rows: { head: {text, sort, kind, href, button}, cells: [[text, sort, class]], data }.
function fillTable(table, caption, heads, rows, none = "None.") {
  const head = element("thead"), line = element("tr"), body = element("tbody");
  heads.forEach(([text, kind]) => {
    const cell = element("th", undefined, kind), button = element("button", text, "sort");
    cell.scope = "col"; cell.setAttribute("aria-sort", "none"); button.type = "button";
    cell.append(button); line.append(cell);
  });
  head.append(line);
  body.append(...rows.map(tableRow));
  if (!rows.length) {
    const empty = element("tr"), cell = element("td", none, "empty");
    cell.colSpan = heads.length; empty.append(cell); body.append(empty);
  }
  table.replaceChildren(element("caption", caption, "sr"), head, body);
}

function tableRow({ head, cells, data: marks = {} }) {
  const line = element("tr"), name = element("th", undefined, head.kind);
  Object.assign(line.dataset, marks);
  name.scope = "row"; name.dataset.sort = head.sort ?? head.text;
  if (head.href) { const link = element("a", head.text); link.href = head.href; name.append(link); }
  else if (head.button) { const button = element("button", head.text, "choose"); button.type = "button"; Object.assign(button.dataset, head.button); name.append(button); }
  else name.textContent = head.text;
  line.append(name, ...cells.map(([text, sort, kind]) => { const cell = element("td", text, kind); cell.dataset.sort = sort ?? ""; return cell; }));
  return line;
}
