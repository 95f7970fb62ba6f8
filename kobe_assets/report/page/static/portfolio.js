// The strategies together: how alike their days are.
charts.correlation = (c) => {
  all("[data-mode]").forEach((part) => { part.hidden = part.dataset.mode !== book().mode; });
  const { names, correlation } = data.together[book().mode];
  return {
    traces: [{ type: "heatmap", x: names.map(plain), y: names.map(plain), z: correlation, text: correlation.map((row) => row.map(write.ratio)), texttemplate: "%{text}", textfont: { color: c.ink, size: 12 }, xgap: 2, ygap: 2, zmin: -1, zmax: 1, showscale: false,
      colorscale: [[0, mixed(c.gain, c.card, 0.5)], [0.5, c.card], [1, mixed(c.loss, c.card, 0.5)]], hovertemplate: "%{y} and %{x}: %{text}<extra></extra>" }],
    layout: frame(c, { height: 80 + 46 * names.length, margin: { l: 80, r: 12, t: 10, b: 40 }, xaxis: { type: "category", showgrid: false }, yaxis: { type: "category", autorange: "reversed", showgrid: false } }),
    label: "Correlation of daily returns: " + names.flatMap((a, i) => names.slice(i + 1).map((b, j) => `${a} and ${b} ${write.ratio(correlation[i][i + 1 + j])}`)).join(", "),
  };
};
