"""Yesterday's live trading against the simulation: the same window, the same signals, every difference classed."""

from __future__ import annotations

import datetime as dt

import numpy as np

from kobe_assets.research.strategies import STRATEGIES
from kobe_assets.study import load_market
from kobe_jobs.trading.evidence import load_evidence
from kobe_jobs.trading.live_trades import ledger_fates, ledger_trades
from kobe_jobs.trading.parity import Mismatch, Trade, compare_trades
from kobe_jobs.trading.replay import simulate_window
from kobe_resources.order_ledger import OrderLedger
from kobe_resources.settings import Settings
from kobe_resources.warehouse import Warehouse


def live_parity(settings: Settings, warehouse: Warehouse, ledger: OrderLedger) -> tuple[dt.date | None, list[Mismatch], int]:
    """(the last traded session with stored bars, its differences, trades compared); (None, [], 0) before the first.

    The simulation starts flat on the account's first traded session. Only trades that entered or left in the last traded
    session count: what differed before was told before.
    """
    traded = ledger.rows(
        "SELECT account, strategy, min(session) AS first, max(session) AS last FROM session_claims"
        " WHERE account NOT LIKE 'shadow:%' GROUP BY account, strategy ORDER BY max(ended_at) DESC LIMIT 1"
    )
    if not traded:
        return None, [], 0
    account, strategy = traded[0]["account"], traded[0]["strategy"]
    first, last = dt.date.fromisoformat(traded[0]["first"]), dt.date.fromisoformat(traded[0]["last"])
    market = load_market(warehouse, settings)
    sessions = market.panel.sessions
    begin = int(np.searchsorted(sessions, np.datetime64(first)))
    end = int(np.searchsorted(sessions, np.datetime64(last), side="right")) - 1
    if strategy not in STRATEGIES or end < begin or end < 1:
        return None, [], 0
    session: dt.date = sessions[end].item()
    simulated, _ = simulate_window(market, settings, STRATEGIES[strategy], begin, end)
    evidence = load_evidence(warehouse, strategy, sessions[max(begin - 1, 0)].item(), session)
    live = ledger_trades(ledger, account, strategy, evidence)
    signals = [(signal.symbol, signal.session) for day in evidence.signals.values() for signal in day]
    rows = compare_trades(simulated, live, ledger_fates(ledger, account, strategy), signals)
    touched = {trade.key for trade in [*simulated, *live] if session in (trade.entry_session, _left(trade))}
    return session, [row for row in rows if (row.symbol, row.signal_session) in touched], len(touched)


def _left(trade: Trade) -> dt.date | None:
    # The end of the simulated window is no event of that day.
    return None if trade.exit_reason == "window_end" else trade.exit_session
