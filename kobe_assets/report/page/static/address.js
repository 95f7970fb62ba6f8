// What the page shows stands in its address, so that a link leads there and the browser's back and forward work.
//   #strategy=rsi2&mode=canonical&fold=3&trade=AAPL.2010-05-03&at=trades      #trades, #w-dsr: a place, the rest stays
const tradeName = (trade) => `${trade.symbol}.${isoDay(trade.entry)}`;

function readAddress() {
  const text = location.hash.slice(1);
  if (!text.includes("=")) {
    const old = /^trade-(.+)$/.exec(text);
    return old ? { trade: decodeURIComponent(old[1]) } : { at: decodeURIComponent(text) };
  }
  const { strategy, mode, fold, trade, at } = Object.fromEntries(new URLSearchParams(text));
  return { strategy, mode, fold: Number(fold) || 0, trade, at };
}

function addressOf({ trade = chosen.trade, at = chosen.at } = {}) {
  const said = new URLSearchParams();
  if (book()) { said.set("strategy", book().strategy); said.set("mode", book().mode); }
  if (chosen.fold) said.set("fold", chosen.fold);
  if (trade) said.set("trade", trade);
  if (at) said.set("at", at);
  return "#" + said;
}

// A new choice is a new step of the history; the same one again is none.
function remember(replace = false) {
  const address = addressOf();
  if (address === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
}

// Where the address names what the page lacks, an older report's fold say, the page keeps what it shows.
function obeyAddress() {
  const wanted = readAddress(), before = { ...chosen };
  if (wanted.strategy) {
    const key = keyOf(wanted.strategy, wanted.mode);
    if (key) chosen.book = key;
    chosen.fold = hasFold(wanted.fold) ? wanted.fold : 0;
  }
  chosen.trade = wanted.trade || "";
  chosen.at = wanted.at || "";
  return { book: chosen.book !== before.book, fold: chosen.fold !== before.fold, at: chosen.at !== before.at || !location.hash.includes("=") };
}

const hasFold = (fold) => Boolean(book()) && book().folds.some((row) => row.fold === fold);
// A strategy may lack a mode: then the first it has.
function keyOf(strategy, mode) {
  const keys = Object.keys(data.books).filter((key) => data.books[key].strategy === strategy);
  return keys.find((key) => data.books[key].mode === mode) || keys[0];
}

// A link to a word leads into a folded list: unfold it first. The place is held while what lies above it is still being
// drawn, until the reader moves.
let held = null;
const holdPlace = () => held && held.scrollIntoView({ behavior: "instant" });
function goTo(id) {
  held = null;
  const target = id && byId(id);
  if (!target) return;
  for (let folded = target.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
  held = target;
  holdPlace();
}
for (const moved of ["wheel", "touchmove", "keydown", "pointerdown"]) window.addEventListener(moved, () => { held = null; }, { passive: true });
