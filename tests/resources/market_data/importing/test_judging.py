"""Bad rows spoil themselves, bad files are left out, and adjusted prices are never taken for raw ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kobe_resources.market_data.protocol import MarketDataError
from tests.resources.market_data.importing.conftest import Importer, assert_same, put
from tests.support.builders import exports

BARS = exports.market(sessions=120)
ALFA = BARS[BARS["symbol"] == "ALFA"]
NUMBERS = ["Open", "High", "Low", "Close"]


def adjusted() -> pd.DataFrame:
    """ALFA's bars, all four prices adjusted for three dividends."""
    bar = exports.one(BARS)
    factor = np.ones(len(bar))
    for day in (30, 60, 90):
        factor[:day] *= 0.994
    return bar.assign(**{name: bar[name] * factor for name in NUMBERS})


def split_adjusted() -> pd.DataFrame:
    """ALFA's bars with a split of 4 for 1 that left no trace in the prices."""
    bar = exports.one(BARS).assign(**{"Stock Splits": 0.0})
    bar.loc[bar.index[60], "Stock Splits"] = 4.0
    return bar


def test_rows_that_cannot_be_true_are_set_aside_and_named(bring: Importer, tmp_path: Path) -> None:
    bars = BARS.astype(object)
    bars.loc[5, "close"], bars.loc[7, "open"], bars.loc[9, ["open", "high", "low", "close"]] = -1, "x", ""
    done = bring(put(tmp_path, "x.csv", exports.text(bars)))
    assert_same(done.bars, BARS.drop(index=[5, 7, 9]))
    reasons = {row["reason"]: (row["place"], row["symbol"]) for row in done.understood["set_aside"]}
    assert reasons == {
        "close is -1.0, which is not positive": ("line 7", "ALFA"),
        "open is x, which is no number": ("line 9", "ALFA"),
        "has no prices": ("line 11", "ALFA"),
    }


def test_a_row_with_too_many_cells_spoils_one_row(bring: Importer, tmp_path: Path) -> None:
    lines = exports.text(BARS).decode().splitlines()
    lines[8] += ",7,8"
    done = bring(put(tmp_path, "x.csv", "\n".join(lines) + "\n"))
    assert_same(done.bars, BARS.drop(index=[7]))
    assert "line 9" in [row["place"] for row in done.understood["set_aside"]]


def test_torn_rows_count_however_many_there_are(bring: Importer, tmp_path: Path) -> None:
    # Prices with a comma for thousands and no quotes: two cells where one should be.
    lines = exports.text(BARS).decode().splitlines()
    symbols = [f"T{n:03d}," for n in range(600)]
    good = [line.replace("ALFA,", name) for name in symbols for line in lines[1:] if line.startswith("ALFA,")]
    torn = [f"{line},1" for line in good[:1500]]
    with pytest.raises(MarketDataError, match=r"1,500 of 72,000 rows cannot be true"):
        bring(put(tmp_path, "x.csv", "\n".join([lines[0], *torn, *good[1500:]]) + "\n"))


def test_more_bad_rows_than_one_in_a_hundred_refuse_the_file_with_line_and_reason(bring: Importer, tmp_path: Path) -> None:
    bars = BARS.assign(low=BARS["low"].where(BARS.index % 20 > 0, -3.0))
    with pytest.raises(MarketDataError, match=r"x.csv: line 2: 12 of 240 rows cannot be true, the first: low is -3.0"):
        bring(put(tmp_path, "x.csv", exports.text(bars)))


def test_a_bad_file_of_a_folder_is_left_out_and_named(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "in", "ALFA.csv", exports.text(exports.one(BARS)))
    put(tmp_path / "in", "BRAV.csv", exports.text(exports.one(BARS).assign(Low=-1)))
    put(tmp_path / "in", "CHAR.csv", "<html>\nnot found, sorry\n</html>\n")
    put(tmp_path / "in", "1-Mar.csv", exports.text(exports.one(BARS)))
    done = bring(tmp_path / "in")
    assert_same(done.bars, ALFA)
    left = {Path(one["label"]).name: one["reason"] for one in done.understood["left_out"]}
    assert set(left) == {"BRAV.csv", "CHAR.csv", "1-Mar.csv"}
    assert "spreadsheet" in left["1-Mar.csv"]


