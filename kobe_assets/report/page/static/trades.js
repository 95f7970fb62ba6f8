// Signals to trades, and what the trades look like.
const tradeStats = () => book().trade.by_fold[String(chosen.fold)] || { n: 0, won: 0, pnl: 0, mean_r: null, r: [], held: [], exits: [] };
const gainOrLoss = (c, v) => (v > 0 ? c.gain : c.loss);

// A chart that follows the fold says so itself where that fold holds nothing.
function nothing(c, text) {
  return { traces: [], layout: frame(c, { xaxis: { visible: false }, yaxis: { visible: false }, annotations: [label(c, text, { xref: "paper", yref: "paper", x: 0.5, y: 0.5 })] }), label: text };
}

charts.flow = (c) => {
  const row = book().flow.find((r) => r.fold === chosen.fold);
  if (!row || !row.signals) return nothing(c, "No signal met the market in this test window.");
  const names = ["signals", ...row.refused.map(([reason]) => reason.replace(/_/g, " ")), "traded"];
  const share = (n) => `${write.count(n)} (${write.percent(n / row.signals, 0)})`;
  const counts = [write.count(row.signals), ...row.refused.map(([, n]) => share(n)), share(row.traded)];
  // In a column of their own: beside short bars they would cover the names.
  const annotations = counts.map((text, i) => label(c, text, { xref: "paper", x: 1, xanchor: "left", y: i }));
  return {
    traces: [{
      type: "waterfall", orientation: "h", y: names.map(plain), x: [row.signals, ...row.refused.map(([, n]) => -n), row.traded],
      measure: ["absolute", ...row.refused.map(() => "relative"), "total"], connector: { line: { color: c.rule, width: 1 } },
      decreasing: { marker: { color: c.loss } }, increasing: { marker: { color: c.gain } }, totals: { marker: { color: c.own } }, hoverinfo: "skip",
    }],
    layout: frame(c, { height: 60 + 34 * names.length, margin: { l: 44, r: 84, t: 6, b: 28 }, annotations, xaxis: { ...wholes([row.signals]), rangemode: "tozero" }, yaxis: { autorange: "reversed", showgrid: false } }),
    label: `${write.count(row.signals)} signals, ${row.refused.map(([reason, n]) => `${write.count(n)} refused: ${reason.replace(/_/g, " ")}`).join(", ")}; ${write.count(row.traded)} traded`,
  };
};

charts.r = (c) => {
  const stats = tradeStats(), edges = book().trade.r_edges;
  if (!stats.n) return nothing(c, "No trades in this test window.");
  const middle = stats.r.map((_, i) => (edges[i] + edges[i + 1]) / 2);
  const last = middle.length - 1;
  const span = (i) => (i === 0 ? `below ${edges[1]} R` : i === last ? `above ${edges[last]} R` : `${edges[i]} to ${edges[i + 1]} R`);
  const mean = missing(stats.mean_r) ? [] : [stats.mean_r];
  return {
    traces: [{ type: "bar", x: middle, y: stats.r, width: edges[1] - edges[0], marker: { color: middle.map((v) => gainOrLoss(c, v)), line: { color: c.paper, width: 1 } }, customdata: stats.r.map((_, i) => minus(span(i))), hovertemplate: "%{customdata}: %{y:,} trades<extra></extra>" }],
    layout: frame(c, {
      bargap: 0, xaxis: { title: { text: "R" }, dtick: 1, showgrid: false, zeroline: false }, yaxis: wholes(stats.r),
      shapes: [rule(c, { x0: -1, x1: -1, xref: "x", y0: 0, y1: 1, yref: "paper" }, { line: { color: c.soft, width: 1, dash: "dot" } }), ...mean.map((v) => rule(c, { x0: v, x1: v, xref: "x", y0: 0, y1: 1, yref: "paper" }))],
      annotations: [label(c, "full stop", { x: -1, y: 1, yref: "paper", xanchor: "right", yanchor: "top", font: { size: 11, color: c.soft } }), ...mean.map((v) => label(c, "average " + write.r(v), { x: v, y: 1, yref: "paper", xanchor: "left", yanchor: "top" }))],
    }),
    label: `Results of ${write.count(stats.n)} trades in R; average ${write.r(stats.mean_r)}`,
  };
};

charts.exits = (c) => {
  const exits = [...tradeStats().exits].sort((a, b) => a[1] - b[1]);
  if (!exits.length) return nothing(c, "No trades in this test window.");
  return {
    traces: [{ type: "bar", orientation: "h", y: exits.map(([name]) => plain(name.replace(/_/g, " "))), x: exits.map(([, n]) => n), marker: { color: exits.map(([, , pnl]) => gainOrLoss(c, pnl)) }, text: exits.map(([, n, pnl]) => `${write.count(n)}, ${write.money(pnl)}`), textposition: "auto", insidetextanchor: "start", insidetextfont: { color: c.paper }, outsidetextfont: { color: c.ink }, cliponaxis: false, hoverinfo: "skip" }],
    layout: frame(c, { height: 70 + 40 * exits.length, margin: { l: 44, r: 70, t: 6, b: 28 }, xaxis: wholes(exits.map(([, n]) => n)), yaxis: { showgrid: false } }),
    label: "Exits: " + exits.map(([name, n, pnl]) => `${name.replace(/_/g, " ")} ${write.count(n)} with ${write.money(pnl)}`).join(", "),
  };
};

