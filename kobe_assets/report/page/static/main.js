// Choices, theme, links: what ties the page together.
const FOLLOW_FOLD = ["equity", "scatter", "path", "flow", "r", "exits", "held", "excursions"];

function showChoices() {
  all("[data-book]:not(script)").forEach((part) => { part.hidden = part.dataset.book !== chosen.book; });
  all("[data-col]").forEach((cell) => cell.classList.toggle("chosen", cell.dataset.col === chosen.book));
  all("th.chosen").forEach(bringIntoView);
  all("[data-row]").forEach((row) => row.classList.toggle("chosen", row.dataset.row === chosen.book));
  all("[data-fold]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.fold) === chosen.fold));
  all("[data-scope]").forEach((text) => { text.textContent = scopeText(text.dataset.scope === "book" ? 0 : chosen.fold); });
  all("input[name=strategy]").forEach((input) => { input.checked = input.value === book().strategy; });
  all("input[name=mode]").forEach((input) => { input.checked = input.value === book().mode; });
  byId("pick-fold").value = String(chosen.fold);
  all("option", byId("pick-fold")).forEach((option) => { option.disabled = option.value !== "0" && !book().folds.some((row) => row.fold === Number(option.value)); });
  drawListing();
  tradeLines();
}

// In a table wider than the screen the chosen column comes next to the names, which stay.
function bringIntoView(head) {
  head.closest(".scroll").scrollLeft = head.offsetLeft - head.parentElement.cells[0].offsetWidth;
}

function chooseBook(key) {
  if (!data.books[key]) return;
  chosen.book = key;
  if (chosen.fold && !book().folds.some((row) => row.fold === chosen.fold)) chosen.fold = 0;
  showChoices();
  draw();
}

function chooseFold(fold) {
  chosen.fold = fold;
  showChoices();
  draw(FOLLOW_FOLD);
}

// A strategy may lack a mode: then the first it has.
function chooseFrom(strategy, mode) {
  const keys = Object.keys(data.books).filter((key) => data.books[key].strategy === strategy);
  chooseBook(keys.find((key) => data.books[key].mode === mode) || keys[0]);
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* a page from disk may keep nothing */ }
}

function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function isDark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function recolour() {
  draw();
  if (byId("trade-dialog").open) followLink();
}

function openTarget() {
  // A link to a word leads into a folded list: unfold it first.
  const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest("details");
  if (folded && !folded.open) { folded.open = true; target.scrollIntoView(); }
}

function watchSections() {
  const links = new Map(all(".toc a").map((link) => [link.getAttribute("href").slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      links.forEach((link, id) => (id === entry.target.id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    });
  }, { rootMargin: "-20% 0px -70% 0px" });
  links.forEach((_, id) => byId(id) && seen.observe(byId(id)));
}

const saved = recall("kobe-theme");
if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
byId("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  remember("kobe-theme", next);
  recolour();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("sort")) sortBy(button);
  if (button.dataset.choose) chooseBook(button.dataset.choose);
  if (button.dataset.foldChoose) chooseFold(Number(button.dataset.foldChoose) === chosen.fold ? 0 : Number(button.dataset.foldChoose));
});
document.addEventListener("change", (event) => {
  const { name, value, id } = event.target;
  if (name === "strategy") chooseFrom(value, book().mode);
  if (name === "mode") chooseFrom(book().strategy, value);
  if (name === "scale") { chosen.scale = value; draw(["equity"]); }
  if (id === "pick-fold") chooseFold(Number(value));
});
window.addEventListener("hashchange", () => { followLink(); openTarget(); });
byId("trade-close").addEventListener("click", () => byId("trade-dialog").close());
byId("trade-dialog").addEventListener("click", (event) => { if (event.target === byId("trade-dialog")) byId("trade-dialog").close(); });
byId("trade-dialog").addEventListener("close", () => { if (linkedTrade() !== null) history.replaceState(null, "", location.pathname + location.search); });

let wasNarrow = narrow();
window.addEventListener("resize", () => {
  if (narrow() !== wasNarrow) { wasNarrow = narrow(); if (book()) draw(); }
});
watchSections();
if (book()) { showChoices(); draw(); followLink(); }
else document.documentElement.dataset.drawn = "yes";
openTarget();
