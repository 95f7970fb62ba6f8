// The account: growth, falls, money at work, months, years, rolling Sharpe.
const positive = (values, times) => values.map((v) => (v > 0 ? v * times : null));

function bands(c, folds) {
  return folds.filter((_, i) => i % 2 === 0).map((row) => ({
    type: "rect", xref: "x", yref: "paper", x0: row.from, x1: row.to, y0: 0, y1: 1, layer: "below", line: { width: 0 }, fillcolor: c.band,
  }));
}

// A logarithmic range around the values between two dates, with a little air.
function logRange(series, since, until) {
  const seen = series.flatMap(({ x, y }) => y.filter((v, i) => v > 0 && x[i] >= since && x[i] <= until)).map(Math.log10);
  if (!seen.length) return undefined;
  const low = Math.min(...seen), high = Math.max(...seen), air = Math.max((high - low) * 0.06, 0.002);
  return [low - air, high + air];
}

// Few, round dollar ticks for a logarithmic axis, even where it spans less than a power of ten.
function moneyTicks([low, high]) {
  const from = 10 ** low, to = 10 ** high;
  const nice = [1, 1.5, 2, 3, 5, 7];
  let ticks = [];
  if (to / from > 3) for (let p = Math.floor(low); p <= high; p++) ticks.push(...nice.map((n) => n * 10 ** p));
  else {
    const rough = (to - from) / 7, unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
    for (let v = Math.ceil(from / step) * step; v <= to; v += step) ticks.push(v);
  }
  ticks = ticks.filter((v) => v >= from && v <= to);
  if (ticks.length > 9) ticks = ticks.filter((_, i) => i % Math.ceil(ticks.length / 8) === 0);
  return { tickvals: ticks, ticktext: ticks.map((v) => "$" + v.toLocaleString("en-US", { maximumSignificantDigits: 6 })) };
}

// The sessions between two dates; of a few, each is marked: a range of days would be marked in parts of a second.
function dayAxis(since, until, days) {
  const inside = days.filter((day) => day >= since && day <= until);
  if (inside.length > 4) return { range: [since, until] };
  const beside = (day, step) => isoDay(Date.parse(day) / DAY_MS + step);
  return { range: [beside(since, -1), beside(until, 1)], tickvals: inside, tickformat: "%b %-d, %Y" };
}

charts.equity = (c) => {
  const curve = curveOf(book()), days = curve.days, cash = data.cash;
  const line = (name, x, y, color, more) => ({
    type: "scatter", mode: "lines", name, x, y, line: { color, width: 1.6, ...more }, hovertemplate: "$%{y:,.0f}<extra>" + name + "</extra>",
  });
  const lines = [];
  if (curve.benchmark && chosen.scale === "all") lines.push(line("buy and hold", days, positive(curve.benchmark, cash), c.held));
  if (curve.chosen && chosen.scale === "all") lines.push(line(plain(data.chosen) + ", held", days, positive(curve.chosen, cash), c.doubt));
  if (curve.matched && chosen.scale === "all") lines.push(line("holding, as much money at work", days, positive(curve.matched, cash), c.held, { dash: "dash", width: 1.4 }));
  if (curve.ghost && chosen.scale === "all") lines.push(line("best in hindsight", curve.ghost.days, positive(curve.ghost.growth, cash), c.ghost, { dash: "dot", width: 1.4 }));
  lines.push(line("out of sample", days, positive(curve.growth, cash), c.own, { width: 2.4 }));
  const fold = book().folds.find((row) => row.fold === chosen.fold);
  const since = fold ? fold.from : days[0], until = fold ? fold.to : days[days.length - 1];
  const range = logRange(lines, since, until);
  const shapes = bands(c, book().folds);
  if (fold) shapes.push({ type: "rect", xref: "x", yref: "paper", x0: fold.from, x1: fold.to, y0: 0, y1: 1, layer: "below", line: { width: 0 }, fillcolor: c.own, opacity: 0.08 });
  const falls = curve.drawdown.filter((_, i) => days[i] >= since && days[i] <= until);
  const end = curve.growth[curve.growth.length - 1] * cash;
  return {
    traces: [...lines, {
      type: "scatter", mode: "lines", name: "fall from peak", x: days, y: curve.drawdown, xaxis: "x", yaxis: "y2", fill: "tozeroy", showlegend: false,
      line: { color: c.loss, width: 1 }, fillcolor: c.loss + "33", hovertemplate: "%{y:.1%}<extra>fall from peak</extra>",
    }],
    layout: frame(c, {
      showlegend: lines.length > 1, hovermode: "x unified", shapes, legend: { traceorder: "reversed" },
      margin: { l: 44, r: 12, t: lines.length > 1 ? 34 : 10, b: 30 },
      xaxis: { ...dayAxis(since, until, days), showgrid: false, hoverformat: "%Y-%m-%d", anchor: "y2" },
      yaxis: { type: "log", domain: [0.32, 1], ...(range ? { range, ...moneyTicks(range) } : {}) },
      yaxis2: { domain: [0, 0.25], tickformat: ".2~%", range: [Math.min(...falls, -0.002) * 1.1, 0], nticks: 4, zeroline: false },
    }),
    label: `Growth of ${write.money(cash)} to ${write.money(end)} out of sample, ${days[0]} to ${days[days.length - 1]}; worst fall ${write.percent(Math.min(...curve.drawdown))}`,
  };
};

