"use strict";
// The account page: asks its own server for one object, and writes it as text.
(() => {
const EVERY_MS = 15000, SOON_MS = 4000;
const byId = (id) => document.getElementById(id);
const missing = (v) => v === null || v === undefined || !Number.isFinite(v);
const minus = (text) => text.replace(/^-(?=[0.,$]+$)/, "").replace(/-/g, "−");
const fixed = (v, digits) => v.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const write = {
  money: (v) => (missing(v) ? "–" : minus((v < 0 ? "-$" : "$") + fixed(Math.abs(v), 2))),
  gain: (v) => (missing(v) ? "–" : minus((v < 0 ? "-$" : v > 0 ? "+$" : "$") + fixed(Math.abs(v), 2))),
  percent: (v) => (missing(v) ? "–" : minus((v > 0 ? "+" : "") + fixed(v * 100, 2)) + " %"),
  shares: (v) => (missing(v) ? "–" : v.toLocaleString("en-US", { maximumFractionDigits: 4 })),
  bps: (v) => (missing(v) ? "–" : minus((v > 0 ? "+" : "") + fixed(v, 1))),
  count: (v) => (missing(v) ? "–" : v.toLocaleString("en-US")),
  words: (v) => (v ? String(v).replace(/_/g, " ") : ""),
  text: (v) => (v === null || v === undefined ? "–" : String(v)),
  long: (v) => (v === null || v === undefined ? "–" : String(v)),
};
const budgetOf = (dollars, share) => (dollars === null ? "without a daily budget"
  : `of ${write.money(dollars)} a session` + (share === null ? "" : ` (${Number((share * 100).toPrecision(6))} % of the account)`));
const toned = (v) => (missing(v) || v === 0 ? "" : v > 0 ? "gain" : "fall");

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// columns: [title, field or function of the row, how it is written]; numbers stand to the right.
function table(caption, columns, rows) {
  const box = element("div", undefined, "scroll"), made = element("table", undefined, "listing"), head = element("tr");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", caption);
  const numeric = (how) => ["money", "gain", "percent", "shares", "bps", "count"].includes(how);
  for (const [title, , how] of columns) {
    const cell = element("th", title, numeric(how) ? "num" : "");
    cell.scope = "col";
    head.append(cell);
  }
  made.append(element("caption", caption, "sr"), element("thead"), element("tbody"));
  made.tHead.append(head);
  for (const row of rows) {
    const line = element("tr");
    for (const [, field, how] of columns) {
      const value = typeof field === "function" ? field(row) : row[field];
      const tone = how === "gain" || how === "percent" ? " " + toned(value) : "";
      line.append(element("td", write[how || "text"](value), (numeric(how) ? "num" : how === "long" ? "long" : "") + tone));
    }
    made.tBodies[0].append(line);
  }
  box.append(made);
  return box;
}

const empty = (text) => element("p", text, "empty");
function fill(id, ...parts) { byId(id).replaceChildren(...parts); }

function tile(label, value, note, tone) {
  const made = element("div", undefined, "tile");
  made.append(element("p", label, "tile-label"), element("p", value, "tile-value " + (tone || "")));
  if (note) made.append(element("p", note, "tile-note"));
  return made;
}

function showTiles(account, simulated) {
  const parts = [
    tile("Equity", write.money(account.equity), "began with " + write.money(account.start_cash)),
    tile("P&L", write.gain(account.pnl), account.started ? "since " + account.started : "nothing traded yet", toned(account.pnl)),
    tile("Last session", write.gain(account.pnl_today), "close to close", toned(account.pnl_today)),
    tile("Open positions", write.count(account.positions.length), write.gain(account.unrealised) + " not yet taken"),
  ];
  if (simulated && simulated.length) {
    const ahead = account.equity - simulated[simulated.length - 1];
    parts.push(tile("Against the simulation", write.gain(ahead), "which is worth " + write.money(simulated[simulated.length - 1]), toned(ahead)));
  }
  parts.push(tile(account.reconciliation ? "Cash at the broker" : "Cash", write.money(account.cash), account.reconciliation ? "as it was told last, deposits and all" : "by the ledger"));
  fill("tiles", ...parts);
}

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function showCurve(account, simulated) {
  const place = byId("curve"), own = account.curve;
  byId("curve-figure").hidden = own.length < 2;
  byId("sim-key").hidden = !(simulated && simulated.length === own.length);
  if (own.length < 2) return;
  const width = Math.max(place.clientWidth, 280), height = 240, right = 10, top = 10, bottom = 26;
  const lines = [own, ...(simulated && simulated.length === own.length ? [simulated] : [])];
  const every = lines.flat();
  let low = Math.min(...every), high = Math.max(...every);
  const air = (high - low || Math.abs(high) * 0.01 || 1) * 0.08;
  low -= air; high += air;
  const levels = [0, 1, 2, 3, 4].map((step) => low + ((high - low) * step) / 4), digits = high - low < 10 ? 2 : 0;
  const dollars = (value) => minus((value < 0 ? "-$" : "$") + fixed(Math.abs(value), digits));
  // As wide as the longest label: a digit is about 7 pixels.
  const left = 16 + 7 * Math.max(...levels.map((value) => dollars(value).length));
  const x = (i) => left + ((width - left - right) * i) / (own.length - 1);
  const y = (v) => top + ((height - top - bottom) * (high - v)) / (high - low);
  place.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const parts = [];
  for (const value of levels) {
    parts.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, dollars(value)));
  }
  const points = (line) => line.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
  if (lines[1]) parts.push(svg("polyline", { class: "sim", points: points(lines[1]) }));
  parts.push(svg("polyline", { class: "own", points: points(own) }));
  parts.push(svg("text", { x: left, y: height - 6 }, account.sessions[0]));
  parts.push(svg("text", { x: width - right, y: height - 6, "text-anchor": "end" }, account.sessions[own.length - 1]));
  place.replaceChildren(...parts);
  const beside = lines[1] ? `, the simulation ${write.money(lines[1][own.length - 1])}` : "";
  place.setAttribute("aria-label", `Equity from ${write.money(own[0])} to ${write.money(own[own.length - 1])}${beside}`);
}

