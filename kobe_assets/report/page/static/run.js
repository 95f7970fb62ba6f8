// The page of one backtest: the account, what its trades came to, and one symbol's bars with its trades.
// It runs once boot.js has unpacked it.
const { unzipped, packedText, runPacked, cannotUnpack } = window.kobe;
let data, days;
const dated = (c, xaxis, yaxis) => frame(c, { xaxis: { type: "date", ...xaxis }, yaxis });

function drawCurve(name, color, yaxis, hover) {
  const c = colors(), y = data.curve[name];
  // One session is no line, and an axis of a few days would be marked in parts of a second.
  const mode = days.length > 1 ? "lines" : "markers", xaxis = days.length < 5 ? { tickvals: days, tickformat: "%b %-d, %Y" } : {};
  const trace = { type: "scatter", mode, x: days, y, line: { color: c[color], width: 1.4 }, hovertemplate: hover, ...(name === "equity" ? {} : { fill: "tozeroy" }) };
  Plotly.react(byId("chart-" + name), [trace], dated(c, xaxis, yaxis), config);
}

let chosen = 0, close = null;  // the symbol, and the trade that is looked at closely

function drawSymbol() {
  const place = byId("chart-symbol"), one = data.symbols[chosen];
  if (!place || !one || typeof Plotly === "undefined") return;
  const c = colors(), trades = one.trades;
  byId("symbol-title").textContent = `${one.name}: ${trades.length.toLocaleString("en-US")} ${trades.length === 1 ? "trade" : "trades"}, ${write.cents(one.pnl)}`;
  place.setAttribute("aria-label", byId("symbol-title").textContent);
  const marks = (x, y, marker, text) => ({ type: "scatter", mode: "markers", x, y, marker: { size: 10, line: { color: c.paper, width: 1 }, ...marker }, text, hovertemplate: "%{text}<extra></extra>" });
  const traces = [
    { type: "candlestick", x: one.days, open: one.open, high: one.high, low: one.low, close: one.close, increasing: { line: { color: c.gain, width: 1 }, fillcolor: c.card }, decreasing: { line: { color: c.loss, width: 1 }, fillcolor: c.loss }, hoverinfo: "x+y" },
    marks(trades.map((t) => t[2]), trades.map((t) => t[3]), { symbol: trades.map((t) => (t[1] === "long" ? "triangle-up" : "triangle-down")), color: c.own }, trades.map((t) => `${t[1]} in ${t[2]} at ${write.price(t[3])}`)),
    marks(trades.map((t) => t[4]), trades.map((t) => t[5]), { symbol: "x", color: trades.map((t) => (t[11] > 0 ? c.gain : c.loss)) }, trades.map((t) => `out ${t[4]} at ${write.price(t[5])}, ${plain(words(t[6]))}, ${write.cents(t[11])}`)),
  ];
  const ends = { rangeslider: { visible: false }, rangebreaks: [{ bounds: ["sat", "mon"] }] }, yaxis = { tickprefix: "$" };
  if (close !== null) {
    const from = Math.max(0, one.days.findIndex((day) => day >= trades[close][2]) - 30), out = one.days.findIndex((day) => day >= trades[close][4]);
    const to = Math.min(one.days.length - 1, (out < 0 ? one.days.length - 1 : out) + 15);
    const low = Math.min(...one.low.slice(from, to + 1)), high = Math.max(...one.high.slice(from, to + 1)), air = (high - low) * 0.06;
    ends.range = [one.days[from], one.days[to]];
    yaxis.range = [low - air, high + air];
  } else Object.assign(ends, { autorange: true });
  Plotly.react(place, traces, dated(c, ends, close === null ? { ...yaxis, autorange: true } : yaxis), config);
}

function listTrades() {
  const table = byId("trade-list"), one = data.symbols[chosen];
  if (!table || !one) return;
  const head = document.createElement("thead"), heads = document.createElement("tr"), body = document.createElement("tbody");
  [["Entry", "text"], ["Side", "text"], ["By", "text"], ["Price", "num"], ["Exit", "text"], ["Price", "num"], ["Why", "text"], ["Bars", "num"], ["Shares", "num"], ["Fees", "num"], ["Dividends", "num"], ["Profit", "num"]]
    .forEach(([text, kind]) => { const made = element("th", text, kind); made.scope = "col"; heads.append(made); });
  head.append(heads);
  one.trades.forEach((t, k) => {
    const row = document.createElement("tr"), name = element("th", "", "nowrap"), button = element("button", t[2], "choose");
    button.type = "button"; button.dataset.trade = k;
    name.scope = "row"; name.append(button);
    row.classList.toggle("chosen", k === close);
    row.append(name, element("td", t[1]), element("td", t[0]), element("td", write.price(t[3]), "num"), element("td", t[4], "nowrap"), element("td", write.price(t[5]), "num"), element("td", words(t[6])), element("td", String(t[7]), "num"),
      element("td", t[8].toLocaleString("en-US", { maximumFractionDigits: 4 }), "num"), element("td", write.cents(t[9]), "num"), element("td", write.cents(t[10]), "num"), element("td", write.cents(t[11]), "num " + (t[11] > 0 ? "good" : "bad")));
    body.append(row);
  });
  table.replaceChildren(table.caption, head, body);
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
  drawCurve("equity", "own", { tickprefix: "$" }, "%{x} $%{y:,.2f}<extra></extra>");
  drawCurve("drawdown", "loss", { tickformat: ".2~%" }, "%{x} %{y:.1%}<extra></extra>");
  drawCurve("exposure", "soft", { tickformat: ".0%" }, "%{x} %{y:.0%}<extra></extra>");
  plot(byId("chart-months"), monthsChart(colors(), data));
  drawSymbol();
  document.documentElement.dataset.drawn = "yes";
}

// Before plotly is there, the first drawing is still to come.
const redraw = () => { if (typeof Plotly !== "undefined") draw(); };
function showSymbol() { drawSymbol(); listTrades(); }

// A page from disk may keep nothing.
function remember(name, value) { try { localStorage.setItem(name, value); } catch { /* then it forgets */ } }
function recall(name) { try { return localStorage.getItem(name); } catch { return null; } }
const isDark = () => (document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches);
const saved = recall("kobe-theme");
if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remember("kobe-theme", document.documentElement.dataset.theme);
  redraw();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

document.addEventListener("click", (event) => {
  const button = event.target.closest(".sortable .sort");
  if (button) sortBy(button);
});

async function start() {
  data = await unzipped(packedText("payload")).json();
  days = unpackDays(data.curve.days);
  data.symbols.forEach((one) => { one.days = unpackDays(one.days); });
  const pick = byId("symbol");
  if (pick) {
    data.symbols.forEach((one, k) => { const made = element("option", `${one.name} (${one.trades.length}, ${write.cents(one.pnl)})`); made.value = k; pick.append(made); });
    pick.addEventListener("change", () => { chosen = Number(pick.value); close = null; showSymbol(); });
    byId("trade-list").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-trade]");
      if (!button) return;
      const trade = Number(button.dataset.trade);
      close = close === trade ? null : trade;
      showSymbol();
      byId("chart-symbol").scrollIntoView({ block: "center" });
    });
  }
  listTotals();
  listTrades();
  await runPacked("plotly");
  draw();
}
start().catch(cannotUnpack);
