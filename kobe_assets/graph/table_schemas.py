"""What the columns of each table mean; the Dagster UI shows these beside every asset."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

BAR = {
    "symbol": ("VARCHAR", "ticker as the vendor spells it"),
    "session": ("DATE", "exchange trading date (XNYS)"),
}
PARTS = {
    "strategy": ("VARCHAR", "name of the strategy"),
    "mode": ("VARCHAR", "canonical (fixed parameters) or optimized (best in training)"),
    "fold": ("INTEGER", "counts from 1"),
}
FIGURE_COLUMNS = {
    "sharpe": ("DOUBLE", "annualised mean over deviation of daily returns"),
    "sortino": ("DOUBLE", "annualised mean over downside deviation"),
    "cagr": ("DOUBLE", "growth a year, as a fraction"),
    "volatility": ("DOUBLE", "annualised deviation of daily returns"),
    "max_drawdown": ("DOUBLE", "deepest fall from a peak, as a fraction (at most 0)"),
    "calmar": ("DOUBLE", "cagr over the deepest fall"),
    "win_rate": ("DOUBLE", "share of trades with a profit"),
    "profit_factor": ("DOUBLE", "profits over losses"),
    "expectancy": ("DOUBLE", "mean profit of a trade, dollars"),
    "exposure": ("DOUBLE", "mean gross position over equity"),
    "net_pnl": ("DOUBLE", "profit after costs, dollars"),
}
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "daily_bars": {
        **BAR,
        "open": ("DOUBLE", "first price as traded, dollars"),
        "high": ("DOUBLE", "highest price as traded, dollars"),
        "low": ("DOUBLE", "lowest price as traded, dollars"),
        "close": ("DOUBLE", "last price as traded, dollars"),
        "volume": ("DOUBLE", "shares as traded"),
        "vwap": ("DOUBLE", "volume-weighted price, where the vendor gives one"),
        "trades": ("BIGINT", "number of trades, where the vendor gives one"),
        "source": ("VARCHAR", "the vendor"),
        "fetched_at": ("TIMESTAMPTZ", "when this bar was first seen as it is"),
    },
    "universe": {
        "symbol": ("VARCHAR", "candidate"),
        "selected": ("BOOLEAN", "may it trade"),
        "rank": ("INTEGER", "place among the selected, largest dollar volume first"),
        "reason": ("VARCHAR", "why it is not selected"),
        "first_session": ("DATE", "first stored bar"),
        "last_session": ("DATE", "last stored bar"),
        "sessions": ("INTEGER", "stored bars"),
        "years": ("DOUBLE", "years between first and last bar"),
        "adv_shares": ("DOUBLE", "average shares a session, last 60 bars"),
        "adv_usd": ("DOUBLE", "average dollars a session, last 60 bars"),
        "has_options": ("BOOLEAN", "has listed options; NULL: unknown"),
    },
    "indicators": {
        **BAR,
        "rsi2": ("DOUBLE", "Wilder RSI, period 2, 0 to 100; NULL where undefined"),
        "sma200": ("DOUBLE", "mean of the last 200 closes, adjusted dollars"),
        "atr14": ("DOUBLE", "Wilder average true range, period 14, adjusted dollars"),
        "ibs": ("DOUBLE", "where the close lies in the bar, 0 to 1"),
    },
    "signals": {
        "session": ("DATE", "decided after the close of this session"),
        "symbol": ("VARCHAR", "ticker"),
        "strategy": PARTS["strategy"],
        "side": ("VARCHAR", "long or short"),
        "score": ("DOUBLE", "smaller is stronger"),
        "close": ("DOUBLE", "adjusted close of the session, dollars"),
        "raw_close": ("DOUBLE", "close as traded, dollars"),
        "stop_distance": ("DOUBLE", "atr_stop times ATR as read, adjusted dollars"),
        "rsi2": ("DOUBLE", "as read, lagged"),
        "ibs": ("DOUBLE", "as read, lagged"),
        "sma200": ("DOUBLE", "as read, lagged"),
        "atr14": ("DOUBLE", "as read, lagged"),
        "values": ("JSON", "the other indicators that the strategy declares, as read; NULL where it has none"),
    },
    "wf_folds": {
        **PARTS,
        "train_start": ("DATE", "first session trained on"),
        "train_end": ("DATE", "last session trained on"),
        "test_start": ("DATE", "first unseen session"),
        "test_end": ("DATE", "last unseen session"),
        "params": ("JSON", "the parameters that traded the test window"),
        "train_sharpe": ("DOUBLE", "their Sharpe ratio in training"),
        "refused": ("JSON", "reason → signals refused"),
        **FIGURE_COLUMNS,
    },
    "kpis": {
        "strategy": PARTS["strategy"],
        "mode": PARTS["mode"],
        "figure": ("VARCHAR", "name of the figure"),
        "value": ("DOUBLE", "NULL where undefined; the reason is in kpi_reasons"),
    },
}


@cache
def table_schema(table: str) -> dg.TableSchema:
    """The table's columns as Dagster shows them."""
    import dagster as dg

    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, description=words) for name, (kind, words) in TABLES[table].items()]
    )
