// Choices, theme, links: what ties the page together.
const FOLLOW_FOLD = ["equity", "at_work", "scatter", "path", "flow", "r", "exits", "held", "excursions"];

function showChoices() {
  all("[data-book]:not(script)").forEach((part) => { part.hidden = part.dataset.book !== chosen.book; });
  all("[data-col]").forEach((cell) => cell.classList.toggle("chosen", cell.dataset.col === chosen.book));
  all("th.chosen").forEach(bringIntoView);
  all("[data-row]").forEach((row) => row.classList.toggle("chosen", row.dataset.row === chosen.book));
  fillWindows();
  fillDrawdowns();
  showFold();
  all("[data-scope]").forEach((text) => { text.textContent = scopeText(text.dataset.scope === "book" ? 0 : chosen.fold); });
  all("input[name=strategy]").forEach((input) => { input.checked = input.value === book().strategy; });
  all("input[name=mode]").forEach((input) => { input.checked = input.value === book().mode; });
  byId("pick-fold").value = String(chosen.fold);
  all("option", byId("pick-fold")).forEach((option) => { option.disabled = option.value !== "0" && !hasFold(Number(option.value)); });
}

function showFold() {
  all("[data-fold]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.fold) === chosen.fold));
  all("[data-scope]").forEach((text) => { text.textContent = scopeText(text.dataset.scope === "book" ? 0 : chosen.fold); });
  byId("pick-fold").value = String(chosen.fold);
  tradeLines();
  list.page = 0;
  all(".unpacked").forEach((place) => { place.dataset.stale = ""; });
  fillUnpacked();
}

// Tables of the trades wait like charts until they are in view.
const tablesInView = new Set();
const tableWatch = new IntersectionObserver((entries) => {
  entries.forEach(({ target, isIntersecting }) => tablesInView[isIntersecting ? "add" : "delete"](target));
  fillUnpacked();
}, { rootMargin: "600px 0px" });
function fillUnpacked() {
  for (const place of tablesInView) {
    if (!("stale" in place.dataset) || !book()) continue;
    delete place.dataset.stale;
    const said = place.querySelector(".problem");
    said.textContent = "";
    (place.id === "trade-lists" ? drawListing() : drawTradeTable()).then(holdPlace).catch(() => { said.textContent = notBeside(); });
  }
}

// In a table wider than the screen the chosen column comes next to the names, which stay.
function bringIntoView(head) {
  head.closest(".scroll").scrollLeft = head.offsetLeft - head.parentElement.cells[0].offsetWidth;
}

function chooseBook(key) {
  if (!data.books[key] || key === chosen.book) return;
  chosen.book = key;
  chosen.trade = "";
  if (chosen.fold && !hasFold(chosen.fold)) chosen.fold = 0;
  remember();
  showChoices();
  draw();
}

function chooseFold(fold) {
  if (fold === chosen.fold) return;
  chosen.fold = fold;
  remember();
  showFold();
  draw(FOLLOW_FOLD);
}

// The address has changed: by a link, by back or forward, or by hand.
function followAddress() {
  const change = obeyAddress();
  if (!book()) { goTo(chosen.at); return; }
  if (change.book) { showChoices(); draw(); }
  else if (change.fold) { showFold(); draw(FOLLOW_FOLD); }
  remember(true);  // a place alone becomes the whole address, so that a link from here leads here
  followTrade();
  if (change.at && !chosen.trade) goTo(chosen.at);
}

function keep(name, value) {
  try { localStorage.setItem(name, value); } catch { /* a page from disk may keep nothing */ }
}

function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function recolour() {
  draw();
  followTrade();
}

function watchSections() {
  const links = new Map(all("nav a[href^='#']").map((link) => [link, byId(link.getAttribute("href").slice(1))]));
  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      links.forEach((section, link) => (section === entry.target ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    });
  }, { rootMargin: "-20% 0px -70% 0px" });
  new Set(links.values()).forEach((section) => section && seen.observe(section));
}

// Headings stop under the header, however tall it is.
function watchBar() {
  const bar = document.querySelector(".bar");
  new ResizeObserver(() => document.documentElement.style.setProperty("--bar", bar.offsetHeight + "px")).observe(bar);
}

const UNREAD_MS = 1500;

// Paper shows what was not in view yet.
function drawOnPaper(wasDark) {
  if (typeof Plotly !== "undefined") (wasDark ? Object.keys(charts) : [...stale]).forEach(drawChart);
}

function listen() {
  byId("theme").addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    keep("kobe-theme", next);
    recolour();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  document.addEventListener("click", (event) => {
    if (event.target.closest(".contents a")) event.target.closest("details").open = false;
    const button = event.target.closest("button");
    if (!button || clickedTradeTable(button)) return;
    if (button.classList.contains("sort")) sortBy(button);
    if (button.dataset.choose) chooseBook(button.dataset.choose);
    if (button.dataset.foldChoose) chooseFold(Number(button.dataset.foldChoose) === chosen.fold ? 0 : Number(button.dataset.foldChoose));
  });
  document.addEventListener("change", (event) => {
    const { name, value, id } = event.target;
    if (name === "strategy") chooseBook(keyOf(value, book().mode));
    if (name === "mode") chooseBook(keyOf(book().strategy, value));
    if (name === "scale") { chosen.scale = value; draw(["equity"]); }
    if (id === "pick-fold") chooseFold(Number(value));
  });
  listenToTradeFilters();
  window.addEventListener("hashchange", followAddress);
  window.addEventListener("popstate", followAddress);
  byId("trade-close").addEventListener("click", () => byId("trade-dialog").close());
  byId("trade-dialog").addEventListener("click", (event) => { if (event.target === byId("trade-dialog")) byId("trade-dialog").close(); });
  byId("trade-dialog").addEventListener("close", () => { if (chosen.trade) { chosen.trade = ""; remember(); } });
  let wasNarrow = narrow();
  window.addEventListener("resize", () => {
    if (narrow() !== wasNarrow) { wasNarrow = narrow(); if (book()) draw(); }
  });
  listenToPrinter(drawOnPaper, recolour);
  // So that a page that is printed unread has its charts; long after the first choices were answered.
  const whenIdle = window.requestIdleCallback || ((run) => run());
  setTimeout(() => whenIdle(() => plotlyLoaded().catch(() => undefined)), UNREAD_MS);
}

async function start() {
  const saved = recall("kobe-theme");
  if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
  watchSections();
  watchBar();
  try { data = JSON.parse(await unzipped(packedText("payload")).text()); } catch { cannotUnpack(); return; }
  listen();
  obeyAddress();
  if (book()) {
    showChoices();
    watchCharts();
    all(".unpacked").forEach((place) => tableWatch.observe(place));
    draw();
    remember(true);
    followTrade();
  } else document.documentElement.dataset.drawn = "yes";
  if (!chosen.trade) goTo(chosen.at);
}
start();