@pytest.mark.parametrize(
    "symbol",
    [
        *("1-Mar", "43831", "1.0E+10", "#N/A", "=SUM(A1)", "Mar-01", "2020-03-01"),
        *("01. Mrz", "Okt-21", "2-Sept", "15 août", "dic-20", "1,00E+10", "#####", "#BEZUG!", "=B2", "12:30:00 AM"),
    ],
)
def test_what_a_spreadsheet_made_of_a_symbol_is_refused_by_name(bring: Importer, tmp_path: Path, symbol: str) -> None:
    with pytest.raises(MarketDataError, match="spreadsheet") as caught:
        bring(put(tmp_path, "x.csv", exports.text(BARS.replace({"symbol": {"BRAV": symbol}}))))
    assert symbol in str(caught.value)


@pytest.mark.parametrize(("column", "value"), [("volume", 1e16), ("close", 1e10), ("volume", 1e308)])
def test_a_number_beyond_reason_refuses_the_file(bring: Importer, tmp_path: Path, column: str, value: float) -> None:
    bars = BARS.astype({column: float})
    bars.loc[50, column] = value
    with pytest.raises(MarketDataError, match=r"line 52: .* more "):
        bring(put(tmp_path, "x.csv", exports.text(bars)))


def test_equal_rows_count_once_and_of_rows_that_differ_none(bring: Importer, tmp_path: Path) -> None:
    other = BARS.iloc[[70]].assign(volume=1)
    done = bring(put(tmp_path, "x.csv", exports.text(pd.concat([BARS, BARS.iloc[[50]], other]))))
    assert_same(done.bars, BARS.drop(index=[70]))


def test_two_files_that_contradict_each_other_are_refused(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "in", "a.csv", exports.text(BARS))
    put(tmp_path / "in", "b.csv", exports.text(BARS.assign(volume=BARS["volume"] + 1)))
    with pytest.raises(MarketDataError, match=r"as of ALFA on 2020-01-02 in .*a.csv and .*b.csv"):
        bring(tmp_path / "in")


@pytest.mark.parametrize("file", ["all.csv", "all_stocks_5yr.csv"])
def test_a_column_of_symbols_under_a_name_that_is_not_known_is_asked_for(bring: Importer, tmp_path: Path, file: str) -> None:
    path = put(tmp_path, file, exports.text(BARS.rename(columns={"symbol": "Name"})))
    with pytest.raises(MarketDataError, match="--column symbol=NAME"):
        bring(path)
    assert_same(bring(path, columns={"symbol": "Name"}).bars, BARS)


@pytest.mark.parametrize("word", ["Symbole", "Símbolo", "act_symbol"])
def test_symbols_are_known_under_other_words(bring: Importer, tmp_path: Path, word: str) -> None:
    assert_same(bring(put(tmp_path, "x.csv", exports.text(BARS.rename(columns={"symbol": word})))).bars, BARS)


def test_spellings_of_one_company_are_joined_with_a_line(bring: Importer, tmp_path: Path) -> None:
    bars = ALFA.assign(symbol=["brk-b" if n < 40 else "BRK/B" if n < 80 else "BRK B" for n in range(len(ALFA))])
    done = bring(put(tmp_path, "x.csv", exports.text(bars)))
    assert_same(done.bars, ALFA.assign(symbol="BRK.B"))
    assert done.understood["mapped"] == {"BRK B": "BRK.B", "BRK/B": "BRK.B", "brk-b": "BRK.B"}


def test_two_symbols_with_the_very_same_bars_are_named(bring: Importer, tmp_path: Path) -> None:
    done = bring(put(tmp_path, "x.csv", exports.text(pd.concat([ALFA, ALFA.assign(symbol="ALFB")]))))
    assert any("ALFA and ALFB have the very same bars" in note for note in done.understood["notes"])


def test_all_four_prices_adjusted_are_refused_and_taken_where_asked(bring: Importer, tmp_path: Path) -> None:
    path = put(tmp_path, "ALFA.csv", exports.text(adjusted()))
    with pytest.raises(MarketDataError, match=r"the prices are adjusted: older closes .* --adjusted"):
        bring(path)
    assert len(bring(path, adjusted=True).bars) == 120


def test_yfinances_adjusted_prices_of_years_ago_are_refused_and_others_noted(bring: Importer, tmp_path: Path) -> None:
    old = adjusted()
    old[NUMBERS] *= 0.93
    history = old.assign(Dividends=0.0, **{"Stock Splits": 0.0})
    long = old.rename(columns=str.lower).rename(columns={"date": "session"}).assign(symbol="ALFA")
    for content in (exports.text(history), exports.yfinance(long)):
        with pytest.raises(MarketDataError, match="older closes of 1 symbols lie between cents, as of ALFA"):
            bring(put(tmp_path, "ALFA.csv", content))
    done = bring(put(tmp_path, "ALFA.csv", exports.text(old)))
    assert any("ALFA" in note and "between cents throughout" in note for note in done.understood["notes"])