function showPositions(account) {
  const columns = [
    ["Symbol", "symbol"], ["Strategy", "strategy"], ["Side", "side"], ["Shares", "shares", "shares"], ["Since", "entry_session"],
    ["Entry", "entry", "money"], ["Last close", "close", "money"], ["Stop", "stop", "money"], ["P&L", "pnl", "gain"],
    ["P&L, %", "pnl_share", "percent"], ["Bars held", "bars_held", "count"], ["Leaves", "next_exit", "long"],
  ];
  const shown = account.positions.length ? table("Open positions", columns, account.positions) : empty("No position is open.");
  fill("positions-body", shown, ...account.notes.map((note) => element("p", note, "note")));
}

function showTomorrow(next) {
  byId("tomorrow-scope").textContent = next ? `${next.session}, on the signals of ${next.signal_session}` : "";
  if (!next) return fill("tomorrow-body", empty("Nothing is known of the next run."));
  const parts = [];
  if (next.entries.length) {
    parts.push(element("h3", `Would be sent: ${write.money(next.dollars)} ${budgetOf(next.budget, next.budget_share)}`));
    parts.push(table("Orders that would be sent", [
      ["Symbol", "symbol"], ["Strategy", "strategy"], ["Side", "side"], ["Shares", "shares", "shares"], ["Limit", "limit", "money"],
      ["Stop", "stop", "money"], ["Dollars", "dollars", "money"]], next.entries));
  }
  if (next.exits.length) {
    parts.push(element("h3", "Would leave"));
    parts.push(table("Positions that would leave", [
      ["Symbol", "symbol"], ["Strategy", "strategy"], ["Side", "side"], ["Shares", "shares", "shares"], ["Why", "reason", "words"],
      ["Last close", "price", "money"], ["P&L", "pnl", "gain"], ["Bars held", "bars_held", "count"]], next.exits));
  }
  if (next.refused.length) {
    parts.push(element("h3", "Refused by the gate"));
    parts.push(table("Signals that the gate refuses", [
      ["Symbol", "symbol"], ["Strategy", "strategy"], ["Side", "side"], ["Why", "reason", "words"]], next.refused));
  }
  if (!next.entries.length && !next.exits.length) parts.unshift(empty("Nothing would be sent at the next open."));
  next.notes.forEach((note) => parts.push(element("p", note, "note")));
  fill("tomorrow-body", ...parts);
}

function showOrders(account) {
  const columns = [
    ["Symbol", "symbol"], ["Side", "side"], ["For", "purpose"], ["Order", "kind"], ["Shares", "shares", "shares"],
    ["Price", "price", "money"], ["State", "state", "words"], ["Since", "session"],
  ];
  fill("orders-body", account.working.length ? table("Working orders", columns, account.working) : empty("No order is working."));
}

function showBudget(account) {
  byId("budget-scope").textContent = account.last_session || "";
  const limit = budgetOf(account.budget, account.budget_share);
  const parts = [element("p", account.last_session ? `${write.money(account.budget_used)} ${limit} used.` : `Nothing was traded yet; ${limit}.`)];
  const rows = Object.entries(account.refused).map(([reason, count]) => ({ reason, count }));
  if (rows.length) parts.push(table("Refused in the last session", [["Refused because", "reason", "words"], ["Signals", "count", "count"]], rows));
  fill("budget-body", ...parts);
}

