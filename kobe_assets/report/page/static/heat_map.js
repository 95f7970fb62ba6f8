// The grid: every pair of parameters, the others at their best or as chosen.
const shown = { pair: "", source: "mean", fixed: {} };

const gridOf = () => data.grids[book().strategy];
const pairsOf = (names) => (names.length < 2 ? names.map((name) => [name, ""]) : names.flatMap((a, i) => names.slice(i + 1).map((b) => [a, b])));

// The map of two parameters (`down` may be empty) as rows of cells: best mean, folds that traded it and their mean test ratio.
function mapOf(grid, across, down, fixed) {
  const names = Object.keys(grid.axes), x = names.indexOf(across), y = names.indexOf(down);
  const fits = (set) => Object.entries(fixed).every(([name, place]) => set[names.indexOf(name)] === place);
  const cells = Array.from({ length: down ? grid.axes[down].length : 1 }, () => grid.axes[across].map(() => ({ mean: null, folds: [], tested: [], canonical: false })));
  const at = (k) => (k === null || !fits(grid.sets[k]) ? null : cells[down ? grid.sets[k][y] : 0][grid.sets[k][x]]);
  grid.mean.forEach((value, k) => { const cell = at(k); if (cell && value !== null && (cell.mean === null || value > cell.mean)) cell.mean = value; });
  grid.folds.forEach(([fold, k, value]) => { const cell = at(k); if (cell) { cell.folds.push(fold); if (value !== null) cell.tested.push(value); } });
  const home = at(grid.canonical);
  if (home) home.canonical = true;
  cells.flat().forEach((cell) => { cell.unseen = cell.tested.length ? cell.tested.reduce((sum, v) => sum + v, 0) / cell.tested.length : null; });
  return cells;
}

function bestOf(cells) {
  let best = null;
  cells.forEach((row, i) => row.forEach((cell, j) => { if (cell.mean !== null && (!best || cell.mean > cells[best[0]][best[1]].mean)) best = [i, j]; }));
  return best;
}

function plateauOf(cells, best) {
  if (!best || !(cells[best[0]][best[1]].mean > 0)) return null;
  const around = cells.flatMap((row, i) => row.filter((cell, j) => Math.abs(i - best[0]) < 2 && Math.abs(j - best[1]) < 2 && !(i === best[0] && j === best[1]) && cell.mean !== null));
  return around.length ? around.reduce((sum, cell) => sum + cell.mean, 0) / around.length / cells[best[0]][best[1]].mean : null;
}

// `share` of a colour on another, as the browser would mix them.
function mixed(color, under, share) {
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [parts(color), parts(under)];
  return `rgb(${a.map((v, i) => Math.round(v * share + b[i] * (1 - share))).join(",")})`;
}

function select(text, name, options, chosenValue) {
  const field = element("label", text + " "), list = element("select");
  list.name = name;
  options.forEach(([value, words]) => { const option = element("option", words); option.value = value; option.selected = value === chosenValue; list.append(option); });
  field.append(list);
  return field;
}

function gridPicks() {
  const form = byId("grid-picks"), grid = gridOf();
  if (!form) return;
  form.replaceChildren();
  if (!grid) return;
  const names = Object.keys(grid.axes), pairs = pairsOf(names).map(([a, b]) => [a + "|" + b, b ? `${a} × ${b}` : a]);
  if (!pairs.some(([key]) => key === shown.pair)) { shown.pair = pairs.length ? pairs[0][0] : ""; shown.fixed = {}; }
  if (pairs.length > 1) form.append(select("Parameters", "grid-pair", pairs, shown.pair));
  form.append(select("Sharpe ratio", "grid-source", [["mean", "in training"], ["unseen", "on unseen sessions, where traded"]], shown.source));
  names.filter((name) => !shown.pair.split("|").includes(name)).forEach((name) => {
    const options = [["", "at its best"], ...grid.axes[name].map((value, place) => [String(place), String(value)])];
    form.append(select(name, "grid-fixed-" + name, options, name in shown.fixed ? String(shown.fixed[name]) : ""));
  });
}