def test_a_split_without_a_trace_means_adjusted_and_is_turned_back_where_asked(bring: Importer, tmp_path: Path) -> None:
    path = put(tmp_path, "ALFA.csv", exports.text(split_adjusted()))
    with pytest.raises(MarketDataError, match="1 of 1 splits leave no trace in the prices, as that of ALFA"):
        bring(path)
    before = np.arange(120) < 60
    wanted = ALFA.assign(
        **{name: np.where(before, ALFA[name] * 4, ALFA[name]) for name in exports.PRICES},
        volume=np.where(before, ALFA["volume"] / 4, ALFA["volume"]),
    )
    done = bring(path, adjusted=True)
    assert_same(done.bars, wanted)
    assert done.written.splits.added == 1


def test_a_split_that_moves_the_price_the_other_way_is_refused_with_its_day(bring: Importer, tmp_path: Path) -> None:
    before = np.arange(120) < 60
    raw = ALFA.assign(**{name: np.where(before, ALFA[name] * 4, ALFA[name]).round(2) for name in exports.PRICES})
    put(tmp_path / "in", "ALFA.csv", exports.text(raw))
    day = ALFA["session"].iloc[60]
    put(tmp_path / "in", "splits.csv", f"symbol,date,split\nALFA,{day},1:4\n")
    with pytest.raises(MarketDataError, match=rf"1 shares for 4 on {day}, .* price is 0\.2.*the other way round"):
        bring(tmp_path / "in")
    put(tmp_path / "in", "splits.csv", f"symbol,date,split\nALFA,{day},4:1\n")
    assert_same(bring(tmp_path / "in").bars, raw)


def test_splits_that_the_folder_knows_show_adjusted_prices_too(bring: Importer, tmp_path: Path) -> None:
    put(tmp_path / "bars", "splits.csv", f"symbol,execution_date,split_from,split_to\nALFA,{ALFA['session'].iloc[60]},1,4\n")
    with pytest.raises(MarketDataError, match="leave no trace"):
        bring(put(tmp_path, "ALFA.csv", exports.text(exports.one(BARS))))


def test_adjusted_columns_alone_are_refused_by_name(bring: Importer, tmp_path: Path) -> None:
    named = exports.one(BARS).rename(columns={name: f"Adj {name}" for name in NUMBERS})
    path = put(tmp_path, "ALFA.csv", exports.text(named))
    with pytest.raises(MarketDataError, match="holds adjusted prices only"):
        bring(path)
    assert_same(bring(path, adjusted=True).bars, ALFA)


def test_an_adjusted_close_beside_raw_prices_is_refused_with_the_reason(bring: Importer, tmp_path: Path) -> None:
    bar = exports.one(BARS)
    mixed = bar.assign(Close=adjusted()["Close"].round(2))
    with pytest.raises(MarketDataError, match="the close lies under the low: it looks adjusted"):
        bring(put(tmp_path, "ALFA.csv", exports.text(mixed)))


def test_a_raw_close_over_adjusted_highs_is_refused_with_the_reason(bring: Importer, tmp_path: Path) -> None:
    mixed = adjusted().assign(Close=exports.one(BARS)["Close"]).round(2)
    with pytest.raises(MarketDataError, match="the close lies over the high: open, high and low look adjusted"):
        bring(put(tmp_path, "ALFA.csv", exports.text(mixed)))


def test_lows_and_closes_of_zero_are_not_said_to_be_adjusted(bring: Importer, tmp_path: Path) -> None:
    empty = exports.one(BARS).assign(Low=0.0, Close=0.0)
    with pytest.raises(MarketDataError, match=r"low is 0\.0, which is not positive") as refused:
        bring(put(tmp_path, "ALFA.csv", exports.text(empty)))
    assert "adjusted" not in str(refused.value)


def test_highs_and_lows_that_are_exchanged_are_said_to_be_that(bring: Importer, tmp_path: Path) -> None:
    turned = exports.one(BARS).rename(columns={"High": "Low", "Low": "High"})
    with pytest.raises(MarketDataError, match="in 120 rows the high lies under the low: are the two columns exchanged"):
        bring(put(tmp_path, "ALFA.csv", exports.text(turned)))


