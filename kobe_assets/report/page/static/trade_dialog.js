// One trade: its facts, and the bars around it.
// The bars may be those of several trades: show this one's.
function around(run, trade) {
  const first = run.days.findIndex((day) => day >= isoDay(trade.signal)), last = run.days.findLastIndex((day) => day <= isoDay(trade.exit));
  const from = Math.max(0, first - 45), to = last + 16;
  return Object.fromEntries(Object.entries(run).map(([name, values]) => [name, values.slice(from, to)]));
}

// The indicators that strategies read besides the average. A short reads them mirrored in `top`.
const OSCILLATORS = [
  { name: "rsi2", levels: ["rsi_entry", "rsi_exit"], top: 100, values: (run) => run.rsi2 },
  { name: "ibs", levels: ["ibs_entry", "ibs_exit"], top: 1, values: (run) => run.close.map((close, i) => (run.high[i] > run.low[i] ? (close - run.low[i]) / (run.high[i] - run.low[i]) : null)) },
];

// The indicators that a strategy of one's own declares: [name, is it on the scale of the prices, declaration].
const declaredOf = (trade) => (data.indicators || {})[trade.by];
const valuesOf = (run, name) => (OSCILLATORS.find((one) => one.name === name) || { values: (own) => own[name === "sma200" ? name : OWN + name] || [] }).values(run);

// What this trade was decided by, with the levels that held in its fold; a strategy without such levels shows the first.
function oscillatorsOf(trade, owner) {
  const declared = declaredOf(trade);
  if (declared) return declared.filter(([, isPrice]) => !isPrice).map(([name]) => ({ name, levels: [], top: null, values: (run) => valuesOf(run, name) }));
  const fold = owner.folds.findIndex((row) => row.fold === trade.fold);
  const found = OSCILLATORS.map(({ levels, ...rest }) => ({ ...rest, levels: levels.map((name) => (owner.path[name] || owner.path[trade.by + "." + name] || [])[fold])
    .filter((v) => !missing(v)).map((v) => (trade.side === "long" ? v : rest.top - v)) }));
  const read = found.filter((one) => one.levels.length);
  return read.length ? read : found.slice(0, 1);
}

// Half a day before or after a day's bar, so that a trade of one day has a width.
const halfDay = (day, sign) => new Date((day + sign / 2) * DAY_MS).toISOString().slice(0, 19);

function tradeFigure(c, trade, run, oscillators) {
  const declared = declaredOf(trade), lines = declared ? declared.filter(([, isPrice]) => isPrice).map(([name]) => [name, name]) : [["200-day average", "sma200"]];
  const entry = isoDay(trade.entry), exit = isoDay(trade.exit), long = trade.side === "long";
  const dot = (x, y, symbol, color, name) => ({ type: "scatter", mode: "markers", name, x: [x], y: [y], marker: { symbol, size: 13, color, line: { color: c.paper, width: 1.5 } }, hovertemplate: `${name} $%{y:.2f}<extra></extra>` });
  const tones = [c.ghost, c.held, c.doubt, c.soft];
  const traces = [
    { type: "candlestick", name: "bar", x: run.days, open: run.open, high: run.high, low: run.low, close: run.close, increasing: { line: { color: c.gain, width: 1 }, fillcolor: c.card }, decreasing: { line: { color: c.loss, width: 1 }, fillcolor: c.loss }, showlegend: false },
    ...lines.map(([title, name], i) => ({ type: "scatter", mode: "lines", name: title, x: run.days, y: valuesOf(run, name), line: { color: tones[i % tones.length], width: 1.5, dash: i < tones.length ? "solid" : "dash" }, hovertemplate: name + " %{y:.2f}<extra></extra>" })),
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


function factsOf(trade) {
  const { title } = book(), money = [trade.fees ? `fees ${write.small(trade.fees)}` : "", trade.dividends ? `dividends ${write.small(trade.dividends)}` : ""].filter(Boolean);
  const by = trade.by !== book().strategy ? `, entered by ${trade.by}` : "";
  return `${title}, test window ${trade.fold}${by}. Signal ${isoDay(trade.signal)}; in at ${write.price(trade.entry_price)} on ${isoDay(trade.entry)}, out at ${write.price(trade.exit_price)} on ${isoDay(trade.exit)} (${words(trade.reason)}) after ${trade.bars} ${trade.bars === 1 ? "bar" : "bars"}; ` +
    `${missing(trade.stop) ? "without a stop" : `stop ${write.price(trade.stop)}`}. Result ${write.money(trade.pnl)}${money.length ? ` (${money.join(", ")})` : ""}` +
    // Without a stop there is no risk to measure by.
    (missing(trade.r) ? "." : `, ${write.r(trade.r)}; went ${write.r(missing(trade.mae) ? null : -trade.mae).replace("+", "")} against and ${write.r(trade.mfe).replace("+", "")} for the position.`);
}

async function showTrade(name) {
  const dialog = byId("trade-dialog"), place = byId("chart-trade"), trade = await findTrade(name).catch(() => undefined);
  if (name !== chosen.trade) return;
  if (!trade) { if (dialog.open) dialog.close(); return; }
  byId("trade-title").textContent = `${trade.symbol}, ${trade.side}, ${isoDay(trade.entry)}`;
  byId("trade-facts").textContent = factsOf(trade);
  if (!dialog.open) dialog.showModal();
  let run, problem = "The bars of this trade are not on this page.";
  try { run = await barsFor(trade); await plotlyLoaded(); }
  catch { problem = notBeside(); }
  if (name !== chosen.trade) return;
  place.classList.toggle("blank", !run);
  if (!run) { if (typeof Plotly !== "undefined") Plotly.purge(place); place.textContent = problem; return; }
  if (!place.querySelector(".plot-container")) place.textContent = "";
  const [traces, layout] = tradeFigure(colors(), trade, around(run, trade), oscillatorsOf(trade, book()));
  place.setAttribute("aria-label", byId("trade-facts").textContent);
  Plotly.react(place, traces, layout, config);
}

function followTrade() {
  if (chosen.trade) return showTrade(chosen.trade);
  if (byId("trade-dialog").open) byId("trade-dialog").close();
  return undefined;
}
