// When a chart is drawn: when it comes into view, again when what it shows has changed.
const charts = {};  // name → (colours) => {traces, layout, label}

// A chart that fails says so in its place and leaves the others alone.
function drawChart(name) {
  const place = byId("chart-" + name);
  if (!place || !book() || !charts[name]) return;
  const why = book().why[name];
  if (why) { leaveBlank(place, why); return; }
  place.classList.remove("blank");
  try { plot(place, charts[name](colors())); } catch (error) {
    leaveBlank(place, "This chart could not be drawn; its figures are in the tables.");
    reportError(error);
  }
}

// Charts to draw: `stale` ones are drawn as soon as they are in view and Plotly is there.
const stale = new Set(), inView = new Set();
let drawing = false;
const watched = new IntersectionObserver((entries) => {
  entries.forEach(({ target, isIntersecting }) => inView[isIntersecting ? "add" : "delete"](target.id.slice("chart-".length)));
  drawStale();
}, { rootMargin: "300px 0px" });

function watchCharts() {
  all("main .chart").forEach((place) => watched.observe(place));
}

// The named charts show something else now.
function draw(names = Object.keys(charts)) {
  names.filter((name) => byId("chart-" + name)).forEach((name) => stale.add(name));
  document.documentElement.dataset.drawn = "";
  // An observer reports once a chart's place is known; a hidden tab reports nothing until it is seen.
  requestAnimationFrame(() => requestAnimationFrame(drawStale));
}

// A few at a time, so that the page stays responsive.
async function drawStale() {
  if (drawing) return;
  drawing = true;
  try { await drawWanted(); } finally { drawing = false; }
  holdPlace();
  document.documentElement.dataset.drawn = "yes";
}

async function drawWanted() {
  const wanted = () => [...stale].filter((name) => inView.has(name));
  if (wanted().length) {
    document.documentElement.dataset.drawn = "";
    try { await plotlyLoaded(); } catch { cannotUnpack(); stale.clear(); return; }
  }
  for (let names = wanted(); names.length; names = wanted()) {
    const until = performance.now() + 24;
    while (names.length && performance.now() < until) { const name = names.shift(); stale.delete(name); drawChart(name); }
    await new Promise((done) => setTimeout(done, 0));
  }
}
