// The trades of each book, and the bars around them, unpacked when they are wanted.
const tradesOf = new Map();   // book → promise of its trades
const summed = (values) => { let sum = 0; return values.map((v) => (v === null ? null : (sum += v))); };
const scaled = (values, by) => values.map((v) => (v === null ? null : v / by));

async function unpackTrades(key) {
  const inside = all("script[data-trades]").find((place) => place.dataset.trades === key);
  const { header, next } = await openBlock(inside ? inside.textContent : await textBeside(data.beside.trades[key]));
  const c = Object.fromEntries(header.columns.map((name) => [name, next(header.rows)]));
  for (const name of ["fold", "entry"]) c[name] = summed(c[name]);
  for (const name of ["fees", "dividends"]) c[name] = scaled(c[name], header.small);
  c.pnl = scaled(c.pnl, header.money);
  for (const name of ["r", "mae", "mfe"]) c[name] = scaled(c[name], 100);
  c.shares = scaled(c.shares.map((v, i) => (v === null || c.qty[i] === null ? null : c.qty[i] + v)), header.pieces);
  c.qty = scaled(c.qty, header.pieces);
  return c.symbol.map((symbol, i) => {
    const fine = c.entry_price[i] % 2, unit = fine ? 10000 : 100, at = (c.entry_price[i] - fine) / 2;
    const price = (column) => (column[i] === null ? null : (at + column[i]) / unit);
    return {
      id: i, symbol: header.symbols[symbol], by: header.strategies[c.by[i]], side: c.short[i] ? "short" : "long", fold: c.fold[i],
      signal: c.entry[i] - c.signal[i], entry: c.entry[i], exit: c.entry[i] + c.exit[i], entry_price: at / unit, exit_price: price(c.exit_price), stop: price(c.stop),
      reason: header.reasons[c.reason[i]], shares: c.shares[i], qty: c.qty[i], fees: c.fees[i], dividends: c.dividends[i], pnl: c.pnl[i], bars: c.bars[i], r: c.r[i], mae: c.mae[i], mfe: c.mfe[i],
    };
  });
}

function tradesNow(key = chosen.book) {
  if (!tradesOf.has(key)) {
    const loaded = unpackTrades(key);
    loaded.catch(() => tradesOf.delete(key));
    tradesOf.set(key, loaded);
  }
  return tradesOf.get(key);
}

// "AAPL.2010-05-03" of this book, or the number of its row.
async function findTrade(name) {
  const trades = await tradesNow();
  return trades.find((trade) => tradeName(trade) === name) || (/^\d+$/.test(name) ? trades[Number(name)] : undefined);
}

// Bars: those in the page, then those beside it, by file. symbol → { days, open, high, low, close, sma200, … }
const barsOf = new Map();
let barsInside;

// Before the names of a strategy's own indicators, so that none is taken for a price.
const OWN = "own ";

async function unpackBars(text) {
  const { header, next } = await openBlock(text), found = new Map();
  for (const [symbol, [count, decimals, ...places]] of Object.entries(header.symbols)) {
    const scale = 10 ** decimals, days = summed(next(count)), close = summed(next(count));
    const near = () => next(count).map((v, i) => (close[i] + v) / scale);
    const bars = { days: days.map(isoDay), open: near(), high: near(), low: near(), close: scaled(close, scale) };
    header.indicators.forEach((name) => { bars[name] = scaled(summed(next(count)), name === "rsi2" ? 10 : scale); });
    header.declared.forEach((name, i) => { bars[OWN + name] = scaled(summed(next(count)), 10 ** places[i]); });
    found.set(symbol, bars);
  }
  return found;
}

// A style sheet that holds one long text: what a page from disk may load (see packed_data.py).
let oneAtATime = Promise.resolve();
function textBeside(file) {
  const load = () => new Promise((resolve, reject) => {
    const link = element("link");
    link.rel = "stylesheet"; link.href = `${data.beside.folder}/${file}`;
    link.onload = () => {
      const text = getComputedStyle(byId("packed")).getPropertyValue("--packed").trim();
      link.remove();
      resolve(text.slice(1, -1));
    };
    link.onerror = () => { link.remove(); reject(new Error("nothing beside the page")); };
    document.head.append(link);
  });
  const loaded = oneAtATime.then(load);
  oneAtATime = loaded.catch(() => undefined);
  return loaded;
}
const notBeside = () => `What belongs here lies in the folder ${data.beside.folder} beside this page, which is not there: kobe report --force writes it again.`;

const covers = (bars, trade) => bars && bars.days[0] <= isoDay(trade.entry) && bars.days.some((day) => day === isoDay(trade.entry)) && bars.days.some((day) => day >= isoDay(trade.exit));

async function barsFor(trade) {
  const inside = (await (barsInside ??= unpackBars(packedText("bars")))).get(trade.symbol);
  if (covers(inside, trade)) return inside;
  const file = data.beside.bars[trade.symbol];
  if (file && !barsOf.has(file)) {
    const loaded = textBeside(file).then(unpackBars);
    loaded.catch(() => barsOf.delete(file));
    barsOf.set(file, loaded);
  }
  const beside = (await barsOf.get(file))?.get(trade.symbol);
  return covers(beside, trade) ? beside : undefined;
}
