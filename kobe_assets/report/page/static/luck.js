// What else the trades could have come to, and what drawn entries would have made.
function histogram(c, { edges, counts }, { color, title, tick, hover, line }) {
  const total = counts.reduce((sum, n) => sum + n, 0) || 1, middle = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
  return {
    traces: [{ type: "bar", x: middle, y: counts.map((n) => n / total), width: edges.slice(1).map((e, i) => e - edges[i]), marker: { color: middle.map(color), line: { color: c.paper, width: 1 } }, customdata: middle.map(hover), hovertemplate: "%{customdata}: %{y:.1%}<extra></extra>" }],
    layout: frame(c, { bargap: 0, xaxis: { title: { text: title }, tickformat: tick, showgrid: false, zeroline: false, nticks: narrow() ? 4 : 7 }, yaxis: { tickformat: ".2~%", nticks: 5 },
      shapes: line.map(([x]) => rule(c, { xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1 })),
      annotations: line.map(([x, text], i) => label(c, text, { x, y: 1 - i * 0.1, yref: "paper", xanchor: "left", yanchor: "top" })) }),
  };
}

charts.fan = (c) => {
  const { steps, fan, actual, resamples } = book().resampling;
  const edge = (p, more) => ({ type: "scatter", mode: "lines", x: steps, y: fan[p], line: { width: 0 }, hovertemplate: "$%{y:,.0f}<extra>" + p + " of 100 below</extra>", showlegend: false, ...more });
  return {
    traces: [edge("5"), edge("95", { fill: "tonexty", fillcolor: c.own + "22", name: "5 to 95 of 100", showlegend: true }),
      edge("25"), edge("75", { fill: "tonexty", fillcolor: c.own + "3d", name: "25 to 75 of 100", showlegend: true }),
      edge("50", { line: { width: 1.4, color: c.own, dash: "dash" }, name: "middle", showlegend: true }),
      { type: "scatter", mode: "lines", x: steps, y: actual, name: "the real order", line: { color: c.ink, width: 1.6 }, hovertemplate: "$%{y:,.0f}<extra>the real order</extra>" }],
    layout: frame(c, { showlegend: true, margin: { l: 44, r: 12, t: 34, b: 40 }, xaxis: { title: { text: "entry sessions" }, showgrid: false, zeroline: false }, yaxis: { tickprefix: "$", tickformat: ",.0f", nticks: 6 } }),
    label: `Fan of ${write.count(resamples)} histories: after all entry sessions between ${write.money(fan["5"].at(-1))} and ${write.money(fan["95"].at(-1))}, middle ${write.money(fan["50"].at(-1))}`,
  };
};

charts.worst_falls = (c) => {
  const { worst } = book().resampling, at = worst.percentiles;
  return {
    ...histogram(c, worst, { color: () => c.loss, title: "worst fall from a peak", tick: ".2~%", hover: (v) => write.percent(v), line: [[at["5"], "worst 5 of 100"], [at["50"], "middle"]] }),
    label: `Worst falls: ${write.percent(at["5"])} or deeper in 5 of 100 histories, ${write.percent(at["50"])} in the middle, ${write.percent(at["95"])} or less in 5 of 100`,
  };
};

charts.ends = (c) => {
  const { end } = book().resampling, at = end.percentiles;
  return {
    ...histogram(c, end, { color: (v) => (v < data.cash ? c.loss : c.gain), title: "wealth at the end", tick: "$,.4~s", hover: write.money, line: [[data.cash, "start"], [at["50"], "middle"]] }),
    label: `Wealth at the end: ${write.money(at["5"])} in the 5th, ${write.money(at["50"])} in the 50th, ${write.money(at["95"])} in the 95th of 100 histories`,
  };
};

charts.permutation = (c) => {
  const { edges, counts, own, p, permutations } = book().permutation;
  const found = histogram(c, { edges, counts }, { color: (v) => (v >= own ? c.loss : c.held), title: "Sharpe ratio", tick: ".1f", hover: write.ratio, line: [[own, "the strategy"]] });
  found.layout.xaxis.range = [Math.min(edges[0], own) - 0.1, Math.max(edges.at(-1), own) + 0.1 + (Math.max(edges.at(-1), own) - Math.min(edges[0], own)) * 0.15];
  return { ...found, label: `Sharpe ratios of ${write.count(permutations)} runs with drawn entries beside the strategy's ${write.ratio(own)}: p-value ${p.toFixed(3)}` };
};
