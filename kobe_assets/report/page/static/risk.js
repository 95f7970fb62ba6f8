// Costs, capacity, regimes, overfitting.
charts.costs = (c) => {
  const points = book().costs, x = points.map((p) => p[0]), y = points.map((p) => p[1]);
  const at = (v, text, color) => [rule(c, { xref: "x", yref: "paper", x0: v, x1: v, y0: 0, y1: 1 }, { line: { color, width: 1, dash: "dash" } }), label(c, text, { x: v, y: 1, yref: "paper", xanchor: "left", yanchor: "top", font: { size: 11, color } })];
  const [assumed, assumedText] = at(data.slippage_bps, "assumed", c.soft);
  const inside = !missing(book().break_even) && book().break_even >= 0 && book().break_even <= Math.max(...x);
  const even = inside ? at(book().break_even, "break-even", c.loss) : [];
  if (even.length) even[1] = { ...even[1], y: 0.88 };
  return {
    traces: [{ type: "scatter", mode: "lines+markers", x, y, line: { color: c.own, width: 2 }, marker: { size: 7, color: y.map((v) => gainOrLoss(c, v)) }, customdata: points.map((p) => write.money(p[2])), hovertemplate: "%{x} bps: Sharpe %{y:.2f}, net %{customdata}<extra></extra>" }],
    layout: frame(c, { xaxis: { title: { text: "slippage a fill, bps" }, showgrid: false, zeroline: false }, yaxis: { zeroline: true }, shapes: [assumed, ...even.slice(0, 1)], annotations: [assumedText, ...even.slice(1)] }),
    label: "Sharpe ratio by cost: " + points.map(([bps, s]) => `${bps} bps ${write.ratio(s)}`).join(", "),
  };
};

charts.capacity = (c) => {
  const { edges, counts } = book().capacity, middle = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
  const low = Math.floor(edges[0]), high = Math.max(Math.ceil(edges[edges.length - 1]), -1.5);
  const ticks = [], every = Math.ceil((high - low) / (narrow() ? 3 : 5));
  for (let p = -2; p >= low; p -= every) ticks.push(p);
  for (let p = -2 + every; p <= high; p += every) ticks.push(p);
  const share = (p) => Number((100 * 10 ** p).toPrecision(2)) + " %";
  return {
    traces: [{ type: "bar", x: middle, y: counts, width: edges[1] - edges[0], marker: { color: middle.map((v) => (v > -2 ? c.loss : c.own)), line: { color: c.paper, width: 1 } }, customdata: middle.map((_, i) => `${share(edges[i])} to ${share(edges[i + 1])}`), hovertemplate: "%{customdata}: %{y:,} orders<extra></extra>" }],
    layout: frame(c, { bargap: 0, xaxis: { tickvals: ticks, ticktext: ticks.map(share), title: { text: "share of the stock's day" }, range: [low, high], showgrid: false, zeroline: false, tickangle: 0 }, yaxis: wholes(counts), shapes: [rule(c, { xref: "x", yref: "paper", x0: -2, x1: -2, y0: 0, y1: 1 })], annotations: [label(c, "1 %", { x: -2, y: 1, yref: "paper", xanchor: "left", yanchor: "top" })] }),
    label: `Order size beside daily dollar volume: median ${write.percent(book().capacity.median, 4)}`,
  };
};

charts.regimes = (c) => {
  const rows = [...book().regimes].reverse(), y = rows.map(([kind, name]) => plain(kind === "crisis" ? name.replace(/ \(.*/, "") : name));
  const bars = (name, column, color) => ({ type: "bar", orientation: "h", name, y, x: rows.map((row) => row[column]), marker: { color }, customdata: rows.map((row) => write.ratio(row[4])), hovertemplate: "%{x:.1%}<extra>" + name + "</extra>" });
  return {
    traces: [...(rows.some((row) => row[3] !== null) ? [bars("holding, as much money at work", 3, c.held)] : []), bars("out of sample", 2, c.own)],
    layout: frame(c, { showlegend: true, barmode: "group", bargap: 0.3, height: 90 + 34 * rows.length, margin: { l: 44, r: 12, t: 30, b: 30 }, legend: { traceorder: "reversed" }, xaxis: { tickformat: ".2~%", nticks: 6 }, yaxis: { showgrid: false, tickfont: { size: narrow() ? 11 : 12 } } }),
    label: "Returns by kind of market: " + book().regimes.map(([, name, own]) => `${name} ${write.percent(own)}`).join(", "),
  };
};

charts.pbo = (c) => {
  const { edges, counts, trials, blocks } = book().pbo, middle = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
  const all_ = counts.reduce((sum, n) => sum + n, 0) || 1;
  return {
    traces: [{ type: "bar", x: middle, y: counts.map((n) => n / all_), width: edges.slice(1).map((e, i) => e - edges[i]), marker: { color: middle.map((v) => (v <= 0 ? c.loss : c.gain)), line: { color: c.paper, width: 1 } }, hovertemplate: "%{y:.1%} of halvings<extra></extra>" }],
    layout: frame(c, { bargap: 0, xaxis: { title: { text: "← worse than the middle · better → (log odds)" }, showgrid: false, zeroline: false }, yaxis: { tickformat: ".2~%", nticks: 5 }, shapes: [rule(c, { xref: "x", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1 })] }),
    label: `Histogram of ${write.count(all_)} halvings of ${blocks || "the"} blocks over ${trials || "the"} parameter sets`,
  };
};
