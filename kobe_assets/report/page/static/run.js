// The page of one backtest: the account, what its trades came to, every trade, and one symbol's bars with its trades.
// It runs once boot.js has unpacked it.
let data, days, trades = [];
const chosen = { book: "run", fold: 0, symbol: 0, trade: null };  // the symbol on its bars, and the trade that is looked at closely
const book = () => ({ strategy: data.name, mode: "backtest" });
const scopeText = () => "the run";
const tradeName = (trade) => `${trade.symbol}.${isoDay(trade.entry)}`;
const addressOf = ({ trade }) => "#trade-" + encodeURIComponent(trade);
const dated = (c, xaxis, yaxis, more) => frame(c, { xaxis: { type: "date", ...xaxis }, yaxis, ...more });

function drawCurve(name, color, yaxis, hover, more = [], layout = {}) {
  const c = colors(), y = data.curve[name];
  // One session is no line, and an axis of a few days would be marked in parts of a second.
  const mode = days.length > 1 ? "lines" : "markers", xaxis = days.length < 5 ? { tickvals: days, tickformat: "%b %-d, %Y" } : {};
  const trace = { type: "scatter", mode, name: data.name, x: days, y, line: { color: c[color], width: 1.4 }, hovertemplate: hover, ...(name === "equity" ? {} : { fill: "tozeroy" }) };
  const others = more.map((other) => ({ type: "scatter", mode, x: days, hovertemplate: hover, ...other }));
  Plotly.react(byId("chart-" + name), [trace, ...others], dated(c, xaxis, yaxis, layout), config);
}

// Seldom on the scale of a strategy that has little of its cash at work: it is there for who asks.
const holding = () => ({ name: "Holding", y: data.curve.holding, line: { color: colors().held, width: 1.4 }, visible: "legendonly" });

function drawSymbol() {
  const place = byId("chart-symbol"), one = data.symbols[chosen.symbol];
  if (!place || !one || typeof Plotly === "undefined") return;
  const c = colors(), own = trades.filter((trade) => trade.symbol === one.name), close = chosen.trade;
  byId("symbol-title").textContent = close ? `${one.name}: ${close.side} from ${isoDay(close.entry)} to ${isoDay(close.exit)}, ${write.cents(close.pnl)}`
    : `${one.name}: ${own.length.toLocaleString("en-US")} ${own.length === 1 ? "trade" : "trades"}, ${write.cents(one.pnl)}`;
  place.setAttribute("aria-label", byId("symbol-title").textContent);
  const marks = (x, y, marker, text) => ({ type: "scatter", mode: "markers", x, y, marker: { size: 10, line: { color: c.paper, width: 1 }, ...marker }, text, hovertemplate: "%{text}<extra></extra>" });
  const traces = [
    { type: "candlestick", x: one.days, open: one.open, high: one.high, low: one.low, close: one.close, increasing: { line: { color: c.gain, width: 1 }, fillcolor: c.card }, decreasing: { line: { color: c.loss, width: 1 }, fillcolor: c.loss }, hoverinfo: "x+y" },
    marks(own.map((t) => isoDay(t.entry)), own.map((t) => t.entry_price), { symbol: own.map((t) => (t.side === "long" ? "triangle-up" : "triangle-down")), color: c.own }, own.map((t) => `${t.side} in ${isoDay(t.entry)} at ${write.price(t.entry_price)}`)),
    marks(own.map((t) => isoDay(t.exit)), own.map((t) => t.exit_price), { symbol: "x", color: own.map((t) => (t.pnl > 0 ? c.gain : c.loss)) }, own.map((t) => `out ${isoDay(t.exit)} at ${write.price(t.exit_price)}, ${plain(words(t.reason))}, ${write.cents(t.pnl)}`)),
  ];
  const ends = { rangeslider: { visible: false }, rangebreaks: [{ bounds: ["sat", "mon"] }] }, yaxis = { tickprefix: "$" };
  if (close) {
    const from = Math.max(0, one.days.findIndex((day) => day >= isoDay(close.entry)) - 30), out = one.days.findIndex((day) => day >= isoDay(close.exit));
    const to = Math.min(one.days.length - 1, (out < 0 ? one.days.length - 1 : out) + 15);
    const low = Math.min(...one.low.slice(from, to + 1)), high = Math.max(...one.high.slice(from, to + 1)), air = (high - low) * 0.06;
    ends.range = [one.days[from], one.days[to]];
    yaxis.range = [low - air, high + air];
  } else Object.assign(ends, { autorange: true });
  Plotly.react(place, traces, dated(c, ends, close ? yaxis : { ...yaxis, autorange: true }), config);
}

