// Best and worst trades, and the bars around one of them.
const column = Object.fromEntries(data.columns.map((name, i) => [name, i]));
const words = (code) => code.replace(/_/g, " ");

function tradeOf(id) {
  const row = data.trades[id];
  return row && Object.fromEntries(data.columns.map((name) => [name, row[column[name]]]));
}

function fillListing(table, ids, caption) {
  const heads = [["Symbol", "text"], ["Entry", "text"], ["Exit", "text"], ["Bars", "num"], ["R", "num"], ["Profit", "num"]];
  const head = element("thead"), row = element("tr"), body = element("tbody");
  heads.forEach(([text, kind]) => {
    const cell = element("th", undefined, kind), button = element("button", text, "sort");
    cell.scope = "col"; cell.setAttribute("aria-sort", "none"); button.type = "button";
    cell.append(button); row.append(cell);
  });
  head.append(row);
  ids.forEach((id) => {
    const trade = tradeOf(id), line = element("tr"), name = element("th"), link = element("a", trade.symbol);
    link.href = "#trade-" + id;
    name.scope = "row"; name.append(link); name.dataset.sort = trade.symbol;
    const cell = (text, sort, kind) => { const made = element("td", text, kind); made.dataset.sort = sort ?? ""; return made; };
    line.append(name, cell(isoDay(trade.entry), trade.entry, "nowrap"), cell(words(data.reasons[trade.reason]), data.reasons[trade.reason]),
      cell(trade.bars, trade.bars, "num"), cell(write.ratio(trade.r), trade.r, "num"), cell(write.money(trade.pnl), trade.pnl, "num " + (trade.pnl > 0 ? "good" : "bad")));
    body.append(line);
  });
  if (!ids.length) {
    const line = element("tr"), cell = element("td", "None listed here.", "empty");
    cell.colSpan = heads.length; line.append(cell); body.append(line);
  }
  table.replaceChildren(element("caption", caption, "sr"), head, body);
}

function drawListing() {
  const [best, worst] = book().lists[String(chosen.fold)] || [[], []];
  fillListing(byId("list-best"), best, "Best trades, " + scopeText(chosen.fold));
  fillListing(byId("list-worst"), worst, "Worst trades, " + scopeText(chosen.fold));
}

// Before the names of a strategy's own indicators, so that none is taken for a price.
const OWN = "own ";

function runOf(trade) {
  return (data.bars[trade.symbol] || []).map((run) => {
    const scale = 10 ** run.k;
    return { days: unpackDays(run.d), open: unpackSteps(run.o, scale), high: unpackSteps(run.h, scale), low: unpackSteps(run.l, scale),
      close: unpackSteps(run.c, scale), sma: unpackSteps(run.m, scale), rsi: unpackSteps(run.r, 10),
      ...Object.fromEntries(Object.entries(run.x || {}).map(([name, [digits, steps]]) => [OWN + name, unpackSteps(steps, 10 ** digits)])) };
  }).find((run) => run.days[0] <= isoDay(trade.entry) && run.days[run.days.length - 1] >= isoDay(trade.exit));
}

// The run may hold the windows of several trades: show this one's.
function around(run, trade) {
  const first = run.days.findIndex((day) => day >= isoDay(trade.signal)), last = run.days.findLastIndex((day) => day <= isoDay(trade.exit));
  const from = Math.max(0, first - 45), to = last + 16;
  return Object.fromEntries(Object.entries(run).map(([name, values]) => [name, values.slice(from, to)]));
}

// The indicators that strategies read besides the average. A short reads them mirrored in `top`.
const OSCILLATORS = [
  { name: "rsi2", levels: ["rsi_entry", "rsi_exit"], top: 100, values: (run) => run.rsi },
  { name: "ibs", levels: ["ibs_entry", "ibs_exit"], top: 1, values: (run) => run.close.map((close, i) => (run.high[i] > run.low[i] ? (close - run.low[i]) / (run.high[i] - run.low[i]) : null)) },
];

// The indicators that a strategy of one's own declares: [name, is it on the scale of the prices, declaration].
const declaredOf = (trade, owner) => data.indicators[trade.entered_by] || data.indicators[owner.strategy];
const valuesOf = (run, name) => (name === "sma200" ? run.sma : (OSCILLATORS.find((one) => one.name === name) || { values: (own) => own[OWN + name] || [] }).values(run));

const ownerOf = (id) => Object.values(data.books).find((owner) => Object.values(owner.lists).some((list) => list.flat().includes(id)));

// What this trade was decided by, with the levels that held in its fold; a strategy without such levels shows the first.
function oscillatorsOf(trade, owner) {
  const declared = declaredOf(trade, owner);
  if (declared) return declared.filter(([, isPrice]) => !isPrice).map(([name]) => ({ name, levels: [], top: null, values: (run) => valuesOf(run, name) }));
  const fold = owner.folds.findIndex((row) => row.fold === trade.fold);
  const found = OSCILLATORS.map(({ levels, ...rest }) => ({ ...rest, levels: levels.map((name) => (owner.path[name] || [])[fold])
    .filter((v) => !missing(v)).map((v) => (trade.side === "long" ? v : rest.top - v)) }));
  const read = found.filter((one) => one.levels.length);
  return read.length ? read : found.slice(0, 1);
}

// Half a day before or after a day's bar, so that a trade of one day has a width.
const halfDay = (day, sign) => new Date((day + sign / 2) * DAY_MS).toISOString().slice(0, 19);