function showFills(account) {
  const columns = [
    ["Session", "session"], ["Symbol", "symbol"], ["Side", "side"], ["For", "purpose"], ["Shares", "shares", "shares"],
    ["Price", "price", "money"], ["Open or stop", "reference", "money"], ["Slippage, bps", "slippage_bps", "bps"],
  ];
  fill("fills-body", account.fills.length ? table("Last fills", columns, account.fills) : empty("Nothing was filled yet."));
}

function showHealth(account, health) {
  const seen = account.reconciliation;
  byId("reconciled").textContent = !seen ? "Ledger and broker were not compared yet."
    : `${seen.agrees ? "Ledger and broker agreed" : "Ledger and broker differed: see kobe reconcile"}, ${seen.at.slice(0, 16).replace("T", " ")} UTC, session ${seen.session}.`;
  byId("reconciled").className = seen && !seen.agrees ? "problem" : "";
  fill("health-body", ...health.map((check) => {
    const line = element("li"), state = check.ok ? "pass" : check.blocks ? "fail" : "warn";
    const mark = element("span", { pass: "✓", fail: "✕", warn: "!" }[state], "mark " + state);
    mark.setAttribute("aria-label", { pass: "holds", fail: "fails", warn: "warning" }[state]);
    line.append(mark, element("span", `${write.words(check.name)}: ${check.seen}`));
    return line;
  }));
}

function showSwitch(status) {
  byId("switch").hidden = false;
  byId("switch").classList.toggle("on", status.on);
  byId("kill-open").hidden = status.on;
  const who = [status.by, status.at].filter(Boolean).join(", ");
  byId("switch-says").textContent = status.on
    ? `The kill switch is on: ${status.reason}${who ? ` (${who})` : ""}. Only kobe kill off in a terminal ends it.`
    : "The kill switch is off: orders may be sent.";
}

function show(data) {
  const problem = byId("problem");
  problem.hidden = !data.problem;
  problem.textContent = data.problem;
  const account = data.account;
  byId("as-of").textContent = account ? `${account.strategy}, at the close of ${account.as_of}` : "";
  if (!account) return;
  byId("stage").hidden = false;
  byId("stage").textContent = account.stage + (account.number ? " · " + account.number : "");
  byId("stage").classList.toggle("live", account.stage === "live");
  const title = byId("equity-title");
  title.textContent = account.started ? `${write.money(account.equity)}, ${write.gain(account.pnl)} since ${account.started}` : `${write.money(account.equity)}, nothing traded yet`;
  document.title = `Kobe account · ${write.money(account.equity)}`;
  showSwitch(account.kill_switch);
  showTiles(account, data.simulated);
  showCurve(account, data.simulated);
  showPositions(account);
  showTomorrow(account.tomorrow);
  showOrders(account);
  showBudget(account);
  showFills(account);
  showHealth(account, data.health);
}

let last = null, retries = 0;
async function refresh() {
  try {
    const answer = await fetch("/account.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    last = await answer.json();
    show(last);
    document.documentElement.dataset.shown = "yes";
    // The simulation takes longer than the rest, the first time.
    if (last.account && last.account.started && !last.simulated && retries++ < 20) setTimeout(refresh, SOON_MS);
  } catch (error) {
    byId("problem").hidden = false;
    byId("problem").textContent = `The account cannot be asked (${error.message}): does kobe ui still run?`;
  }
}

async function stopAll() {
  const problem = byId("kill-problem"), reason = byId("kill-reason").value.trim();
  problem.hidden = true;
  try {
    const answer = await fetch("/account/kill", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ reason }) });
    const status = await answer.json();
    if (!answer.ok) throw new Error(status.problem);
    showSwitch(status);
    byId("kill-dialog").close();
    refresh();
  } catch (error) {
    problem.hidden = false;
    problem.textContent = error.message;
  }
}

byId("kill-open").addEventListener("click", () => { byId("kill-problem").hidden = true; byId("kill-dialog").showModal(); byId("kill-reason").focus(); });
byId("kill-close").addEventListener("click", () => byId("kill-dialog").close());
byId("kill-sure").addEventListener("click", stopAll);
byId("kill-reason").addEventListener("keydown", (event) => { if (event.key === "Enter") stopAll(); });
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
window.addEventListener("resize", () => { if (last && last.account) showCurve(last.account, last.simulated); });
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
})();