// The trade that the address names, on its bars.
function followAddress() {
  const named = /^#trade-(.+)$/.exec(location.hash), trade = named && trades.find((one) => tradeName(one) === decodeURIComponent(named[1]));
  const symbol = trade ? data.symbols.findIndex((one) => one.name === trade.symbol) : -1;
  if (trade && symbol < 0) byId("symbol-title").textContent = `${trade.symbol} is not among the symbols that are drawn`;
  if (symbol >= 0) {
    Object.assign(chosen, { symbol, trade });
    byId("symbol").value = String(symbol);
    drawSymbol();
  }
  if (trade) byId("symbol-title").scrollIntoView({ block: "start" });
}

// What parts of the trades came to: [name, trades, profit].
function fillTotals(table, caption, first, parts) {
  fillTable(table, caption, [[first, "text"], ["Trades", "num"], ["Net profit", "num"], ["A trade", "num"]], parts.map(([name, count, pnl]) => ({
    head: { text: name }, cells: [[write.count(count), count, "num"], [write.cents(pnl), pnl, "num " + (pnl > 0 ? "good" : "bad")], [write.cents(pnl / count), pnl / count, "num"]],
  })));
}

function listTotals() {
  fillFalls(byId("drawdowns"), "Falls of the account", data.drawdowns);
  if (!byId("exits")) return;
  fillTotals(byId("exits"), "Exits by reason", "Exit", data.exits.map(([reason, ...more]) => [words(reason), ...more]));
  fillTotals(byId("by-symbol"), "Symbol by symbol", "Symbol", data.by_symbol);
}

function draw() {
  drawCurve("equity", "own", { tickprefix: "$", tickformat: "," }, "%{x} $%{y:,.2f}<extra></extra>", [holding()], { showlegend: true });
  drawCurve("drawdown", "loss", { tickformat: ".2~%" }, "%{x} %{y:.1%}<extra></extra>");
  drawCurve("exposure", "soft", { tickformat: ".0%" }, "%{x} %{y:.0%}<extra></extra>");
  plot(byId("chart-months"), monthsChart(colors(), data));
  drawSymbol();
  document.documentElement.dataset.drawn = "yes";
}

// Before plotly is there, the first drawing is still to come.
const redraw = () => { if (typeof Plotly !== "undefined") draw(); };

// A page from disk may keep nothing.
function remember(name, value) { try { localStorage.setItem(name, value); } catch { /* then it forgets */ } }
function recall(name) { try { return localStorage.getItem(name); } catch { return null; } }
const saved = recall("kobe-theme");
if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remember("kobe-theme", document.documentElement.dataset.theme);
  redraw();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
listenToPrinter((wasDark) => { if (wasDark) redraw(); }, redraw);

document.addEventListener("click", (event) => {
  const button = event.target.closest("button"), link = event.target.closest("#all-trades a");
  if (link && link.hash === location.hash) followAddress();
  if (button && !clickedTradeTable(button) && button.matches(".sortable .sort")) sortBy(button);
});
window.addEventListener("hashchange", followAddress);
listenToTradeFilters();

async function start() {
  data = await unzipped(packedText("payload")).json();
  days = unpackDays(data.curve.days);
  data.symbols.forEach((one) => { one.days = unpackDays(one.days); });
  trades = await tradesNow();
  const pick = byId("symbol");
  if (pick) {
    const count = (name) => trades.filter((trade) => trade.symbol === name).length;
    data.symbols.forEach((one, k) => { const made = element("option", `${one.name} (${count(one.name)}, ${write.cents(one.pnl)})`); made.value = k; pick.append(made); });
    pick.addEventListener("change", () => { Object.assign(chosen, { symbol: Number(pick.value), trade: null }); drawSymbol(); });
    await drawTradeTable();
  }
  listTotals();
  await plotlyLoaded();
  draw();
  followAddress();
}
start().catch(cannotUnpack);