charts.held = (c) => {
  const held = tradeStats().held, x = held.map((_, i) => i), most = book().trade.held_most;
  const names = x.map((i) => (i === most ? `${i} or more` : String(i))), marked = x.filter((i) => i && i % (held.length > 12 ? 2 : 1) === 0);
  return {
    traces: [{ type: "bar", x, y: held, customdata: names, marker: { color: c.own }, hovertemplate: "%{customdata} bars: %{y:,} trades<extra></extra>" }],
    layout: frame(c, { xaxis: { tickvals: marked, ticktext: marked.map((i) => (i === most ? `${i}+` : String(i))), showgrid: false, title: { text: "bars" }, range: [0.4, Math.max(held.length, 2) - 0.4] }, yaxis: wholes(held) }),
    label: "Bars held: " + held.map((n, i) => [names[i], n]).filter(([, n]) => n).map(([name, n]) => `${name}: ${write.count(n)}`).join(", "),
  };
};

charts.excursions = (c) => {
  const points = book().trade.points, keep = points.fold.map((f, i) => i).filter((i) => !chosen.fold || points.fold[i] === chosen.fold);
  const pick = (values) => keep.map((i) => values[i]);
  const r = pick(points.r), color = r.map((v) => gainOrLoss(c, v));
  const cloud = (x, more, name) => ({ type: "scatter", mode: "markers", x, y: r, marker: { color, size: 5, opacity: 0.55 }, hovertemplate: `${name} %{x:.2f} R<br>result %{y:.2f} R<extra></extra>`, ...more });
  const wide = !narrow();
  const against = cloud(pick(points.mae).map((v) => -v), {}, "went against");
  const along = cloud(pick(points.mfe), { xaxis: "x2", yaxis: "y2" }, "went for");
  byId("excursions-note").textContent = keep.length < (chosen.fold ? tradeStats().n : points.of) ? `Drawn: ${write.count(keep.length)} of ${write.count(chosen.fold ? tradeStats().n : points.of)} trades, spaced evenly.` : "";
  return {
    traces: [against, along],
    layout: frame(c, {
      height: wide ? 340 : 520, margin: { l: 44, r: 8, t: 10, b: 40 },
      xaxis: { domain: wide ? [0, 0.47] : [0, 1], title: { text: "furthest against, R" }, rangemode: "tozero", anchor: "y", zeroline: false },
      yaxis: { domain: wide ? [0, 1] : [0.58, 1], title: { text: "result, R" } },
      xaxis2: { domain: wide ? [0.53, 1] : [0, 1], title: { text: "furthest for, R" }, rangemode: "tozero", anchor: "y2", zeroline: false },
      yaxis2: { domain: wide ? [0, 1] : [0, 0.42], matches: "y", anchor: "x2" },
      shapes: [rule(c, { xref: "x", yref: "y domain", x0: 1, x1: 1, y0: 0, y1: 1 })],
      annotations: [label(c, "stop", { xref: "x", yref: "y domain", x: 1, y: 1, xanchor: "left", yanchor: "top" })],
    }),
    label: `Excursions of ${write.count(keep.length)} trades in R against their result`,
  };
};

charts.without_best = (c) => {
  const left = book().trade.without_best, gone = left.findIndex((v) => v <= 0);
  return {
    traces: [{ type: "bar", x: left.map((_, i) => i), y: left, marker: { color: left.map((v) => gainOrLoss(c, v)) }, hovertemplate: "without the best %{x}: $%{y:,.2f}<extra></extra>" }],
    layout: frame(c, { xaxis: { title: { text: "best trades taken away" }, showgrid: false, dtick: 5 }, yaxis: { tickformat: "$,.0f", nticks: 6 } }),
    label: gone < 0 ? "Net profit stays positive without the best trades shown" : `Net profit is gone without the best ${gone} trades`,
  };
};

charts.symbols = (c) => {
  const rows = [...book().trade.symbols].reverse();
  return {
    traces: [{ type: "bar", orientation: "h", y: rows.map(([name]) => plain(name)), x: rows.map(([, , pnl]) => pnl), customdata: rows.map(([, n]) => n), marker: { color: rows.map(([, , pnl]) => gainOrLoss(c, pnl)) }, hovertemplate: "%{y}: $%{x:,.2f} in %{customdata:,} trades<extra></extra>" }],
    layout: frame(c, { height: Math.max(180, 50 + 19 * rows.length), xaxis: { tickformat: "$,.0f", nticks: 5 }, yaxis: { type: "category", showgrid: false, dtick: 1, tickfont: { size: 11 } } }),
    label: `Profit of the best and worst of ${book().trade.symbol_count} symbols`,
  };
};

function tradeLines() {
  const stats = tradeStats(), trade = book().trade;
  byId("trade-line").textContent = stats.n
    ? `${write.count(stats.n)} trades, ${write.percent(stats.won / stats.n, 0)} of them winners, average ${write.money(stats.pnl / stats.n)}${missing(stats.mean_r) ? "" : ` (${write.r(stats.mean_r)})`}, ${write.money(stats.pnl)} in all` +
      (chosen.fold ? "." : `, each test window starting with ${write.money(data.cash)} anew.`)
    : "No trades here.";
  byId("share-line").textContent = missing(trade.top_share)
    ? "There is no net profit, so no trade or symbol has a share in it."
    : `The ${trade.top_trades} best trades made ${write.percent(trade.top_share, 0)} of the net profit` +
      (trade.symbol_count > trade.top_symbols ? `, the ${trade.top_symbols} best of ${write.count(trade.symbol_count)} symbols ${write.percent(trade.symbol_share, 0)}.` : ".");
  const refused = new Set((book().flow.find((r) => r.fold === chosen.fold) || { refused: [] }).refused.map(([reason]) => reason));
  all("[data-reason]").forEach((item) => { item.hidden = !refused.has(item.dataset.reason); });
}