@pytest.mark.parametrize("words", ["EUR", "GBX", "GBp"])
def test_bars_in_another_currency_are_left_out(bring: Importer, tmp_path: Path, words: str) -> None:
    brav = BARS["symbol"] == "BRAV"
    mixed = BARS.assign(currency=np.where(brav, words, np.where(BARS["close"] > 1400, "US$", "")))
    done = bring(put(tmp_path, "x.csv", exports.text(mixed)))
    assert_same(done.bars, ALFA)
    assert [(row["reason"], row["rows"]) for row in done.understood["set_aside"]] == [("is not in dollars", 120)]
    with pytest.raises(MarketDataError, match="each is not in dollars: import prices in dollars"):
        bring(put(tmp_path, "y.csv", exports.text(mixed[brav])))


def test_prices_with_the_sign_of_another_currency_are_no_dollars(bring: Importer, tmp_path: Path) -> None:
    signed = BARS.assign(close=BARS["close"].map("£{:.2f}".format))
    with pytest.raises(MarketDataError, match="is not in dollars"):
        bring(put(tmp_path, "x.csv", exports.text(signed)))
    assert_same(bring(put(tmp_path, "y.csv", exports.text(BARS.assign(close=BARS["close"].map("${:.2f}".format))))).bars, BARS)


def test_a_volume_of_zeros_beside_another_volume_is_noted_with_its_mend(bring: Importer, tmp_path: Path) -> None:
    bars = exports.one(BARS).rename(columns={"Volume": "<TICKVOL>"}).assign(**{"<VOL>": 0})
    path = put(tmp_path, "ALFA.csv", exports.text(bars))
    assert any("--column volume=TICKVOL" in note for note in bring(path).understood["notes"])
    assert_same(bring(path, columns={"volume": "TICKVOL"}, into=tmp_path / "1").bars, ALFA)


def test_raw_prices_in_sixteenths_of_a_dollar_are_raw(bring: Importer, tmp_path: Path) -> None:
    old = exports.one(BARS)
    days = pd.bdate_range("2001-03-01", periods=120).strftime("%Y-%m-%d")
    early = np.asarray(days) < "2001-04-09"
    sixteenths = {name: np.where(early, np.floor(old[name] * 16) / 16, old[name]) for name in NUMBERS}
    assert len(bring(put(tmp_path, "ALFA.csv", exports.text(old.assign(Date=days, **sixteenths)))).bars) == 120


def test_dates_a_day_early_bars_of_minutes_and_ambiguous_thousands_are_refused(bring: Importer, tmp_path: Path) -> None:
    early = BARS.assign(session=(pd.to_datetime(BARS["session"]) - pd.Timedelta(days=1)).dt.strftime("%Y-%m-%d"))
    with pytest.raises(MarketDataError, match=r"Saturday or Sunday.*a day early"):
        bring(put(tmp_path, "x.csv", exports.text(early)))
    times = [f" 1{hour}:00:00" for hour in range(5)]
    minutes = pd.concat([BARS.assign(session=BARS["session"] + time, volume=n + 1) for n, time in enumerate(times)])
    with pytest.raises(MarketDataError, match="5 rows a session"):
        bring(put(tmp_path, "y.csv", exports.text(minutes)))
    thousand = BARS.assign(**{name: BARS[name].map(lambda v: f"{int(v)},{int(v) % 900 + 100}") for name in exports.PRICES})
    with pytest.raises(MarketDataError, match="--decimal"):
        bring(put(tmp_path, "z.csv", exports.text(thousand.assign(**{n: thousand[n].str[-7:] for n in exports.PRICES}))))


CHEAP = ALFA.assign(**{name: (ALFA[name] / 50).round(2) for name in exports.PRICES})


def with_semicolons(volume: str) -> str:
    """Bars under a thousand dollars as a program of the continent parts them, with three decimals. volume: a format."""
    rows = [
        ";".join([row.session, *(f"{getattr(row, name):.3f}" for name in exports.PRICES), format(row.volume, volume)])
        for row in CHEAP.itertuples()
    ]
    return "\n".join(["Date;Open;High;Low;Close;Volume", *rows]) + "\n"


