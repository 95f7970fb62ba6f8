// Test window by test window: training against what followed, and the path of the chosen parameters.
charts.scatter = (c) => {
  const { scatter, line } = book(), x = scatter.map((p) => p[1]), y = scatter.map((p) => p[2]);
  const low = Math.min(...x, ...y, 0), high = Math.max(...x, ...y, 0), air = (high - low) * 0.06 || 1;
  const ends = [Math.min(...x), Math.max(...x)];
  const is = (fold) => fold === chosen.fold;
  const traces = [
    { type: "scatter", mode: "lines", name: "kept its promise", x: [low, high], y: [low, high], line: { color: c.held, width: 1, dash: "dot" }, hoverinfo: "skip" },
    { type: "scatter", mode: "markers", name: "test window", x, y, customdata: scatter.map((p) => p[0]), showlegend: false,
      marker: { color: scatter.map((p) => (is(p[0]) ? c.ghost : c.own)), size: scatter.map((p) => (is(p[0]) ? 12 : 8)), opacity: 0.85, line: { color: c.paper, width: 1 } },
      hovertemplate: "test window %{customdata}<br>training %{x:.2f}<br>unseen %{y:.2f}<extra></extra>" },
  ];
  if (line) traces.splice(1, 0, { type: "scatter", mode: "lines", name: "slope " + write.ratio(line[0]), x: ends, y: ends.map((v) => line[1] + line[0] * v), line: { color: c.own, width: 2 }, hoverinfo: "skip" });
  return {
    traces,
    layout: frame(c, { showlegend: true, margin: { l: 44, r: 12, t: 30, b: 40 }, xaxis: { title: { text: "Sharpe in training" }, range: [Math.min(...x) - air, Math.max(...x) + air] }, yaxis: { title: { text: "Sharpe on unseen sessions" } } }),
    label: line ? `Training against unseen Sharpe of ${line[3]} test windows: slope ${write.ratio(line[0])}, correlation ${write.ratio(line[2])}` : "Training against unseen Sharpe of each test window",
  };
};

charts.path = (c) => {
  const path = Object.entries(book().path), folds = book().folds.map((row) => row.fold);
  const rows = path.filter(([, values]) => new Set(values).size > 1).slice(0, 5);
  const part = 1 / rows.length, layout = { xaxis: { title: { text: "test window" }, showgrid: false, anchor: "y" + (rows.length > 1 ? rows.length : ""), zeroline: false } };
  const traces = rows.map(([name, values], i) => {
    const y = "y" + (i ? i + 1 : "");
    const levels = [...new Set(values.filter((v) => v !== null))].sort((a, b) => a - b);
    const low = levels[0], high = levels[levels.length - 1], room = (high - low) * 0.3;
    const tickvals = levels.filter((v) => v === low || v === high || (v - low > room && high - v > room));
    layout["yaxis" + (i ? i + 1 : "")] = { domain: [1 - (i + 1) * part + 0.05, 1 - i * part - 0.07], tickvals, zeroline: false };
    return { type: "scatter", mode: "lines+markers", x: folds, y: values, yaxis: y, line: { shape: "hvh", color: c.own, width: 1.6 }, marker: { size: folds.map((f) => (f === chosen.fold ? 10 : 4)), color: folds.map((f) => (f === chosen.fold ? c.ghost : c.own)) }, hovertemplate: `test window %{x}: %{y}<extra>${plain(name)}</extra>` };
  });
  layout.annotations = rows.map(([name], i) => label(c, plain(name), { xref: "paper", yref: "paper", x: 0, y: 1 - i * part - 0.06, xanchor: "left", yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" }));
  return { traces, layout: frame(c, layout), label: `Parameters over ${folds.length} test windows: ${rows.map(([name]) => name).join(", ")}` };
};

const WINDOW_HEADS = [["Window", "num"], ["Sessions", "text"], ["Parameters", "text"], ["Train Sharpe", "num"], ["Sharpe", "num"], ["Net profit", "num"], ["Worst fall", "num"], ["Trades", "num"], ["Won", "num"], ["Refused", "num"]];
function fillWindows() {
  const badBelowZero = (v) => (!missing(v) && v < 0 ? " bad" : "");
  fillTable(byId("windows"), `Test windows of ${book().title}`, WINDOW_HEADS, book().windows.map(([fold, since, until, params, train, sharpe, pnl, fall, trades, won, refused]) => ({
    head: { text: String(fold), sort: fold, kind: "num", button: { foldChoose: fold } }, data: { fold },
    cells: [
      [`${since} to ${until}`, since, "nowrap"], [params, params, "params"], [write.ratio(train), train, "num"], [write.ratio(sharpe), sharpe, "num" + badBelowZero(sharpe)],
      [write.cents(pnl), pnl, "num" + badBelowZero(pnl)], [write.percent(fall), fall, "num"], [write.count(trades), trades, "num"], [write.percent(won), won, "num"], [write.count(refused), refused, "num"]],
  })), "No test windows were recorded.");
}
