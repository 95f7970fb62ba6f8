"""What is stored is what Alpaca served: pages, placeholders, names, corporate actions, and a resumed load asks for the rest."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kobe_resources.errors import KobeError, UsageError
from kobe_resources.market_data.alpaca.errors import AlpacaAuthError, AlpacaPlanError, AlpacaTransportError
from kobe_resources.market_data.alpaca.pacing import BarsPace
from tests.resources.market_data.alpaca.conftest import Shop, Watched, assert_same_bars, served
from tests.support.loopback_alpaca import (
    AlpacaMarket,
    Rename,
    alpaca_market,
    asset_row,
    dividend_row,
    saying,
    split_row,
)
from tests.support.loopback_alpaca import faults as fault
from tests.support.loopback_polygon.faults import refused, reset

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

FRIDAY = dt.date(2026, 11, 20)
Open = Callable[..., Shop]


def one(symbol: str = "KO", days: tuple[str, ...] = ("2026-11-18", "2026-11-19", "2026-11-20"), **more: object) -> pd.DataFrame:
    bar = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1000.0, "vwap": 10.2, "trades": 7, **more}
    return pd.DataFrame([{"symbol": symbol, "session": day, **bar} for day in days])


def test_pages_are_followed_to_the_null_token_and_split_symbols(with_market: Open) -> None:
    shop = with_market(alpaca_market(5, 60, 3, FRIDAY), page_limit=37)
    report = shop.sync()
    assert_same_bars(shop.stored(), served(shop.market))
    assert report.added == 300
    assert [query.get("page_token") is None for query in shop.server.queries()] == [True] + [False] * 8


def test_the_session_is_the_new_york_date_in_winter_and_in_summer(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one(days=("2026-02-17", "2026-07-06", "2026-11-20"))))
    shop.sync()
    assert shop.rows("SELECT session::VARCHAR FROM daily_bars ORDER BY 1") == [
        ("2026-02-17",),
        ("2026-07-06",),
        ("2026-11-20",),
    ]


def test_rows_without_a_trade_are_dropped_and_counted(with_market: Open) -> None:
    market = AlpacaMarket(one(), placeholders={("KO", dt.date(2026, 11, 17)): 10.0, ("DEAD", FRIDAY): 3.0})
    shop = with_market(market)
    report = shop.sync()
    assert_same_bars(shop.stored(), served(market))
    assert any("without a trade" in note for note in report.notes)
    assert shop.rows("SELECT count(*) FROM bar_refusals") == [(0,)]


def test_an_open_outside_the_range_by_rounding_widens_it_and_one_far_outside_is_left_out(with_market: Open) -> None:
    bars = pd.concat([one("A", open=11.05), one("B", open=12.0), one("C", close=8.95)])
    shop = with_market(AlpacaMarket(bars))
    report = shop.sync()
    assert shop.rows("SELECT DISTINCT symbol, low, high FROM daily_bars ORDER BY 1") == [("A", 9.0, 11.05), ("C", 8.95, 11.0)]
    assert any("6 bars widened" in note for note in report.notes)
    assert shop.rows("SELECT DISTINCT symbol, reason FROM set_aside") == [("B", "open, high, low, close out of order")]


def test_one_invalid_symbol_is_named_and_left_out_and_the_others_are_loaded(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(pd.concat([one("KO"), one("PG")])))
    file = shop.candidates("KO", "0029900E0", "PG")
    report = shop.sync(candidates=file)
    assert_same_bars(shop.stored(), served(shop.market))
    assert any("0029900E0" in note for note in report.notes)
    assert shop.rows("SELECT symbol, reason FROM bar_refusals") == [("0029900E0", "Alpaca takes it for no symbol")]
    shop.server.forget()
    shop.market.now += dt.timedelta(days=4)
    shop.sync(candidates=file)
    assert "0029900E0" not in shop.server.asked()


def test_an_end_too_near_is_never_asked_for_and_a_refusal_of_one_names_the_mend(with_market: Open) -> None:
    market = AlpacaMarket(one(), now=dt.datetime(2026, 11, 20, 21, 31, tzinfo=dt.UTC))
    shop = with_market(market)
    shop.sync()
    ends = {dt.datetime.fromisoformat(query["end"]) for query in shop.server.queries()}
    assert max(ends) <= market.now - dt.timedelta(minutes=16)
    assert_same_bars(shop.stored(), served(market))
    shop.server.faults.on(
        lambda reply, rng: saying(422, code=42210000, message="subscription does not permit querying recent SIP data"),
        path="stocks/bars",
    )
    with pytest.raises(AlpacaPlanError, match="last 15 minutes") as caught:
        shop.sync(force=True)
    assert "data.end" in caught.value.hint


def test_a_refused_rate_waits_for_the_reset_and_goes_on(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one()))
    shop.server.faults.on(fault.too_many(0.05), path="stocks/bars", times=2)
    shop.sync()
    assert_same_bars(shop.stored(), served(shop.market))
    assert [call.status for call in shop.server.calls if call.path == "/v2/stocks/bars"][:3] == [429, 429, 200]


def test_a_company_with_a_new_name_is_loaded_once(with_market: Open) -> None:
    renames = (Rename("FB", "META", dt.date(2022, 6, 9)),)
    days = ("2022-06-06", "2022-06-07", "2022-06-08", "2022-06-09", "2026-11-20")
    shop = with_market(AlpacaMarket(one("META", days), renames))
    shop.sync(candidates=shop.candidates("FB", "META"))
    assert_same_bars(shop.stored(), served(shop.market))


def test_a_name_that_another_company_took_over_keeps_its_own_bars(with_market: Open) -> None:
    renames = (Rename("FB", "META", dt.date(2022, 6, 9)),)
    bars = pd.concat([one("META", ("2022-06-08", "2022-06-09")), one("FB", ("2026-11-19", "2026-11-20"), vwap=10.3)])
    shop = with_market(AlpacaMarket(bars, renames))
    shop.sync(candidates=shop.candidates("FB", "META"))
    assert_same_bars(shop.stored(), served(shop.market))


def test_the_old_name_alone_brings_its_company_up_to_the_last_day_of_the_name(with_market: Open) -> None:
    days = tuple(
        str(day.date())
        for day in pd.bdate_range("2022-04-01", "2022-06-08")
        if day not in (pd.Timestamp("2022-05-30"), pd.Timestamp("2022-04-15"))
    )
    shop = with_market(AlpacaMarket(one("META", (*days, "2022-06-09")), (Rename("FB", "META", dt.date(2022, 6, 9)),)))
    shop.sync(candidates=shop.candidates("FB"))
    assert shop.rows("SELECT DISTINCT symbol, count(*), max(session)::VARCHAR FROM daily_bars GROUP BY 1") == [
        ("FB", len(days), "2022-06-08")
    ]


def test_a_name_change_learned_later_takes_back_what_the_new_name_brings(with_market: Open) -> None:
    days = ("2022-06-07", "2022-06-08", "2026-11-20")
    market = AlpacaMarket(pd.concat([one("META", days), one("KO", days)]))
    # Before the change is known, FB answers with the company's bars.
    market._rows["FB"] = market._rows["META"][:2]
    shop = with_market(market)
    file = shop.candidates("FB", "META", "KO")
    shop.sync(candidates=file)
    assert shop.rows("SELECT count(*) FROM daily_bars WHERE symbol = 'FB'") == [(2,)]
    rename = Rename("FB", "META", dt.date(2022, 6, 9))
    del market._rows["FB"]
    market.renames = (rename,)
    market.actions["name_changes"].append({"id": "1", "old_symbol": "FB", "new_symbol": "META", "process_date": "2022-06-09"})
    market.now += dt.timedelta(days=3)
    shop.sync(candidates=file, start="2016-01-04", force=True)
    shop.rows("DELETE FROM bar_checkpoints WHERE kind = 'actions'")
    shop.sync(candidates=file, start="2016-01-04", force=True)
    assert shop.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY 1 ORDER BY 1") == [("KO", 3), ("META", 3)]


def test_two_symbols_with_the_very_same_bars_are_loaded_once(with_market: Open) -> None:
    market = alpaca_market(3, 60, 5, FRIDAY)
    market._rows["FB"] = market._rows["AAAB"][10:37]
    shop = with_market(market)
    report = shop.sync(candidates=shop.candidates("AAAA", "AAAB", "AAAC", "FB"))
    assert_same_bars(shop.stored(), served(market))
    assert "27 bars of FB left out, since AAAB has the very same" in report.notes
    assert shop.rows("SELECT symbol, reason FROM bar_refusals") == [("FB", "the same bars as AAAB, which keeps them")]


def test_later_loads_leave_out_the_name_that_a_company_was_not_loaded_by(with_market: Open) -> None:
    market = alpaca_market(3, 60, 5, dt.date(2026, 11, 25), now=dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC))
    market._rows["FB"] = market._rows["AAAB"]
    shop = with_market(market)
    file = shop.candidates("AAAA", "AAAB", "AAAC", "FB")
    shop.sync(candidates=file)
    assert_same_bars(shop.stored(), served(market))
    market.now += dt.timedelta(days=4)
    report = shop.sync(candidates=file)
    assert_same_bars(shop.stored(), served(market, last="2026-11-24"))
    assert report.removed == 0
    shop.sync(candidates=file, force=True)
    assert_same_bars(shop.stored(), served(market, last="2026-11-24"))


def test_a_name_that_another_company_took_up_is_loaded_on(with_market: Open) -> None:
    market = alpaca_market(3, 60, 5, dt.date(2026, 11, 25), now=dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC))
    market._rows["FB"] = [
        *market._rows["AAAB"][:30],
        *((day, {**row, "v": row["v"] + 1}) for day, row in market._rows["AAAC"][35:]),
    ]
    shop = with_market(market)
    file = shop.candidates("AAAA", "AAAB", "AAAC", "FB")
    own = "SELECT min(session)::VARCHAR, max(session)::VARCHAR FROM daily_bars WHERE symbol = 'FB'"
    shop.sync(candidates=file)
    ((first, last),) = shop.rows(own)
    market.now += dt.timedelta(days=4)
    shop.sync(candidates=file)
    assert last == "2026-11-20"
    assert shop.rows(own) == [(first, "2026-11-24")]


def test_splits_come_by_ex_date_though_processed_late_and_rates_are_small_ratios(with_market: Open) -> None:
    market = AlpacaMarket(pd.concat([one(symbol, ("2020-08-03", "2026-11-20")) for symbol in ("AAPL", "GE", "XYZ", "STK")]))
    market.actions["forward_splits"] = [split_row("AAPL", "2020-08-31", 1, 4), split_row("XYZ", "2021-03-01", 1, 1.33333)]
    market.actions["reverse_splits"] = [
        split_row("GE", "2020-12-18", 8, 1, process_date="2021-01-25"),
        split_row("XYZ", "2022-03-01", 1, 0.33333),
        split_row("NOBODY", "2022-03-01", 10, 1),
    ]
    market.actions["stock_dividends"] = [
        {"id": "1", "symbol": "STK", "rate": 0.05, "ex_date": "2021-05-03", "process_date": "2021-05-20"}
    ]
    shop = with_market(market)
    shop.sync(end="2021-01-04", candidates=shop.candidates("AAPL", "GE", "XYZ", "STK"))
    assert ("GE", 8.0, 1.0) in shop.rows("SELECT symbol, split_from, split_to FROM splits")
    shop.sync()
    assert shop.rows("SELECT symbol, execution_date::VARCHAR, split_from, split_to FROM splits ORDER BY ALL") == [
        ("AAPL", "2020-08-31", 1.0, 4.0),
        ("GE", "2020-12-18", 8.0, 1.0),
        ("STK", "2021-05-03", 20.0, 21.0),
        ("XYZ", "2021-03-01", 3.0, 4.0),
        ("XYZ", "2022-03-01", 3.0, 1.0),
    ]


def test_dividends_are_stored_raw_once_and_other_currencies_are_left_out_with_a_count(with_market: Open) -> None:
    market = AlpacaMarket(one("META", ("2020-08-03", "2026-11-20")), (Rename("FB", "META", dt.date(2022, 6, 9)),))
    twice = dividend_row("META", "2024-02-21", 0.5, "2024-03-26")
    market.actions["cash_dividends"] = [
        twice,
        {**twice, "id": "again"},
        dividend_row("META", "2024-02-21", 2.0, special=True),
        dividend_row("META", "2024-03-21", 2.0, currency="CAD"),
        dividend_row("FB", "2020-08-07", 0.82, "2020-08-13"),
        dividend_row("KO", "2024-02-21", 0.4),
    ]
    shop = with_market(market)
    report = shop.sync()
    assert shop.rows(
        "SELECT symbol, ex_date::VARCHAR, amount, kind, pay_date::VARCHAR, source FROM dividends ORDER BY 2, 3"
    ) == [
        ("META", "2020-08-07", 0.82, "regular", "2020-08-13", "alpaca"),
        ("META", "2024-02-21", 0.5, "regular", "2024-03-26", "alpaca"),
        ("META", "2024-02-21", 2.0, "special", "2024-02-21", "alpaca"),
    ]
    assert "1 dividends in CAD left out" in report.notes


def test_a_dividend_over_the_share_itself_is_refused_and_forgotten_once_it_is_right(with_market: Open) -> None:
    days = tuple(str(day.date()) for day in pd.bdate_range("2026-10-01", "2026-11-20"))
    market = AlpacaMarket(one(days=days))
    dear = [dividend_row("KO", "2026-10-20", 900.0), dividend_row("KO", "2026-11-12", 1e300)]
    market.actions["cash_dividends"] = [*dear, dividend_row("KO", "2026-11-05", 0.5)]
    shop = with_market(market)
    shop.sync()
    assert shop.rows("SELECT ex_date::VARCHAR, amount FROM dividends") == [("2026-11-05", 0.5)]
    refused = shop.rows("SELECT symbol, session::VARCHAR, reason FROM bar_refusals ORDER BY session")
    assert [row[:2] for row in refused] == [("KO", "2026-10-20"), ("KO", "2026-11-12")]
    assert refused[0][2].startswith("dividend: 900 is more than the share itself, ")
    dear[0]["rate"] = dear[1]["rate"] = 0.9
    shop.sync(force=True)
    assert shop.rows("SELECT count(*), max(amount) FROM dividends") == [(3, 0.9)]
    assert shop.rows("SELECT count(*) FROM bar_refusals") == [(0,)]


def test_what_the_vendor_put_right_is_read_again_where_it_is_asked_for(with_market: Open) -> None:
    days = tuple(str(day.date()) for day in pd.bdate_range("2026-03-02", "2026-03-20"))
    bars = one(days=days)
    market = AlpacaMarket(pd.concat([bars, bars.assign(symbol="XOM", high=12.0)]).drop(index=3).reset_index(drop=True))
    market.actions["cash_dividends"] = [dividend_row("XOM", "2026-03-06", 6.0)]
    shop = with_market(market)
    market._rows["XOM"][4][1]["v"] = 2 * 10**15
    shop.sync()
    assert shop.rows("SELECT reason FROM set_aside") == [("more shares than there are",)]
    shop.market.now += dt.timedelta(days=200)
    mended = AlpacaMarket(pd.concat([bars, bars.assign(symbol="XOM", high=12.0)], ignore_index=True))
    market._rows = mended._rows
    market.actions["cash_dividends"].clear()
    shop.sync(force=True)
    assert shop.rows("SELECT symbol, count(*) FROM daily_bars GROUP BY ALL ORDER BY ALL") == [
        ("KO", len(days)),
        ("XOM", len(days)),
    ]
    assert shop.rows("SELECT reason FROM set_aside") == []
    assert shop.rows("SELECT amount FROM dividends") == []


def test_other_actions_are_kept_and_unknown_ones_counted(with_market: Open) -> None:
    market = AlpacaMarket(pd.concat([one("GE"), one("ATVI")]))
    market.actions["spin_offs"] = [
        {
            "id": "1",
            "source_symbol": "GE",
            "source_rate": 4,
            "new_symbol": "GEV",
            "new_rate": 1,
            "ex_date": "2024-04-02",
            "process_date": "2024-04-02",
        }
    ]
    market.actions["cash_mergers"] = [
        {
            "id": "2",
            "acquirer_symbol": "MSFT",
            "acquiree_symbol": "ATVI",
            "rate": 95.0,
            "effective_date": "2023-10-16",
            "process_date": "2023-10-16",
        },
        {"id": "3", "acquiree_symbol": None, "process_date": "2023-10-16"},
    ]
    market.actions["worthless_removals"] = [{"id": "4", "symbol": "GE", "process_date": "2023-10-17"}]
    market.actions["reorganizations"] = [{"id": str(number), "process_date": "2023-10-16"} for number in range(3)]
    shop = with_market(market)
    report = shop.sync(candidates=shop.candidates("GE"))
    assert shop.rows("SELECT symbol, ex_date::VARCHAR, kind, other_symbol, rate, source FROM corporate_actions ORDER BY 2") == [
        ("GE", "2023-10-17", "worthless_removal", None, None, "alpaca"),
        ("GE", "2024-04-02", "spin_off", "GEV", 0.25, "alpaca"),
    ]
    assert any("3 corporate actions of the unknown kind reorganizations" in note for note in report.notes)
    assert ("corporate actions of the unknown kind reorganizations: 3",) in shop.rows("SELECT reason FROM bar_refusals")


def test_candidates_are_active_common_stocks_and_their_options_are_known(with_market: Open) -> None:
    market = AlpacaMarket(
        pd.concat([one("KO"), one("SPY"), one("ODD")]),
        assets=[
            asset_row("KO", "Coca-Cola Company Common Stock"),
            asset_row("SPY", "SPDR S&P 500 ETF Trust"),
            asset_row("ODD", "Odd Class A Common Stock", options=False),
            asset_row("OTCX", "Other Common Stock", exchange="OTC"),
        ],
    )
    shop = with_market(market)
    shop.sync(options=True)
    assert shop.rows("SELECT symbol FROM candidates ORDER BY 1") == [("KO",), ("ODD",)]
    assert shop.rows("SELECT symbol, has_options FROM option_evidence ORDER BY 1") == [("KO", True), ("ODD", False)]
    assert shop.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY 1") == [("KO",), ("ODD",)]


def test_a_top_up_reads_the_last_five_sessions_again_and_an_unchanged_day_asks_nothing(with_market: Open) -> None:
    market = alpaca_market(3, 30, 5, dt.date(2026, 11, 24))
    shop = with_market(market)
    shop.sync()
    shop.server.forget()
    assert shop.sync().skipped
    assert not shop.server.calls
    market.now = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
    restated = market._rows["AAAB"]
    place = next(number for number, (day, _) in enumerate(restated) if day == dt.date(2026, 11, 16))
    restated[place][1]["v"] += 5
    report = shop.sync()
    assert shop.server.queries()[0]["start"] == "2026-11-16T05:00:00Z"
    assert (report.added, report.changed) == (3, 1)
    assert shop.rows("SELECT max(session)::VARCHAR FROM daily_bars") == [("2026-11-23",)]
    assert shop.rows("SELECT symbol, field FROM bar_revisions") == [("AAAB", "volume")]


def test_a_session_that_just_closed_and_lacks_there_is_asked_for_later(with_market: Open) -> None:
    market = alpaca_market(3, 30, 5, dt.date(2026, 11, 19), now=dt.datetime(2026, 11, 20, 21, 45, tzinfo=dt.UTC))
    shop = with_market(market)
    shop.sync()
    late = alpaca_market(3, 31, 5, FRIDAY)
    market._rows = {symbol: [*rows, late._rows[symbol][-1]] for symbol, rows in market._rows.items()}
    market.now += dt.timedelta(hours=2)
    assert shop.sync().added == 3


def test_a_lost_network_keeps_what_was_stored_and_the_rest_is_asked_for_later(
    with_market: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kobe_resources.market_data.alpaca.plan.ROWS_A_BATCH", 25_000)
    shop = with_market(alpaca_market(30, 40, 7, FRIDAY))
    shop.server.faults.on(reset, path="stocks/bars.*AAAU")
    with pytest.raises(AlpacaTransportError):
        shop.sync()
    kept = {row[0] for row in shop.rows("SELECT key FROM bar_checkpoints WHERE kind = 'symbol'")}
    assert 0 < len(kept) < 30
    shop.server.faults.clear()
    shop.server.forget()
    shop.sync()
    assert not kept & set(shop.server.asked())
    assert not shop.server.queries("/v1/corporate-actions")[0].get("types", "").startswith("forward")
    assert_same_bars(shop.stored(), served(shop.market))


def test_an_answer_without_its_rows_or_cut_short_is_not_believed(with_market: Open) -> None:
    for spoilt in (fault.empty, fault.cut_short):
        shop = with_market(alpaca_market(6, 40, 7, FRIDAY))
        shop.server.faults.on(spoilt, path="stocks/bars", times=1)
        shop.sync(force=True)
        assert_same_bars(shop.stored(), served(shop.market))
        assert shop.rows("SELECT count(*) FROM bar_refusals") == [(0,)]


def test_without_keys_and_with_wrong_ones_the_mend_is_named(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one()))
    shop.key_id = None
    with pytest.raises(AlpacaAuthError, match="are not set"):
        shop.sync()
    shop.key_id = "PKWRONG"
    with pytest.raises(AlpacaAuthError, match="does not take the keys") as caught:
        shop.sync()
    assert "assets_url" in caught.value.hint
    assert not shop.rows("SELECT * FROM bar_epochs")


def test_keys_travel_only_to_this_machine_without_encryption(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one()))
    with pytest.raises(UsageError, match="unencrypted"):
        shop.sync(base_url="http://data.example.com")
    assert not shop.server.calls


def test_the_time_it_takes_is_named_before_it_begins(with_market: Open) -> None:
    shop, watched = with_market(alpaca_market(3, 30, 5, FRIDAY)), Watched()
    shop.sync(watched, calls_per_minute=600)
    assert any("bars of 3 symbols in about 1 calls, about 0 s at 600 calls a minute" in phase for phase in watched.phases)


def test_the_budget_of_calls_is_kept_apart_from_that_of_trading(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one()))
    shop.sync(calls_per_minute=600)
    assert [path.name for path in (shop.home / "pace").glob("*.json")] == ["bars-127.0.0.1.json"]


def test_bars_wait_while_trading_needs_more_calls_than_they_leave_it(tmp_path: Path) -> None:
    now, slept = [1000.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    trading = tmp_path / "pace" / "calls-paper-api.alpaca.markets.json"
    trading.parent.mkdir()
    for calls, waits in ((50, 0), (51, 40)):
        trading.write_text(json.dumps({"calls": [now[0] - 20.0] * calls}), encoding="utf-8")
        slept.clear()
        BarsPace(150, trading.parent / "bars.json", clock=lambda: now[0], sleep=sleep).take()
        assert sum(slept) == waits
    trading.write_text("no JSON", encoding="utf-8")
    BarsPace(150, trading.parent / "bars.json", clock=lambda: now[0], sleep=sleep).take()


def test_where_nobody_has_a_bar_the_load_is_refused_and_covers_nothing(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one()))
    with pytest.raises(KobeError, match="no bar of any candidate"):
        shop.sync(candidates=shop.candidates("ZZZ"))
    shop.server.faults.on(refused(500), path="nothing")
    with pytest.raises(KobeError, match="no bar of any candidate"):
        shop.sync(candidates=shop.candidates("ZZZ"))
    assert shop.server.asked().count("ZZZ") >= 2


def test_where_all_bars_are_refused_the_line_says_why(with_market: Open) -> None:
    shop = with_market(AlpacaMarket(one("B", open=12.0)))
    with pytest.raises(KobeError, match=r"no sound bar of any candidate .*refused, the first, of B on .*, for open, high, low"):
        shop.sync()
