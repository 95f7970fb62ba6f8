// The report's data and choices, and its curves.
let data = { books: {} };  // unpacked by main.js
const chosen = { book: document.getElementById("payload").dataset.book, fold: 0, scale: "own" };
const book = () => data.books[chosen.book];

// Undo curves.differences: null stays null, the rest add up.
function unpackSteps(steps, scale) {
  let sum = 0;
  return steps.map((step) => (step === null ? null : (sum += step) / scale));
}

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
