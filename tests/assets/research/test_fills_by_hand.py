"""Fills, stops, ends and fees by examples worked out by hand from section 4 of the rules; slippage is one per cent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kobe_assets import backtest
from kobe_assets.api import Backtest
from kobe_assets.research.language import Strategy, custom
from tests.support.builders.frames import bar, days

SIGNAL_CLOSE = 20.0
DAYS = days(40)
Bar = tuple[float, float, float, float]
"""open, high, low, close"""


def one_dollar(bars: Any) -> Any:
    return np.ones(len(bars.close))


def signals_at_twenty(side: str, **parameters: float) -> Strategy:
    """Enters after each close at $20; a stop or a limit lies so many dollars away."""
    asked = {side: lambda at, _: at.close == SIGNAL_CLOSE, f"score_{side}": lambda at: at.dollar}
    return Strategy(
        name="twenty", summary="For tests", indicators={"dollar": custom(one_dollar)}, parameters=parameters,
        stop="dollar" if "atr_stop" in parameters else None, limit="dollar" if "limit_atr" in parameters else None, **asked,
    )  # fmt: skip


def market(after: Sequence[Bar], symbol: str = "A", first: int = 0) -> list[dict[str, object]]:
    """Two quiet days, the day of the signal, then the given ones, from a day on."""
    quiet = (19.5, 19.6, 19.4, 19.5)
    rows = [quiet, quiet, (19.5, SIGNAL_CLOSE, 19.5, SIGNAL_CLOSE), *after]
    names = ("open", "high", "low", "close")
    return [bar(symbol, DAYS[first + n], **dict(zip(names, row, strict=True))) for n, row in enumerate(rows)]


def run(strategy: Strategy, rows: Sequence[dict[str, object]], **settings: object) -> Backtest:
    doors = {
        "simulation.initial_cash": 100_000.0, "sizing.whole_shares": True, "costs.slippage_bps": 100.0,
        "costs.regulatory_fees": False, "policy.allow_shorts": True,
    }  # fmt: skip
    return backtest(strategy, pd.DataFrame(rows), check=False, settings=doors | settings)


LIMIT_ENTRIES: dict[str, tuple[str, list[Bar], float | None, float | None, str]] = {
    # The limit is 20 − 1 = 19.00 and the stop 18.00; a short's 21.00 and 22.00.
    "a touch is no fill": ("long", [(19.5, 19.6, 19.0, 19.2)], None, None, "not_reached"),
    "through it is filled at it": ("long", [(19.5, 19.6, 18.99, 19.2)], 19.0, 19.2 * 0.99, "window_end"),
    "an open at the limit is filled at the open, and the stop acts": (
        "long", [(19.0, 19.5, 17.9, 18.5)], 19.0, 18.0 * 0.99, "stop",
    ),
    "a better open is met with slippage": ("long", [(18.5, 19.0, 18.4, 18.6)], 18.5 * 1.01, 18.6 * 0.99, "window_end"),
    "of a fill in the bar a close on the stop is not beyond it": (
        "long", [(19.5, 19.6, 17.5, 18.0), (18.2, 18.3, 18.1, 18.2)], 19.0, 18.2 * 0.99, "window_end",
    ),
    "of a fill in the bar a close beyond the stop leaves at its price": (
        "long", [(19.5, 19.6, 17.5, 17.9), (18.2, 18.3, 18.1, 18.2)], 19.0, 18.0 * 0.99, "stop",
    ),
    "the bar after, the stop acts as it is touched": (
        "long", [(19.5, 19.6, 18.5, 18.5), (18.5, 18.6, 18.0, 18.5)], 19.0, 18.0 * 0.99, "stop",
    ),
    "an open beyond the stop leaves there": (
        "long", [(19.5, 19.6, 18.5, 18.5), (17.0, 17.5, 16.5, 17.0)], 19.0, 17.0 * 0.99, "stop",
    ),
    "a short's touch is no fill": ("short", [(20.5, 21.0, 20.4, 20.8)], None, None, "not_reached"),
    "a short's open at the limit is filled at the open, and the stop acts": (
        "short", [(21.0, 22.1, 20.5, 21.5)], 21.0, 22.0 * 1.01, "stop",
    ),
    "of a short in the bar a close on the stop is not beyond it": (
        "short", [(20.5, 22.5, 20.4, 22.0), (21.8, 21.9, 21.7, 21.8)], 21.0, 21.8 * 1.01, "window_end",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMIT_ENTRIES)
def test_a_limit_entry_and_its_stop(case: str) -> None:
    side, after, entry, exit_, reason = LIMIT_ENTRIES[case]
    found = run(signals_at_twenty(side, limit_atr=1.0, atr_stop=1.0), market(after))
    if entry is None:
        assert (len(found.trades), found.refused) == (0, {reason: 1})
        return
    (trade,) = found.trades.to_dict("records")
    assert (trade["entry_price"], trade["exit_price"]) == (pytest.approx(entry), pytest.approx(exit_))
    assert trade["exit_reason"] == reason


@pytest.mark.parametrize("open_", [20.6, 20.61])
def test_an_auction_entry_is_refused_where_the_open_lies_beyond_the_limit(open_: float) -> None:
    """20 × 1.03 = 20.60: at it the auction fills."""
    found = run(signals_at_twenty("long"), market([(open_, 20.7, 20.5, 20.6)]), **{"execution.entry": "opg"})
    assert (len(found.trades), found.refused) == ((1, {}) if open_ == 20.6 else (0, {"beyond_limit": 1}))


@pytest.mark.parametrize("raw", [3.03, 3.04])
def test_a_price_at_the_limit_is_at_it_however_a_split_has_scaled_it(raw: float) -> None:
    """3.03 as a third, times three, is 3.0299999999999994, and 3.04 as a tenth, times ten, 3.0400000000000005."""
    factor = 1 / 3 if raw == 3.03 else 0.1
    rows = market([(raw, raw + 0.1, raw - 0.1, raw)])
    scaled = [row | {name: float(str(row[name])) * factor for name in ("open", "high", "low", "close")} for row in rows]
    scaled = [row | {"factor": factor} for row in scaled]
    for name in ("open", "high", "low", "close"):
        for row in scaled[:3]:
            row[name] = raw * factor
    strategy = Strategy(
        name="last", summary="For tests", indicators={"nth": custom(lambda bars: np.arange(len(bars.close)) * 1.0)},
        parameters={}, long=lambda at, _: at.nth == 1.0, score_long=lambda at: at.nth,
    )  # fmt: skip
    doors = {"execution.entry": "opg", "execution.open_limit_bps": 0.0, "strategy.min_price": 1.0}
    assert len(run(strategy, scaled, **doors).trades) == 1


def test_the_worst_and_best_price_of_a_trade_are_those_that_it_lived_through() -> None:
    """In at 20 × 1.01 = 20.20, flagged after two bars, out at the third open: that open counts, its bar does not."""
    after = [(20.0, 21.0, 19.5, 20.5), (20.5, 20.8, 20.1, 20.2), (19.0, 23.0, 18.0, 19.0)]
    (left,) = run(signals_at_twenty("long", time_stop=2.0), market(after)).trades.to_dict("records")
    assert left["exit_price"] == pytest.approx(19.0 * 0.99)
    assert (left["mae"], left["mfe"]) == (pytest.approx(19.0 / 20.2 - 1), pytest.approx(21.0 / 20.2 - 1))
    # The stop at 19.20 leaves at the open of 19.00 with slippage: 18.81. What the bar did after it is not lived through.
    after[2] = (19.0, 23.0, 18.0, 19.0)
    (stopped,) = run(signals_at_twenty("long", atr_stop=1.0), market(after)).trades.to_dict("records")
    assert (stopped["exit_price"], stopped["exit_reason"]) == (pytest.approx(18.81), "stop")
    assert (stopped["mae"], stopped["mfe"]) == (pytest.approx(18.81 / 20.2 - 1), pytest.approx(21.0 / 20.2 - 1))


def test_of_a_short_the_worst_price_is_the_highest() -> None:
    after = [(20.0, 21.0, 19.0, 20.5), (20.5, 20.8, 20.1, 20.2)]
    (trade,) = run(signals_at_twenty("short"), market(after)).trades.to_dict("records")
    assert (trade["mae"], trade["mfe"]) == (pytest.approx(1 - 21.0 / 19.8), pytest.approx(1 - 19.0 / 19.8))


FLAT = (20.5, 20.6, 20.4, 20.5)


@pytest.mark.parametrize(("later", "reason"), [(10, "window_end"), (11, "delisted")])
def test_a_listing_has_ended_where_more_than_ten_sessions_follow_its_last_bar(later: int, reason: str) -> None:
    rows = market([FLAT, FLAT]) + [bar("B", day, 30.0) for day in DAYS[: 5 + later]]
    (trade,) = run(signals_at_twenty("long"), rows).trades.to_dict("records")
    assert (trade["exit_reason"], trade["exit_price"]) == (reason, pytest.approx(20.5 * 0.99))
    assert trade["exit_session"].date() == (DAYS[4] if reason == "delisted" else DAYS[4 + later])


def test_late_bars_keep_a_position_at_its_last_close_though_the_next_symbol_begins_meanwhile() -> None:
    rows = market([FLAT, FLAT]) + [bar("B", day, 90.0) for day in DAYS[6:9]]
    found = run(signals_at_twenty("long"), rows)
    (trade,) = found.trades.to_dict("records")
    assert (trade["exit_reason"], trade["exit_price"]) == ("window_end", pytest.approx(20.5 * 0.99))
    # 3 shares for 20.5 × 1.01 each.
    assert found.equity["equity"].iloc[3:-1].tolist() == pytest.approx([100_000 - 3 * 20.5 * 0.01] * 4)


@pytest.mark.parametrize(("most", "refused"), [(0.0015, {}), (0.0012, {"exceeds_exposure": 1})])
def test_what_is_open_counts_against_the_exposure_at_its_last_close(most: float, refused: dict[str, int]) -> None:
    """A: 3 shares at a last close of 20.5, $61.50; B's limit is 20 × 1.01 × 1.001 = 20.22, 3 shares $60.66: $122.16."""
    rows = market([FLAT, FLAT, FLAT, FLAT]) + market([(20.0, 20.2, 19.9, 20.1), FLAT], "B", first=2)
    found = run(signals_at_twenty("long"), rows, **{"policy.max_gross_exposure": most})
    assert (len(found.trades), found.refused) == (2 - len(refused), refused)


