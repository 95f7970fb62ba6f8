// What the trades come to: best and worst, longs and shorts, each symbol, and the account's falls.
const LISTED = 10;
const PART_HEADS = ["Trades", "Won", "Net profit", "A trade", "Average R", "Profit factor", "Best", "Worst", "Bars", "Fees", "Dividends"].map((name) => [name, "num"]);

function fillListing(table, trades, caption) {
  const heads = [["Symbol", "text"], ["Entry", "text"], ["Exit", "text"], ["Bars", "num"], ["R", "num"], ["Profit", "num"]];
  fillTable(table, caption, heads, trades.map((trade) => ({
    head: { text: trade.symbol, href: addressOf({ trade: tradeName(trade) }) },
    cells: [[isoDay(trade.entry), trade.entry, "nowrap"], [words(trade.reason), trade.reason], [trade.bars, trade.bars, "num"], [write.ratio(trade.r), trade.r, "num"],
      [write.money(trade.pnl), trade.pnl, "num " + (trade.pnl > 0 ? "good" : "bad")]],
  })), "None listed here.");
}

async function drawListing() {
  const key = chosen.book, fold = chosen.fold, all_ = await tradesNow();
  if (key !== chosen.book || fold !== chosen.fold) return;
  const trades = fold ? all_.filter((trade) => trade.fold === fold) : all_, where = scopeText(fold), strategies = partsBy(trades, "by");
  fillParts(byId("sides"), "Longs and shorts, " + where, "Side", partsBy(trades, "side"), "No trades.");
  fillParts(byId("by-symbol"), "Symbols, " + where, "Symbol", partsBy(trades, "symbol"), "No trades.");
  byId("entered-by").closest("[data-part]").hidden = strategies.length < 2;
  fillParts(byId("entered-by"), "Strategies, " + where, "Strategy", strategies, "No trades.");
  const by = [...trades].sort((a, b) => b.pnl - a.pnl || a.id - b.id);
  const worst = by.filter((trade) => trade.pnl <= 0).sort((a, b) => a.pnl - b.pnl || a.id - b.id);
  fillListing(byId("list-best"), by.filter((trade) => trade.pnl > 0).slice(0, LISTED), "Best trades, " + where);
  fillListing(byId("list-worst"), worst.slice(0, LISTED), "Worst trades, " + where);
}

function fillParts(table, caption, first, rows, none) {
  fillTable(table, caption, [[first, "text"], ...PART_HEADS], rows.map(([name, trades, won, pnl, each, r, factor, best, worst, bars, fees, dividends]) => ({
    head: { text: name },
    cells: [[write.count(trades), trades, "num"], [write.percent(won, 0), won, "num"], [write.cents(pnl), pnl, "num " + (pnl > 0 ? "good" : "bad")], [write.cents(each), each, "num"],
      [write.ratio(r), r, "num"], [write.ratio(factor), factor, "num"], [write.cents(best), best, "num"], [write.cents(worst), worst, "num"], [write.ratio(bars), bars, "num"],
      [write.small(fees), fees, "num"], [write.small(dividends), dividends, "num"]],
  })), none);
}

// Figures of the trades apart by a field, most profitable first.
function partsBy(trades, field) {
  const groups = new Map();
  trades.forEach((trade) => { if (!groups.has(trade[field])) groups.set(trade[field], []); groups.get(trade[field]).push(trade); });
  const sum = (part, of) => part.reduce((total, trade) => total + of(trade), 0);
  return [...groups].map(([name, part]) => {
    const known = part.filter((t) => t.r !== null), pnl = sum(part, (t) => t.pnl), won = sum(part, (t) => Math.max(t.pnl, 0)), lost = won - pnl, all_ = part.map((t) => t.pnl);
    return [name, part.length, part.filter((t) => t.pnl > 0).length / part.length, pnl, pnl / part.length, known.length ? sum(known, (t) => t.r) / known.length : null, lost > 0 ? won / lost : null,
      all_.reduce((a, b) => Math.max(a, b)), all_.reduce((a, b) => Math.min(a, b)), sum(part, (t) => t.bars) / part.length, sum(part, (t) => t.fees), sum(part, (t) => t.dividends)];
  }).sort((a, b) => b[3] - a[3] || a[0].localeCompare(b[0], "en"));
}

const fillDrawdowns = () => fillFalls(byId("drawdowns"), `Falls of the account of ${book().title}`, book().drawdowns);
