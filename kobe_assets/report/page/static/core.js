// The page's data and choices, and how numbers are written. Text from the data reaches the page as text only.
const data = JSON.parse(document.getElementById("payload").textContent);
const chosen = { book: document.getElementById("payload").dataset.book, fold: 0, scale: "all" };
const byId = (id) => document.getElementById(id);
const all = (query, root = document) => [...root.querySelectorAll(query)];
const book = () => data.books[chosen.book];
const narrow = () => window.innerWidth < 760;

const DAY_MS = 86400000;
const isoDay = (days) => new Date(days * DAY_MS).toISOString().slice(0, 10);

// Undo listings.pack_days: distances to days, days to dates.
function unpackDays(steps) {
  let day = 0;
  return steps.map((step) => isoDay((day += step)));
}

// Undo listings._differences: null stays null, the rest add up.
function unpackSteps(steps, scale) {
  let sum = 0;
  return steps.map((step) => (step === null ? null : (sum += step) / scale));
}

// Plotly reads a little HTML in its texts; data must not be able to write it.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const missing = (value) => value === null || value === undefined || !Number.isFinite(value);
const minus = (text) => text.replace(/^-(?=[0.]+$)/, "").replace(/-/g, "−");  // no minus before a zero
const write = {
  count: (v) => (missing(v) ? "–" : v.toLocaleString("en-US")),
  ratio: (v) => (missing(v) ? "–" : minus(v.toFixed(2))),
  r: (v) => (missing(v) ? "–" : minus((v > 0 ? "+" : "") + v.toFixed(2)) + " R"),
  percent: (v, digits = 1) => (missing(v) ? "–" : minus((v * 100).toFixed(digits)) + " %"),
  money: (v) => {
    if (missing(v)) return "–";
    const digits = Math.abs(v) >= 1000 ? 0 : 2;
    const text = Math.abs(v).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (v < 0 ? "−$" : "$") + text;
  },
  price: (v) => (missing(v) ? "–" : "$" + v.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(v) < 1 ? 4 : 2 })),
};

const foldRows = () => (chosen.fold ? book().folds.filter((row) => row.fold === chosen.fold) : book().folds);
const scopeText = (fold) => `${book().strategy} · ${book().mode} · ${fold ? "fold " + fold : "all folds"}`;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