def test_after_ruin_equity_stays_what_is_left_and_nothing_is_traded() -> None:
    """3 shares sold at 20 × 0.99 bring 59.40 to 100; at 60 they are worth 180, and cost 181.80 with slippage."""
    after = [(20.0, 20.5, 19.5, 20.1), (60.0, 60.5, 59.5, 60.0), (20.0, 20.1, 19.9, 20.0), FLAT, FLAT]
    rows = [row | {"volume": 1e6 if row["close"] == 60.0 else 1e3} for row in market(after)]
    found = run(signals_at_twenty("short"), rows, **{"simulation.initial_cash": 100.0})
    (trade,) = found.trades.to_dict("records")
    assert (trade["exit_reason"], trade["exit_price"]) == ("ruin", pytest.approx(60.6))
    assert found.equity["equity"].iloc[4:].tolist() == pytest.approx([159.4 - 181.8] * 4)


@pytest.mark.parametrize(("split", "shares"), [(4, 2.0), (5, 1.0)])
def test_what_ruin_sells_pays_for_the_shares_as_traded_on_its_day(split: int, shares: float) -> None:
    """One share sold short at $40 is two of $20 from a split on: those that the fifth bar buys back, if it comes by then."""
    after = [(20.0, 20.5, 19.5, 20.1), (60.0, 60.5, 59.5, 60.0), FLAT, FLAT]
    rows = [row | {"volume": 1e6 if row["close"] == 60.0 else 1e3} for row in market(after)]
    rows = [row | {"factor": 0.5 if n < split else 1.0} for n, row in enumerate(rows)]
    doors = {"simulation.initial_cash": 50.0, "costs.commission_per_share": 1.0}
    found = run(signals_at_twenty("short"), rows, **doors)
    (trade,) = found.trades.to_dict("records")
    assert (trade["exit_reason"], trade["fees"]) == ("ruin", pytest.approx(1.0 + shares))
    assert found.equity["equity"].iloc[-1] == pytest.approx(50 + 2 * (19.8 - 60.6) - 1.0 - shares)


