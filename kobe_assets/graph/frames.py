"""Research results as the frames that the warehouse stores; column names are those of warehouse/schema."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from kobe_assets.graph.own_strategies import source_record
from kobe_assets.research import simulation as sim
from kobe_assets.research.indicators import CANONICAL_COLUMNS
from kobe_assets.research.metrics import all_figures, daily_returns
from kobe_assets.research.signals import LONG, Candidates
from kobe_assets.research.walk_forward import CANONICAL, OPTIMIZED, Fold, FoldResult, PortfolioStudy, Study
from kobe_resources.settings.pins import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kobe_assets.research.indicators import Indicators
    from kobe_assets.research.panel import Floats, Panel
    from kobe_assets.research.strategies import Params, Strategy
    from kobe_assets.research.walk_forward import Market
    from kobe_resources.settings.models import Settings

VALUES = "values"
"""The column of signals that tells the indicators that its strategy declares, beside the four that all read."""


def indicators_frame(panel: Panel, indicators: Indicators) -> pd.DataFrame:
    """One row a bar."""
    return pd.DataFrame(
        {
            "symbol": names_of(panel, panel.symbol),
            "session": panel.sessions[panel.session].astype("datetime64[s]"),
            **{name: indicators[name] for name in indicators.names},
        },
        copy=False,
    )


def signals_frame(market: Market, strategy: Strategy, candidates: Candidates, params: Params) -> pd.DataFrame:
    """One row a signal, in trading order; indicator values as read, `lag` bars late."""
    panel, bar = market.panel, candidates.bar
    read = bar - market.lag
    close = panel.close[bar]
    values = {name: market.indicators[name][read] for name in CANONICAL_COLUMNS}
    stop = np.nan if strategy.stop is None else market.indicators[strategy.stop][read]
    others = {name: market.indicators[name][read] for name in strategy.indicators if name not in CANONICAL_COLUMNS}
    return pd.DataFrame(
        {
            "session": panel.sessions[panel.session[bar]].astype("datetime64[s]"),
            "symbol": names_of(panel, panel.symbol[bar]),
            "strategy": same(strategy.name, len(bar)),
            "side": sides_of(candidates.side),
            "score": candidates.score,
            "close": close,
            "raw_close": panel.raw_close[bar],
            "stop_distance": params.get("atr_stop", np.nan) * stop,
            **values,
            # Most strategies read the four columns alone, and a text a row is dear.
            **({VALUES: _as_json(others)} if others else {}),
        },
        copy=False,
    )


def _as_json(columns: Mapping[str, Floats]) -> pd.Series[Any]:
    """A JSON object a row, null where undefined."""
    given = {f"c{place}": column for place, column in enumerate(columns.values())}
    pairs = ", ".join(f"?, {place}" for place in given)
    with duckdb.connect() as connection:
        connection.register("given", pd.DataFrame(given, copy=False))
        texts = connection.execute(f"SELECT json_object({pairs}) AS text FROM given", list(columns)).fetchnumpy()["text"]  # noqa: S608
    return pd.Series(texts, dtype=object)


def folds_frame(name: str, study: Study | PortfolioStudy, panel: Panel, initial_cash: float) -> pd.DataFrame:
    """One row a fold and mode of the book `name`, with every figure of its test window."""
    rows = []
    for mode, results in ((CANONICAL, study.canonical), (OPTIMIZED, study.optimized)):
        for result in results:
            fold, outcome = result.fold, result.outcome
            days = panel.sessions[[fold.train_start, fold.train_end, fold.test_start, fold.test_end]].tolist()
            rows.append(
                {
                    "strategy": name,
                    "mode": mode,
                    "fold": fold.number,
                    **dict(zip(("train_start", "train_end", "test_start", "test_end"), days, strict=True)),
                    "params": canonical_json(result.params),
                    "train_sharpe": result.train_sharpe,
                    "refused": canonical_json(outcome.refusals()),
                    **all_figures(outcome.equity, outcome.exposure, outcome.numbers[:, sim.PNL], initial_cash),
                }
            )
    return pd.DataFrame(rows)


def trades_frame(
    name: str, strategies: Sequence[Strategy], mode: str, results: tuple[FoldResult, ...], panel: Panel
) -> pd.DataFrame:
    """One row a trade of every fold of the book `name`."""
    outcomes = [result.outcome for result in results]
    places = np.concatenate([outcome.places for outcome in outcomes])
    frame = _trades(strategies, places, np.concatenate([outcome.numbers for outcome in outcomes]), panel)
    frame.insert(0, "strategy", same(name, len(frame)))
    frame.insert(1, "mode", same(mode, len(frame)))
    folds = np.array([result.fold.number for result in results], dtype=np.int32)
    frame.insert(2, "fold", np.repeat(folds, [len(outcome.numbers) for outcome in outcomes]))
    return frame


def book_trades(strategies: Sequence[Strategy], outcome: sim.Outcome, panel: Panel) -> pd.DataFrame:
    """One row a trade of one simulation, in order of exit; adjusted prices, `qty` shares as traded at the entry.

    strategies: those of the book, in the order in which the outcome counts them.
    """
    return _trades(strategies, outcome.places, outcome.numbers, panel)


def _trades(strategies: Sequence[Strategy], place: np.ndarray, number: np.ndarray, panel: Panel) -> pd.DataFrame:

    def session(column: int) -> np.ndarray:
        days: np.ndarray = panel.sessions[place[:, column]]
        return days.astype("datetime64[s]")

    return pd.DataFrame(
        {
            "entered_by": pd.Categorical.from_codes(place[:, sim.T_STRATEGY], categories=[s.name for s in strategies]),
            "symbol": names_of(panel, place[:, sim.T_SYMBOL]),
            "side": sides_of(place[:, sim.T_SIDE]),
            "signal_session": session(sim.T_SIGNAL),
            "entry_session": session(sim.T_ENTRY),
            "entry_price": number[:, sim.ENTRY_PRICE],
            "exit_session": session(sim.T_EXIT),
            "exit_price": number[:, sim.EXIT_PRICE],
            "exit_reason": _reasons(strategies, place),
            "shares": number[:, sim.SHARES],
            "qty": number[:, sim.QTY],
            "fees": number[:, sim.FEES],
            "dividends": number[:, sim.DIVIDENDS],
            "pnl": number[:, sim.PNL],
            "bars_held": place[:, sim.T_HELD].astype(np.int32),
            "mae": number[:, sim.MAE],
            "mfe": number[:, sim.MFE],
        }
    )


def _reasons(strategies: Sequence[Strategy], place: np.ndarray) -> pd.Categorical:
    """Why each trade left, in the words of the strategy that entered it."""
    fixed = [name for name in sim.EXIT_REASONS if name != "leave"]
    # A strategy may name its exits as a mechanical one is named.
    categories = list(dict.fromkeys((*fixed, *(strategy.leave_reason for strategy in strategies))))
    said = np.array(
        [[categories.index(s.leave_reason if name == "leave" else name) for name in sim.EXIT_REASONS] for s in strategies]
    )
    return pd.Categorical.from_codes(said[place[:, sim.T_STRATEGY], place[:, sim.T_REASON]], categories=categories)


def equity_frame(name: str, mode: str, results: tuple[FoldResult, ...], panel: Panel, initial_cash: float) -> pd.DataFrame:
    """One row a session of every fold's test window."""
    folds = [result.fold for result in results]
    curves = [result.outcome.equity for result in results]
    sizes = [len(curve) for curve in curves]
    tested = np.concatenate([np.arange(fold.test_start, fold.test_end + 1) for fold in folds])
    return pd.DataFrame(
        {
            "strategy": same(name, sum(sizes)),
            "mode": same(mode, sum(sizes)),
            "fold": np.repeat(np.array([fold.number for fold in folds], dtype=np.int32), sizes),
            "session": panel.sessions[tested].astype("datetime64[s]"),
            "equity": np.concatenate(curves),
            "daily_return": np.concatenate([daily_returns(curve, initial_cash) for curve in curves]),
        }
    )


