// What every page of research stands on: places, days, and how numbers are written. Text from the data reaches a page as text only.
const byId = (id) => document.getElementById(id);
const all = (query, root = document) => [...root.querySelectorAll(query)];
const narrow = () => window.innerWidth < 760;

const DAY_MS = 86400000;
const isoDay = (days) => new Date(days * DAY_MS).toISOString().slice(0, 10);

// Undo curves.pack_days: distances to days, days to dates.
function unpackDays(steps) {
  let day = 0;
  return steps.map((step) => isoDay((day += step)));
}

// Plotly reads a little HTML in its texts; data must not be able to write it.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const words = (code) => code.replace(/_/g, " ");

const missing = (value) => value === null || value === undefined || !Number.isFinite(value);
const minus = (text) => text.replace(/^-(?=[0.]+$)/, "").replace(/-/g, "−");  // no minus before a zero
const write = {
  count: (v) => (missing(v) ? "–" : v.toLocaleString("en-US")),
  ratio: (v) => (missing(v) ? "–" : minus(v.toFixed(2))),
  r: (v) => (missing(v) ? "–" : minus((v > 0 ? "+" : "") + v.toFixed(2)) + " R"),
  // What is not quite nothing or all never reads as it.
  percent: (v, digits = 1) => {
    if (missing(v)) return "–";
    const away = 100 * Math.min(Math.abs(v), Math.abs(1 - Math.abs(v)));
    const seen = away < 1e-6 ? digits : Math.max(digits, Math.floor(1 - Math.log10(1.9 * away)));
    return minus((v * 100).toFixed(seen)) + " %";
  },
  money: (v) => {
    if (missing(v)) return "–";
    const digits = Math.abs(v) >= 1000 ? 0 : 2;
    const text = Math.abs(v).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (v < 0 ? "−$" : "$") + text;
  },
  cents: (v) => (missing(v) ? "–" : minus((v < 0 && Math.abs(v) >= 0.005 ? "−$" : "$") + Math.abs(v).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }))),
  // Fees of a small sale are fractions of a cent.
  small: (v) => (missing(v) ? "–" : Math.abs(v) > 0 && Math.abs(v) < 0.1 ? minus((v < 0 ? "−$" : "$") + Math.abs(v).toFixed(4)) : write.cents(v)),
  shares: (v) => (missing(v) ? "–" : v.toLocaleString("en-US", { maximumFractionDigits: 4 })),
  price: (v) => (missing(v) ? "–" : "$" + v.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(v) < 1 ? 4 : 2 })),
};

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
