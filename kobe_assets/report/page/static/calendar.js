// What an account did: its months and years, and its falls.
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// months: [year, month, return]; years: [year, return, …].
function monthsChart(c, curve) {
  const rows = curve.months, totals = new Map(curve.years.map(([year, own]) => [year, own]));
  const years = [...totals.keys()];
  const cells = years.map((year) => MONTHS.map((_, m) => rows.find(([y, month]) => y === year && month === m + 1)?.[2] ?? null));
  const endOf = (values) => { const sizes = values.map(Math.abs).sort((a, b) => a - b); return sizes[Math.floor(sizes.length * 0.95)] || sizes[sizes.length - 1] || 0.01; };
  const top = endOf(rows.map(([, , v]) => v)), size = narrow() ? 26 : 28;
  // A year is written as finely as its months.
  const digits = narrow() ? 1 : top < 0.001 ? 3 : top < 0.01 ? 2 : 1;
  const said = (v) => (v === null ? "" : minus((v * 100).toFixed(digits)));
  const grid = (x, z, end, font) => ({
    type: "heatmap", x, y: years.map(String), z, zmin: -end, zmax: end, zmid: 0, xgap: 2, ygap: 2, showscale: false, hoverongaps: false,
    colorscale: [[0, c["loss-cell"]], [0.5, c.card], [1, c["gain-cell"]]], text: z.map((row) => row.map(said)),
    texttemplate: "%{text}", textfont: { size: narrow() ? 10 : 11.5, color: c.ink, ...font }, hovertemplate: "%{x} %{y}: %{z:.2%}<extra></extra>",
  });
  const columns = [...MONTHS, "Year"], names = narrow() ? MONTHS.map((name) => name.slice(0, 1)) : MONTHS;
  return {
    // Two grids of one shape: years have a scale of their own.
    traces: [grid(columns, cells.map((row) => [...row, null]), top, {}), grid(columns, years.map((year) => [...MONTHS.map(() => null), totals.get(year)]), endOf([...totals.values()]), { weight: 700 })],
    layout: frame(c, {
      height: 40 + size * years.length, margin: { l: 40, r: 4, t: 24, b: 4 }, dragmode: false,
      xaxis: { side: "top", showgrid: false, zeroline: false, fixedrange: true, tickangle: 0, showline: false, ticks: "", type: "category", tickvals: columns, ticktext: [...names, "Year"] },
      yaxis: { autorange: "reversed", type: "category", showgrid: false, zeroline: false, fixedrange: true, dtick: 1, ticks: "", showline: false },
    }),
    label: `Monthly returns in percent over ${years.length} years; ${rows.filter(([, , v]) => v > 0).length} of ${rows.length} months made money. ` +
      years.map((year) => `${year}: ${write.percent(totals.get(year))}`).join(", "),
  };
}

// Falls of a curve: [peak, trough, recovered, depth, down, up].
function fillFalls(table, caption, drawdowns) {
  const heads = [["From the peak of", "text"], ["Lowest on", "text"], ["Recovered on", "text"], ["Depth", "num"], ["Sessions down", "num"], ["Sessions back", "num"], ["In all", "num"]];
  fillTable(table, caption, heads, drawdowns.map(([peak, trough, recovered, depth, down, up]) => ({
    head: { text: peak || "the start", sort: peak, kind: "nowrap" },
    cells: [[trough, trough, "nowrap"], [recovered || "not yet", recovered || "9999", "nowrap"], [write.percent(depth), depth, "num"], [write.count(down), down, "num"], [write.count(up), up, "num"], [write.count(down + up), down + up, "num"]],
  })), "It never fell.");
}