function tradeFigure(c, trade, run, oscillators, declared) {
  const lines = declared ? declared.filter(([, isPrice]) => isPrice).map(([name]) => [name, name]) : [["200-day average", "sma200"]];
  const entry = isoDay(trade.entry), exit = isoDay(trade.exit), long = trade.side === "long";
  const dot = (x, y, symbol, color, name) => ({ type: "scatter", mode: "markers", name, x: [x], y: [y], marker: { symbol, size: 13, color, line: { color: c.paper, width: 1.5 } }, hovertemplate: `${name} $%{y:.2f}<extra></extra>` });
  const traces = [
    { type: "candlestick", name: "bar", x: run.days, open: run.open, high: run.high, low: run.low, close: run.close, increasing: { line: { color: c.gain, width: 1 }, fillcolor: c.card }, decreasing: { line: { color: c.loss, width: 1 }, fillcolor: c.loss }, showlegend: false },
    ...lines.map(([title, name]) => ({ type: "scatter", mode: "lines", name: title, x: run.days, y: valuesOf(run, name), line: { color: c.ghost, width: 1.5 }, hovertemplate: name + " %{y:.2f}<extra></extra>" })),
    dot(entry, trade.entry_price, long ? "triangle-up" : "triangle-down", c.own, "entry"), dot(exit, trade.exit_price, "x", c.ink, "exit"),
    ...oscillators.map(({ name, values }, i) => ({ type: "scatter", mode: "lines", name, x: run.days, y: values(run), yaxis: "y" + (i + 2), line: { color: c.own, width: 1.4 }, showlegend: false, hovertemplate: name + " %{y:.3~g}<extra></extra>" })),
  ];
  const shapes = [{ type: "rect", xref: "x", yref: "paper", x0: halfDay(trade.entry, -1), x1: halfDay(trade.exit, 1), y0: 0, y1: 1, line: { width: 0 }, fillcolor: c.own, opacity: 0.09, layer: "below" },
    ...oscillators.flatMap(({ levels }, i) => levels.map((v) => ({ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y" + (i + 2), y0: v, y1: v, line: { color: c.soft, width: 1, dash: "dot" } })))];
  if (trade.stop !== null) {
    shapes.push({ type: "line", xref: "x", yref: "y", x0: halfDay(trade.entry, -1), x1: halfDay(trade.exit, 1), y0: trade.stop, y1: trade.stop, line: { color: c.loss, width: 1.5, dash: "dash" } });
    traces.push({ type: "scatter", mode: "lines", name: "stop", x: [null], y: [null], line: { color: c.loss, width: 1.5, dash: "dash" } });
  }
  // The average may lie far off; the range follows prices and stop, so that the bars stay readable.
  const seen = [...run.low, ...run.high, trade.stop ?? run.low[0]], low = Math.min(...seen), high = Math.max(...seen), air = (high - low) * 0.05;
  const gap = oscillators.length > 3 ? 0.03 : 0.05, part = oscillators.length > 3 ? 0.66 / oscillators.length - gap : oscillators.length > 1 ? 0.17 : 0.22;
  const panes = oscillators.map(({ name, top }, i) => ["yaxis" + (i + 2), { domain: [(oscillators.length - 1 - i) * (part + gap), (oscillators.length - 1 - i) * (part + gap) + part], ...(top === null ? { nticks: 3 } : { range: [0, top], tickvals: [0, top / 2, top] }), zeroline: false, title: { text: name } }]);
  return [traces, frame(c, {
    showlegend: true, shapes, margin: { l: 48, r: 10, t: 30, b: 28 }, ...Object.fromEntries(panes),
    xaxis: { rangeslider: { visible: false }, rangebreaks: [{ bounds: ["sat", "mon"] }], showgrid: false, anchor: "y" + (oscillators.length + 1), tickformat: "%d %b<br>%Y", nticks: narrow() ? 5 : 9, type: "date" },
    yaxis: { domain: [oscillators.length * (part + gap) + 0.03, 1], tickprefix: "$", range: [low - air, high + air] },
  })];
}

function showTrade(id) {
  const trade = tradeOf(id), dialog = byId("trade-dialog"), place = byId("chart-trade");
  if (!trade) return;
  const owner = ownerOf(id);
  byId("trade-title").textContent = `${trade.symbol}, ${trade.side}, ${isoDay(trade.entry)}`;
  byId("trade-facts").textContent = `${owner.strategy} · ${owner.mode}, fold ${trade.fold}. Signal ${isoDay(trade.signal)}; in at ${write.price(trade.entry_price)} on ${isoDay(trade.entry)}, out at ${write.price(trade.exit_price)} on ${isoDay(trade.exit)} (${words(data.reasons[trade.reason])}) after ${trade.bars} ${trade.bars === 1 ? "bar" : "bars"}; ` +
    `stop ${write.price(trade.stop)}. Result ${write.money(trade.pnl)}, ${write.r(trade.r)}; went ${write.r(missing(trade.mae) ? null : -trade.mae).replace("+", "")} against and ${write.r(trade.mfe).replace("+", "")} for the position.`;
  if (!dialog.open) dialog.showModal();
  const run = runOf(trade);
  place.classList.toggle("blank", !run);
  if (!run) { Plotly.purge(place); place.textContent = "The bars of this trade are not on this page."; return; }
  if (place.classList.contains("blank") || !place.querySelector(".plot-container")) place.textContent = "";
  const [traces, layout] = tradeFigure(colors(), trade, around(run, trade), oscillatorsOf(trade, owner), declaredOf(trade, owner));
  place.setAttribute("aria-label", byId("trade-facts").textContent);
  Plotly.react(place, traces, layout, config);
}

const linkedTrade = () => { const found = /^#trade-(\d+)$/.exec(location.hash); return found ? Number(found[1]) : null; };
function followLink() {
  const id = linkedTrade();
  if (id !== null) showTrade(id);
  else if (byId("trade-dialog").open) byId("trade-dialog").close();
}