def trials_frame(
    study: Study, config_pin: str, data_version: str, now: dt.datetime, settings: Settings | None = None
) -> pd.DataFrame:
    """The trials of a study as rows, as `trial_rows`; trial 0 is the fixed parameters where the grid does not hold them."""
    origin = (config_pin, data_version, now, settings)
    rows = trial_rows(study.strategy, study.folds, study.sets, study.trials, *origin)
    fixed = study.canonical[0].params
    if fixed in study.sets:
        return rows
    # What the folds traded was tried too, though no choice was among them.
    trained = np.array([[np.nan if found.train_sharpe is None else found.train_sharpe] for found in study.canonical])
    own = trial_rows(study.strategy, study.folds, [fixed], trained, *origin).assign(trial=np.int32(0))
    return pd.concat([rows, own], ignore_index=True)


def trial_rows(
    strategy: Strategy,
    folds: Sequence[Fold],
    sets: Sequence[Params],
    sharpes: Floats,
    config_pin: str,
    data_version: str,
    now: dt.datetime,
    settings: Settings | None,
) -> pd.DataFrame:
    """One row a parameter set and fold; `trial` counts from 1 in the order of the grid. sharpes: (folds, sets).

    settings: what the sets were tried under; None: not known, and each pin is a try of its own.
    """
    params = [canonical_json(dict(chosen)) for chosen in sets]
    return pd.DataFrame(
        {
            "strategy": strategy.name,
            "fold": np.repeat([fold.number for fold in folds], len(sets)).astype(np.int32),
            "trial": np.tile(np.arange(1, len(sets) + 1, dtype=np.int32), len(folds)),
            "params": params * len(folds),
            "train_sharpe": sharpes.ravel(),
            "config_pin": config_pin,
            "data_version": data_version,
            "recorded_at": now,
            "vendor": None if settings is None else settings.data.vendor,
            "terms": None if settings is None else trial_terms(settings, strategy),
        }
    )


