-- The tables of the research path. Prices are DOUBLE in dollars, sessions are DATE (XNYS).
-- Big tables carry no PRIMARY KEY: uniqueness is an asset check, and an index would make every load many times slower.

CREATE TABLE daily_bars (
    symbol VARCHAR NOT NULL, session DATE NOT NULL,
    open DOUBLE NOT NULL, high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL, volume DOUBLE NOT NULL,
    vwap DOUBLE, trades BIGINT, source VARCHAR NOT NULL, fetched_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE splits (
    symbol VARCHAR NOT NULL, execution_date DATE NOT NULL,
    split_from DOUBLE NOT NULL, split_to DOUBLE NOT NULL, source VARCHAR NOT NULL
);

-- A split scales the bars before it; one announced for after the last stored session changes nothing yet (rules, section 1).
CREATE VIEW adjusted_bars AS
WITH effective AS (
    SELECT symbol, execution_date,
           product(split_from / split_to) OVER later AS factor,
           coalesce(lag(execution_date) OVER (PARTITION BY symbol ORDER BY execution_date), DATE '0001-01-01') AS since
    FROM (
        SELECT symbol, execution_date, product(split_from) AS split_from, product(split_to) AS split_to
        FROM splits
        WHERE execution_date <= (SELECT max(session) FROM daily_bars)
        GROUP BY ALL
    )
    WINDOW later AS (PARTITION BY symbol ORDER BY execution_date ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
)
SELECT b.symbol, b.session,
       b.open * coalesce(e.factor, 1.0) AS open, b.high * coalesce(e.factor, 1.0) AS high,
       b.low * coalesce(e.factor, 1.0) AS low, b.close * coalesce(e.factor, 1.0) AS close,
       b.volume / coalesce(e.factor, 1.0) AS volume, coalesce(e.factor, 1.0) AS factor
FROM daily_bars b
LEFT JOIN effective e ON b.symbol = e.symbol AND b.session >= e.since AND b.session < e.execution_date;

CREATE TABLE candidates (symbol VARCHAR NOT NULL, name VARCHAR, type VARCHAR, active BOOLEAN, source VARCHAR NOT NULL);

CREATE TABLE universe (
    symbol VARCHAR NOT NULL, selected BOOLEAN NOT NULL, rank INTEGER, reason VARCHAR,
    first_session DATE, last_session DATE, sessions INTEGER, years DOUBLE,
    adv_shares DOUBLE, adv_usd DOUBLE, has_options BOOLEAN
);

CREATE TABLE indicators (symbol VARCHAR NOT NULL, session DATE NOT NULL, rsi2 DOUBLE, sma200 DOUBLE, atr14 DOUBLE, ibs DOUBLE);

CREATE TABLE signals (
    session DATE NOT NULL, symbol VARCHAR NOT NULL, strategy VARCHAR NOT NULL, side VARCHAR NOT NULL,
    score DOUBLE NOT NULL, close DOUBLE NOT NULL, raw_close DOUBLE NOT NULL, stop_distance DOUBLE NOT NULL,
    rsi2 DOUBLE, ibs DOUBLE, sma200 DOUBLE, atr14 DOUBLE
);

CREATE TABLE wf_folds (
    strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, fold INTEGER NOT NULL,
    train_start DATE NOT NULL, train_end DATE NOT NULL, test_start DATE NOT NULL, test_end DATE NOT NULL,
    params JSON NOT NULL, train_sharpe DOUBLE, refused JSON NOT NULL,
    sharpe DOUBLE, sortino DOUBLE, cagr DOUBLE, volatility DOUBLE, max_drawdown DOUBLE, calmar DOUBLE,
    win_rate DOUBLE, profit_factor DOUBLE, expectancy DOUBLE, exposure DOUBLE, net_pnl DOUBLE
);

CREATE TABLE wf_trades (
    strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, fold INTEGER NOT NULL,
    symbol VARCHAR NOT NULL, side VARCHAR NOT NULL, signal_session DATE NOT NULL,
    entry_session DATE NOT NULL, entry_price DOUBLE NOT NULL, exit_session DATE NOT NULL, exit_price DOUBLE NOT NULL,
    exit_reason VARCHAR NOT NULL, shares DOUBLE NOT NULL, qty DOUBLE NOT NULL, pnl DOUBLE NOT NULL,
    bars_held INTEGER NOT NULL, mae DOUBLE NOT NULL, mfe DOUBLE NOT NULL
);

CREATE TABLE wf_equity (
    strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, fold INTEGER NOT NULL,
    session DATE NOT NULL, equity DOUBLE NOT NULL, daily_return DOUBLE NOT NULL
);

-- Every parameter set ever tried on a fold: rows are added, never replaced, because each try counts against luck.
CREATE TABLE wf_trials (
    strategy VARCHAR NOT NULL, fold INTEGER NOT NULL, trial INTEGER NOT NULL, params JSON NOT NULL, train_sharpe DOUBLE,
    config_pin VARCHAR NOT NULL, data_version VARCHAR NOT NULL, recorded_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE kpis (strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, figure VARCHAR NOT NULL, value DOUBLE);
CREATE TABLE kpi_reasons (strategy VARCHAR NOT NULL, mode VARCHAR NOT NULL, figure VARCHAR NOT NULL, reason VARCHAR NOT NULL);
