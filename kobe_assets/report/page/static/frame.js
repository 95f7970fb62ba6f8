// How every chart looks.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const colors = () => Object.fromEntries(
  ["paper", "card", "ink", "soft", "rule", "band", "own", "held", "ghost", "gain", "loss", "doubt", "gain-cell", "loss-cell"].map((name) => [name, css(name)]));

function isDark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

// Paper is light. onPaper(whether the page was dark) draws what is printed, onScreen a dark page's charts again.
function listenToPrinter(onPaper, onScreen) {
  let theme = null;
  window.addEventListener("beforeprint", () => {
    theme = isDark() ? document.documentElement.dataset.theme || "" : null;
    if (theme !== null) document.documentElement.dataset.theme = "light";
    onPaper(theme !== null);
  });
  window.addEventListener("afterprint", () => {
    if (theme === null) return;
    if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
    onScreen();
  });
}

const touch = window.matchMedia("(pointer: coarse)").matches;
const config = { displayModeBar: false, responsive: true, showTips: false };

const axis = (c, more = {}) => ({
  gridcolor: c.rule, zerolinecolor: c.soft, linecolor: c.rule, tickcolor: c.rule, zerolinewidth: 1, automargin: true,
  fixedrange: touch, ...more, title: { standoff: 8, font: { size: 12, color: c.soft }, ...(more.title || {}) },
});

function merge(base, more) {
  const merged = { ...base };
  for (const [key, value] of Object.entries(more)) {
    const both = value && merged[key] && typeof value === "object" && typeof merged[key] === "object" && !Array.isArray(value);
    merged[key] = both ? { ...merged[key], ...value } : value;
  }
  return merged;
}

function frame(c, more = {}) {
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: c.soft },
    margin: { l: 44, r: 12, t: 10, b: 34 }, hovermode: "closest", dragmode: touch ? false : "zoom", showlegend: false,
    hoverlabel: { bgcolor: c.card, bordercolor: c.rule, font: { color: c.ink, size: 12 } }, separators: ".,",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: c.ink, size: 12 }, bgcolor: "rgba(0,0,0,0)" },
    bargap: 0.25,
  };
  const axes = Object.fromEntries(Object.entries(more).filter(([key]) => /^[xy]axis/.test(key)).map(([key, value]) => [key, axis(c, value)]));
  return merge(merge(base, { xaxis: axis(c), yaxis: axis(c), ...more }), axes);
}

// An axis of whole numbers: left to itself Plotly puts halves between few of them, and rounds them to twins.
const wholes = (values) => ({ tickformat: ",d", ...(Math.max(...values) < 5 ? { dtick: 1 } : { nticks: 5 }) });

const rule = (c, where, more = {}) => ({ type: "line", layer: "above", line: { color: c.ink, width: 1, dash: "dash" }, ...where, ...more });
const label = (c, text, where) => ({ text, showarrow: false, font: { size: 11, color: c.ink }, bgcolor: c.paper, ...where });

function leaveBlank(place, why) {
  Plotly.purge(place);
  place.classList.add("blank");
  place.style.height = "";
  place.textContent = why;
  place.setAttribute("aria-label", why);
}

function plot(place, { traces, layout, label: text }) {
  if (!place.querySelector(".plot-container")) place.textContent = "";
  if (layout.height) place.style.height = layout.height + "px";
  if (text) place.setAttribute("aria-label", text);
  Plotly.react(place, traces, layout, config);
}