charts.heat_map = (c) => {
  gridPicks();
  const grid = gridOf(), [across, down] = shown.pair.split("|");
  const cells = mapOf(grid, across, down, shown.fixed), best = bestOf(cells), plateau = plateauOf(cells, best);
  const x = grid.axes[across].map(String), y = down ? grid.axes[down].map(String) : [""];
  const z = cells.map((row) => row.map((cell) => cell[shown.source]));
  const most = Math.max(...z.flat().filter((v) => v !== null).map(Math.abs), 0.01);
  const words = cells.map((row, i) => row.map((cell, j) => {
    const star = best && best[0] === i && best[1] === j ? "★ " : "";
    return `${star}${write.ratio(cell[shown.source])}${cell.folds.length ? "<br>" + cell.folds.length + (cell.folds.length === 1 ? " window" : " windows") : ""}`;
  }));
  const hover = cells.map((row, i) => row.map((cell, j) => `${plain(across)} ${x[j]}${down ? ", " + plain(down) + " " + y[i] : ""}<br>in training ${write.ratio(cell.mean)}<br>on unseen sessions ${write.ratio(cell.unseen)}${cell.folds.length ? "<br>chosen in test windows " + cell.folds.join(", ") : ""}`));
  const home = cells.flatMap((row, i) => row.map((cell, j) => (cell.canonical ? [i, j] : null))).filter(Boolean);
  byId("grid-plateau").textContent = plateau === null ? "No plateau figure: the best cell is not above 0, or stands alone."
    : `Plateau ${write.ratio(plateau)}: the cells around the best one have ${write.percent(plateau, 0)} of its ratio in training. Near 1 the choice hardly matters; near 0, or below, it was a spike.`;
  if (shown.source === "unseen") byId("grid-plateau").textContent += " On unseen sessions a cell shows the mean ratio of the test windows that chose it and traded; of a few windows it says little.";
  return {
    traces: [{ type: "heatmap", x, y, z, text: words, customdata: hover, texttemplate: "%{text}", textfont: { color: c.ink, size: 12 }, xgap: 2, ygap: 2, zmin: -most, zmax: most, showscale: false, hoverongaps: false,
      colorscale: [[0, mixed(c.loss, c.card, 0.5)], [0.5, c.card], [1, mixed(c.gain, c.card, 0.5)]], hovertemplate: "%{customdata}<extra></extra>" }],
    layout: frame(c, { height: 110 + 62 * y.length, margin: { l: 60, r: 12, t: 10, b: 44 },
      xaxis: { type: "category", title: { text: plain(across) }, showgrid: false, zeroline: false }, yaxis: { type: "category", title: { text: plain(down) }, showgrid: false, zeroline: false },
      shapes: home.map(([i, j]) => ({ type: "rect", xref: "x", yref: "y", x0: j - 0.47, x1: j + 0.47, y0: i - 0.46, y1: i + 0.46, line: { color: c.ink, width: 2 } })) }),
    label: `Sharpe ratio of ${across}${down ? " and " + down : ""}: ${best ? `best ${write.ratio(cells[best[0]][best[1]].mean)} at ${x[best[1]]}${down ? " and " + y[best[0]] : ""}` : "none known"}`,
  };
};

document.addEventListener("change", ({ target }) => {
  if (!target.name || !target.name.startsWith("grid-")) return;
  if (target.name === "grid-pair") { shown.pair = target.value; shown.fixed = {}; }
  else if (target.name === "grid-source") shown.source = target.value;
  else {
    const name = target.name.slice("grid-fixed-".length);
    if (target.value === "") delete shown.fixed[name]; else shown.fixed[name] = Number(target.value);
  }
  const kept = target.name;
  draw(["heat_map"]);
  const again = document.querySelector(`#grid-picks [name="${CSS.escape(kept)}"]`);
  if (again) again.focus();
});