// Money at work and positions, on the sessions of the account above.
charts.at_work = (c) => {
  const curve = curveOf(book()), days = curve.days, fold = book().folds.find((row) => row.fold === chosen.fold);
  const since = fold ? fold.from : days[0], until = fold ? fold.to : days[days.length - 1];
  const inside = (values) => values.filter((_, i) => days[i] >= since && days[i] <= until);
  const shown = inside(curve.exposure), most = Math.max(...inside(curve.positions), 1);
  const mean = shown.reduce((sum, v) => sum + v, 0) / (shown.length || 1);
  const area = (y, color, more) => ({ type: "scatter", mode: "lines", x: days, y, line: { color, width: 1, shape: "hv" }, fill: "tozeroy", fillcolor: color + "33", ...more });
  return {
    traces: [area(curve.exposure, c.own, { name: "money at work", hovertemplate: "%{y:.1%}<extra>money at work</extra>" }),
      area(curve.positions, c.held, { name: "positions", yaxis: "y2", hovertemplate: "%{y:,}<extra>positions</extra>" })],
    layout: frame(c, {
      hovermode: "x unified", shapes: bands(c, book().folds), margin: { l: 44, r: 12, t: 10, b: 30 },
      xaxis: { ...dayAxis(since, until, days), showgrid: false, hoverformat: "%Y-%m-%d", anchor: "y2" },
      yaxis: { domain: [0.56, 1], tickformat: ".2~%", range: [0, Math.max(...shown, 0.001) * 1.08], nticks: 4, title: { text: "at work" } },
      yaxis2: { domain: [0, 0.44], ...wholes([most]), range: [0, most * 1.08], nticks: 4, title: { text: "positions" } },
    }),
    label: `Share of the account in the market: ${write.percent(mean)} on average, at most ${write.percent(Math.max(...shown, 0))}; at most ${most} positions`,
  };
};

charts.months = (c) => monthsChart(c, book().curve);

charts.years = (c) => {
  const rows = book().curve.years, x = rows.map(([year]) => String(year));
  const bars = (name, column, color) => ({
    type: "bar", name, x, y: rows.map((row) => row[column]), marker: { color }, hovertemplate: "%{x}: %{y:.1%}<extra>" + name + "</extra>",
  });
  const held = rows.some((row) => row[2] !== null) ? [bars("holding, as much money at work", 2, c.held)] : [];
  return {
    traces: [bars("out of sample", 1, c.own), ...held],
    layout: frame(c, { showlegend: true, barmode: "group", margin: { l: 44, r: 4, t: 30, b: 30 }, xaxis: { type: "category", showgrid: false, tickangle: 0, nticks: narrow() ? 7 : 10 }, yaxis: { tickformat: ".2~%" } }),
    label: `Yearly returns: ${rows.filter((row) => row[1] > 0).length} of ${rows.length} years made money`,
  };
};

charts.rolling = (c) => {
  const curve = curveOf(book()), days = curve.days;
  return {
    traces: [{ type: "scatter", mode: "lines", x: days, y: curve.rolling, line: { color: c.own, width: 1.6 }, hovertemplate: "%{x|%Y-%m-%d}: %{y:.2f}<extra></extra>" }],
    layout: frame(c, { xaxis: { showgrid: false }, yaxis: { zeroline: true }, shapes: bands(c, book().folds) }),
    label: `Sharpe ratio of the last ${curve.rolling_sessions} sessions over time`,
  };
};
