// The page's data and choices, and how numbers are written. Text from the data reaches the page as text only.
let data = { books: {} };  // unpacked by main.js
const chosen = { book: document.getElementById("payload").dataset.book, fold: 0, scale: "own" };
const byId = (id) => document.getElementById(id);
const all = (query, root = document) => [...root.querySelectorAll(query)];
const book = () => data.books[chosen.book];
const narrow = () => window.innerWidth < 760;

const DAY_MS = 86400000;
const isoDay = (days) => new Date(days * DAY_MS).toISOString().slice(0, 10);

// Undo curves.pack_days: distances to days, days to dates.
function unpackDays(steps) {
  let day = 0;
  return steps.map((step) => isoDay((day += step)));
}

// Undo curves.differences: null stays null, the rest add up.
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
  cents: (v) => (missing(v) ? "–" : minus((v < 0 && Math.abs(v) >= 0.005 ? "−$" : "$") + Math.abs(v).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }))),
  // Fees of a small sale are fractions of a cent.
  small: (v) => (missing(v) ? "–" : Math.abs(v) > 0 && Math.abs(v) < 0.1 ? minus((v < 0 ? "−$" : "$") + Math.abs(v).toFixed(4)) : write.cents(v)),
  shares: (v) => (missing(v) ? "–" : v.toLocaleString("en-US", { maximumFractionDigits: 4 })),
  price: (v) => (missing(v) ? "–" : "$" + v.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(v) < 1 ? 4 : 2 })),
};

const scopeText = (fold) => `${book().title} · ${fold ? "test window " + fold : "all test windows"}`;

const returnsOf = (growth) => growth.map((level, i) => (i ? level / growth[i - 1] : level) - 1);

// Holding with only a share of the account in the market, the rest in cash.
function atWork(benchmark, share) {
  let level = 1;
  return returnsOf(benchmark.map((v) => v ?? NaN)).map((r) => (Number.isFinite(level *= 1 + r * share) ? level : null));
}

// The sessions that a book's curves stand on, and what is drawn over them: unpacked once.
const MILLION = 1e6, THOUSAND = 1e3;
function curveOf(owner) {
  if (owner.unpacked) return owner.unpacked;
  const { curve } = owner, chain = data.chains[owner.chain], growth = unpackSteps(curve.growth, MILLION);
  let peak = 1;
  const drawdown = growth.map((level) => level / (peak = Math.max(peak, level)) - 1);
  const steps = (values, scale) => values && unpackSteps(values, scale);
  const benchmark = steps(chain.benchmark, MILLION);
  return (owner.unpacked = {
    ...curve, growth, drawdown, days: unpackDays(chain.days), benchmark, chosen: steps(chain.chosen, MILLION), matched: benchmark && !missing(curve.at_work) ? atWork(benchmark, curve.at_work) : null,
    ghost: curve.ghost && { days: unpackDays(curve.ghost.days), growth: unpackSteps(curve.ghost.growth, MILLION) },
    exposure: steps(curve.exposure, THOUSAND), positions: steps(curve.positions, 1), rolling: unpackSteps(curve.rolling, 100),
  });
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
