"""The unit of every number that a command prints with --json, by its key; docs/json.md is made of it."""

from __future__ import annotations

DOLLARS, PRICE, SHARES, FRACTION, RATIO = "dollars", "dollars a share", "shares", "fraction (0.05 is 5 %)", "ratio a year"
SESSIONS, SECONDS, COUNT = "sessions", "seconds", "count"

COUNTED = (
    "added", "bars", "calls", "changed", "dividends", "drifted", "entries_a_usual_session", "exits", "exits_filled",
    "files", "filled", "folds", "gates", "gates_passed", "holding", "kept", "listed", "longest_losing_run", "not_copied",
    "orders_by_state", "pending", "positions_together", "rated_folds", "records", "refused", "removed", "restated", "revisions",
    "rows", "rows_set_aside", "run", "sets", "simulated_refused", "simulated_trades", "splits", "stops",
    "submitted", "symbols", "total", "trades", "unchanged", "unfilled", "unseen_folds", "unsettled", "vetoed",
    "won", "working", "would_send",
)  # fmt: skip

UNITS: dict[str, dict[str, str]] = {
    DOLLARS: {
        "initial_cash": "before the first session", "start_cash": "before the first session", "final_equity": "at the end",
        "net_pnl": "after costs", "expectancy": "a trade", "equity": "at the last close", "curve": "at the closes",
        "simulated": "the simulation at the same closes", "cash": "of the account", "pnl": "of a position, or since the start",
        "pnl_today": "of the last session", "unrealised": "of open positions", "worth": "of a position at the last close",
        "budget": "what entries of a session may carry", "budget_used": "by the session's entries; text in `trade`",
        "dollars": "of an order; text in `trade`", "adv_usd": "traded a day, mean of 60 sessions", "lowest_close_usd": "",
        "p90_close_usd": "", "highest_close_usd": "",
        "average_win": "of trades that made money", "average_loss": "of all other trades",
    },
    PRICE: {
        "price": "", "entry": "of a position", "close": "", "stop": "level", "limit": "", "limit_price": "text, exact",
        "stop_price": "text, exact", "filled_avg_price": "text, exact", "reference": "the open, or the stop's level",
        "open": "", "high": "", "low": "", "vwap": "", "dividend": "", "old": "of a price; of volume shares",
        "new": "of a price; of volume shares", "read": "of a price; of volume shares", "cell": "as the file has it",
    },
    SHARES: {
        "shares": "", "qty": "text, exact", "filled_qty": "text, exact", "adv_shares": "a day, mean of 60", "volume": "",
    },
    FRACTION: {
        "cagr": "a year", "volatility": "a year", "max_drawdown": "of the peak, negative", "win_rate": "of trades",
        "exposure": "of the account", "pnl_share": "of the entry", "weight": "of the account that a strategy trades with",
        "defined": "of a symbol's bars", "budget_share": "of the account, where that is the limit",
        "value_at_risk": "return of a session, the mildest of the worst in twenty", "expected_shortfall": "their mean",
    },
    RATIO: {
        "sharpe": "", "sharpe_lo": "low end of the 95 % interval", "sharpe_hi": "high end", "sortino": "", "calmar": "",
        "mean": "Sharpe, over the folds' training", "worst": "Sharpe, of the worst fold in training",
        "unseen": "Sharpe, over the test windows that were traded",
    },
    "ratio": {
        "profit_factor": "won over lost dollars", "beta": "to holding, of daily returns",
        "correlation": "with holding, of daily returns", "plateau": "neighbours' mean over the best",
    },
    "bps": {"slippage_bps": "dearer is positive"},
    "years": {"years": "of history", "shortest_years": ""},
    "bytes": {"bytes": "of the archive"},
    SECONDS: {"seconds": "that it took"},
    "unit of `shown`": {"value": "of a gate", "bar": "that the gate asks for", "distance": "from it"},
    "value of the parameter": {"params": "", "parameters": "", "axes": "", "settings": "as the setting's own unit"},
    SESSIONS: {
        "sessions": "", "bars_held": "", "warmup": "of a listing", "first": "before an indicator's first value",
        "longest_underwater": "from a peak until it was reached again, or to the end",
    },
    "place": {
        "rank": "1 is the first", "line": "of the file", "best": "row, column", "canonical": "row, column",
        "traded": "numbers of folds", "size": "larger is worse", "number": "", "seq": "", "first_bad": "record of the chain",
    },
    "a year": {"signals": "in `strategies check`; a count in `trade`"},
    COUNT: dict.fromkeys(COUNTED, ""),
}  # fmt: skip
"""Unit → key → what it is of."""


def json_page() -> str:
    """Every key with its unit, a table."""
    rows = [f"| `{name}` | {unit} | {what} |" for unit, names in UNITS.items() for name, what in names.items()]
    return "\n".join(
        [
            "`--json` prints one JSON value on standard output and nothing else there; progress, warnings and the one line",
            "of an error go to standard error. Dates are ISO 8601, moments UTC. What is not defined is `null`. Prices and",
            "shares of real orders are text, so that no digit is lost. What stands below a key such as `params` or `refused`",
            "has the key's unit.",
            "",
            "| key | unit | of what |",
            "|---|---|---|",
            *sorted(rows),
        ]
    )