def test_three_decimals_between_semicolons_are_refused_where_nothing_says_that_they_are_no_thousands(
    bring: Importer, tmp_path: Path
) -> None:
    path = put(tmp_path, "ALFA.csv", with_semicolons("d"))
    with pytest.raises(MarketDataError, match=r"with three decimals.*--decimal \. or --decimal ,"):
        bring(path)
    assert_same(bring(path, decimal=".", into=tmp_path / "1").bars, CHEAP)
    assert_same(bring(put(tmp_path, "ALFA.csv", with_semicolons(",d")), into=tmp_path / "2").bars, CHEAP)
    penny = with_semicolons("d").replace("2020-01-02;", "2019-12-31;0.512;0.700;0.500;0.600;1000000\n2020-01-02;")
    assert len(bring(put(tmp_path, "ALFA.csv", penny), into=tmp_path / "3").bars) == 121
    thousands = bring(put(tmp_path, "ALFA.csv", with_semicolons(",d").replace(",", ".")), into=tmp_path / "4").bars
    assert_same(thousands, CHEAP.assign(**{name: CHEAP[name] * 1000 for name in exports.PRICES}))


def with_commas(bars: pd.DataFrame) -> str:
    """One symbol, its prices with a decimal comma and three decimals, each in quotes."""
    rows = exports.one(bars).astype({"Volume": int})
    for name in ("Open", "High", "Low", "Close"):
        rows[name] = [f"{value:.3f}".replace(".", ",") for value in rows[name]]
    return rows.to_csv(index=False)


def test_no_file_is_read_by_the_decimal_mark_of_others_where_it_does_not_say_its_own(bring: Importer, tmp_path: Path) -> None:
    brav = CHEAP.assign(symbol="BRAV")
    points = put(tmp_path / "dl", "ALFA.csv", exports.one(ALFA).to_csv(index=False))
    commas = put(tmp_path / "dl", "BRAV.csv", with_commas(brav))
    done = bring(tmp_path / "dl")
    assert set(done.bars["symbol"]) == {"ALFA"}
    assert "BRAV.csv" in (line := str(done.understood["left_out"]))
    assert "import it apart with --decimal . or --decimal ," in line
    with pytest.raises(MarketDataError, match=r"BRAV.csv is not read: \d+,\d{3} may be more than a thousand"):
        bring(points, commas)
    assert_same(bring(commas, decimal=",", into=tmp_path / "1").bars, brav)


def dated(bars: pd.DataFrame, form: str) -> str:
    """One symbol, its dates in this form."""
    rows = exports.one(bars)
    return rows.assign(Date=pd.to_datetime(rows["Date"]).dt.strftime(form)).to_csv(index=False)


def test_no_file_is_read_by_the_date_order_of_others_where_its_days_suit_the_other_one(bring: Importer, tmp_path: Path) -> None:
    early = BARS[(BARS["symbol"] == "BRAV") & BARS["session"].between("2020-02-03", "2020-02-12")]
    for name, bars, form in (("ALFA", ALFA, "%m/%d/%Y"), ("BRAV", early, "%m/%d/%Y"), ("CHAR", early, "%d/%m/%Y")):
        put(tmp_path / "dl", f"{name}.csv", dated(bars, form))
    done = bring(tmp_path / "dl")
    assert_same(done.bars, pd.concat([ALFA, early]))
    assert "CHAR.csv" in (line := str(done.understood["left_out"]))
    assert "03/02/2020 is not month/day/year" in line
    apart = bring(tmp_path / "dl" / "CHAR.csv", dates="dmy", into=tmp_path / "1").bars
    assert_same(apart, early.assign(symbol="CHAR"))


def test_weekly_bars_are_said_to_be_weekly(bring: Importer, tmp_path: Path) -> None:
    weekly = ALFA[pd.to_datetime(ALFA["session"]).dt.weekday == 2]
    assert any("look weekly" in note for note in bring(put(tmp_path, "x.csv", exports.text(weekly))).understood["notes"])


def test_an_index_without_volume_is_read_with_none(bring: Importer, tmp_path: Path) -> None:
    done = bring(put(tmp_path, "^GSPC.csv", exports.text(exports.one(BARS).assign(Volume="-"))))
    assert_same(done.bars, ALFA.assign(symbol="^GSPC", volume=0.0))
    assert any("as of an index" in note for note in done.understood["notes"])


def test_a_ticker_that_came_later_has_no_bars_before(bring: Importer, tmp_path: Path) -> None:
    late = BARS[(BARS["symbol"] == "ALFA") | (BARS["session"] > "2020-03-02")]
    assert_same(bring(put(tmp_path, "x.csv", exports.yfinance(late))).bars, late)