@pytest.mark.parametrize(("sold", "sec"), [(dt.date(2024, 5, 21), 8.0), (dt.date(2024, 5, 22), 27.8)])
def test_a_sale_pays_the_fees_of_its_day_and_the_finra_fee_at_most_its_cap(sold: dt.date, sec: float) -> None:
    """$2 million at 20.20 are 99,009 shares: 16.44 dollars of TAF, capped at 8.30."""
    sessions = days(8, dt.date(2024, 5, 14))
    sessions = sessions[: sessions.index(sold) + 1]
    rows = [bar("A", day, 19.5) for day in sessions[:-3]]
    rows += [bar("A", sessions[-3], SIGNAL_CLOSE), bar("A", sessions[-2], SIGNAL_CLOSE), bar("A", sessions[-1], 21.0)]
    doors = {
        "costs.regulatory_fees": True, "sizing.order_notional": 2e6, "policy.max_notional_per_order": 1e7,
        "policy.max_daily_notional": 1e7, "simulation.initial_cash": 1e7, "execution.limit_offset_bps": 0.0,
        "policy.max_positions": 1,
    }  # fmt: skip
    (trade,) = run(signals_at_twenty("long"), rows, **doors).trades.to_dict("records")
    assert trade["qty"] == 99_009
    assert trade["fees"] == pytest.approx(99_009 * 21.0 * 0.99 * sec / 1e6 + 8.30)


def test_a_commission_has_a_least_amount_on_either_side() -> None:
    """3 shares: 0.35 + 3 × 0.10 = 0.65 is more than 0.50 and less than 1.00."""
    rows = market([FLAT, FLAT])
    fees = {}
    for least in (0.5, 1.0):
        doors = {"costs.commission_per_order": 0.35, "costs.commission_per_share": 0.1, "costs.commission_minimum": least}
        fees[least] = run(signals_at_twenty("long"), rows, **doors).trades["fees"].tolist()
    assert fees == {0.5: [pytest.approx(1.3)], 1.0: [pytest.approx(2.0)]}