def trial_terms(settings: Settings, strategy: Strategy) -> str:
    """What makes two tries of the same parameters one (rules, section 6), as a hash."""
    windows = settings.walk_forward.model_dump(include={"warmup", "train", "test", "anchored"})
    own = source_record(settings, strategy.name)
    text = own or (Path(strategy.file).read_text(encoding="utf-8") if Path(strategy.file).is_file() else "")
    terms = [windows, settings.strategy.indicator_lag_bars, settings.execution.entry, text]
    return hashlib.sha256(canonical_json(terms).encode()).hexdigest()[:16]


def names_of(panel: Panel, places: np.ndarray) -> pd.Categorical:
    """The symbol of each place, as a categorical: a Python string a row would cost more than the frame."""
    several = len(panel.names) < len(panel.symbols)
    codes = panel.name[places] if several else places.astype(np.int32)
    return pd.Categorical.from_codes(codes, categories=list(panel.names))


def sides_of(sides: np.ndarray) -> pd.Categorical:
    """The side of each trade, long or short, as a categorical."""
    return pd.Categorical.from_codes(np.where(sides == LONG, 0, 1).astype(np.int8), categories=["long", "short"])


def same(name: str, rows: int) -> pd.Categorical:
    """A categorical with `name` in every row."""
    return pd.Categorical.from_codes(np.zeros(rows, np.int8), categories=[name])


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames one below the other; their categories are joined and sorted, where pandas would give up on them for a Python
    string a row."""

    def column(name: str) -> Any:
        parts = [frame[name] for frame in frames]
        if isinstance(parts[0].dtype, pd.CategoricalDtype):
            return union_categoricals(parts, sort_categories=True)
        return pd.concat(parts, ignore_index=True)

    return pd.DataFrame({name: column(name) for name in frames[0].columns})


def in_order_of_sessions(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The signals of several strategies as one table: by session, then by strategy as given.

    frames: as `signals_frame`.
    """
    plain = stacked([frame.drop(columns=VALUES, errors="ignore") for frame in frames])
    order = np.argsort(plain["session"].to_numpy(), kind="stable")
    table = plain.iloc[order].reset_index(drop=True)
    if any(VALUES in frame for frame in frames):
        place, begin = np.empty(len(order), np.int64), 0
        place[order] = np.arange(len(order))
        # Texts of few rows: to sort a column that is mostly empty takes as long as to make them.
        texts = np.full(len(order), None)
        for frame in frames:
            if VALUES in frame:
                texts[place[begin : begin + len(frame)]] = frame[VALUES]
            begin += len(frame)
        table[VALUES] = pd.Series(texts, dtype=object)
    return table


def stop_multiples(trades: pd.DataFrame, folds: pd.DataFrame, standard: float) -> Floats:
    """How many ATR away each trade's stop was: the parameter `atr_stop` of its fold, `standard` where its fold is unknown.

    trades, folds: as the tables wf_trades and wf_folds.
    """
    key = ["strategy", "mode", "fold"]
    folds = folds.drop_duplicates(key, keep="last")
    params = [json.loads(text) for text in folds["params"]]
    at = pd.MultiIndex.from_frame(folds[key]).get_indexer(pd.MultiIndex.from_frame(trades[key]))
    multiple: Floats = np.append([float(own.get("atr_stop") or standard) for own in params], standard)[at]
    # In a book of several strategies each trade has the parameters of the one that entered it.
    for name in trades["entered_by"].unique():
        own_stop = np.append([float(own.get(f"{name}.atr_stop") or np.nan) for own in params], np.nan)[at]
        mine = (trades["entered_by"] == name).to_numpy() & np.isfinite(own_stop)
        multiple[mine] = own_stop[mine]
    return multiple
