// Every trade of the chosen book: search, filters, sorting, a page at a time, and all of what is found as CSV.
// The page says what is chosen, and where a trade leads: `chosen`, `book`, `scopeText`, `tradeName`, `addressOf`.
const PAGE = 50;
const TRADE_FIELDS = [
  ["symbol", "Symbol", "text", (t) => t.symbol], ["side", "Side", "text", (t) => t.side], ["by", "Entered by", "text", (t) => t.by],
  ["entry", "Entry", "text", (t) => isoDay(t.entry)], ["exit", "Exit", "text", (t) => isoDay(t.exit)], ["reason", "Left because", "text", (t) => words(t.reason)],
  ["pnl", "Profit", "num", (t) => write.cents(t.pnl)], ["r", "R", "num", (t) => write.ratio(t.r)], ["bars", "Bars", "num", (t) => t.bars], ["fold", "Window", "num", (t) => t.fold],
  ["shares", "Shares", "num", (t) => write.shares(t.shares)], ["entry_price", "In at", "num", (t) => write.price(t.entry_price)], ["exit_price", "Out at", "num", (t) => write.price(t.exit_price)],
  ["fees", "Fees", "num", (t) => write.small(t.fees)], ["dividends", "Dividends", "num", (t) => write.small(t.dividends)],
];
const CSV_FIELDS = ["symbol", "side", "entered_by", "window", "signal_session", "entry_session", "entry_price", "exit_session", "exit_price", "exit_reason", "stop", "shares", "qty", "fees", "dividends", "pnl", "bars_held", "r", "mae_r", "mfe_r"];
const list = { by: "entry", down: true, page: 0, found: [] };

const strategiesOf = (trades) => new Set(trades.map((trade) => trade.by)).size;

function matches(trade) {
  const asked = byId("trades-search").value.toLowerCase().split(/\s+/), side = byId("trades-side").value, reason = byId("trades-reason").value, result = byId("trades-result").value;
  return (!chosen.fold || trade.fold === chosen.fold) && (!side || trade.side === side) && (!reason || trade.reason === reason)
    && (!result || (result === "won") === (trade.pnl > 0))
    && holdsAll(`${trade.symbol} ${trade.by} ${words(trade.reason)} ${isoDay(trade.entry)} ${isoDay(trade.exit)}`.toLowerCase(), asked);
}

// Every word that is searched for, in any order: "aapl 2010 stop".
const holdsAll = (text, asked) => asked.every((word) => text.includes(word));

async function drawTradeTable() {
  const key = chosen.book, trades = await tradesNow();
  if (key !== chosen.book) return;
  const compare = (a, b) => {
    const x = a[list.by], y = b[list.by];
    if (x === null || y === null) return (x === null) - (y === null) || a.id - b.id;
    return (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) * (list.down ? -1 : 1) || a.id - b.id;
  };
  list.found = trades.filter(matches).sort(compare);
  list.page = Math.max(0, Math.min(list.page, Math.ceil(list.found.length / PAGE) - 1));
  fillReasons(trades);
  const fields = TRADE_FIELDS.filter(([name]) => (name === "by" ? strategiesOf(trades) > 1 : !trades.length || trades.some((trade) => trade[name] !== null))), first = list.page * PAGE, shown = list.found.slice(first, first + PAGE);
  fillTable(byId("all-trades"), `Trades of ${scopeText(chosen.fold)}`, fields.map(([, text, kind]) => [text, kind]), shown.map((trade) => ({
    head: { text: trade.symbol, href: addressOf({ trade: tradeName(trade) }) },
    cells: fields.slice(1).map(([name, , kind, text]) => [text(trade), trade[name], (kind === "num" ? "num" : "nowrap") + (name === "pnl" ? (trade.pnl > 0 ? " good" : " bad") : "")]),
  })), "No trade is like that.");
  all("th.num, th.text", byId("all-trades").tHead).forEach((head, i) => {
    head.querySelector("button").dataset.tradesBy = fields[i][0];
    if (fields[i][0] === list.by) head.setAttribute("aria-sort", list.down ? "descending" : "ascending");
  });
  const total = list.found.reduce((sum, trade) => sum + trade.pnl, 0), last = first + shown.length;
  byId("trades-count").textContent = list.found.length ? `${write.count(first + 1)} to ${write.count(last)} of ${write.count(list.found.length)} trades, ${write.cents(total)} in all` : "No trade is like that.";
  byId("trades-back").disabled = list.page === 0;
  byId("trades-next").disabled = last >= list.found.length;
}

function fillReasons(trades) {
  const select = byId("trades-reason"), kept = select.value, known = [...new Set(trades.map((trade) => trade.reason))].sort();
  if (select.dataset.known === known.join()) return;
  select.dataset.known = known.join();
  select.replaceChildren(new Option("any reason", ""), ...known.map((reason) => new Option(words(reason), reason)));
  select.value = known.includes(kept) ? kept : "";
}

function sortTrades(name) {
  const numeric = TRADE_FIELDS.find(([field]) => field === name)[2] === "num";
  list.down = list.by === name ? !list.down : numeric;
  list.by = name;
  list.page = 0;
  drawTradeTable().then(() => byId("all-trades").querySelector(`[data-trades-by="${name}"]`).focus());
}

// A spreadsheet runs what begins like a formula; a number with a sign is none.
const csvCell = (value) => {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

function tradesCsv() {
  const rows = list.found.map((t) => [t.symbol, t.side, t.by, t.fold, isoDay(t.signal), isoDay(t.entry), t.entry_price, isoDay(t.exit), t.exit_price, t.reason, t.stop, t.shares, t.qty, t.fees, t.dividends, t.pnl, t.bars, t.r, t.mae, t.mfe]);
  return [CSV_FIELDS, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function saveCsv() {
  const link = element("a"), address = URL.createObjectURL(new Blob([tradesCsv()], { type: "text/csv" }));
  link.href = address;
  link.download = `trades-${book().strategy}-${book().mode}${chosen.fold ? "-window-" + chosen.fold : ""}.csv`.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Whether a click on this button was for the table.
function clickedTradeTable(button) {
  if (button.dataset.tradesBy) sortTrades(button.dataset.tradesBy);
  else if (button.id === "trades-back" || button.id === "trades-next") { list.page += button.id === "trades-next" ? 1 : -1; drawTradeTable(); }
  else if (button.id === "trades-csv") saveCsv();
  else return false;
  return true;
}

function listenToTradeFilters() {
  byId("trade-filters")?.addEventListener("input", () => { list.page = 0; drawTradeTable(); });
  byId("trade-filters")?.addEventListener("submit", (event) => event.preventDefault());
}
