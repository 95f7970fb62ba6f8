"""Bars as the field's exporters write them: each function gives the bytes of a file with the bars that it is handed.

Trusts its caller for a frame of symbol, session (text), open, high, low, close, volume with prices in whole cents.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable

import numpy as np
import pandas as pd

from tests.support.builders import frames

PRICES = ["open", "high", "low", "close"]
Export = Callable[[pd.DataFrame], bytes]


def market(symbols: str = "ALFA BRAV", sessions: int = 70, seed: int = 1) -> pd.DataFrame:
    """Invented bars of a few symbols, prices in whole cents."""
    random, parts = np.random.default_rng(seed), []
    days = [str(day) for day in frames.days(sessions)]
    for number, symbol in enumerate(symbols.split()):
        close = np.round((1400.0 + 90 * number) * np.exp(np.cumsum(random.normal(0, 0.01, sessions))), 2)
        open_ = np.round(close * np.exp(random.normal(0, 0.003, sessions)), 2)
        high, low = np.round(np.maximum(open_, close) * 1.004, 2), np.round(np.minimum(open_, close) * 0.996, 2)
        volume = random.integers(100, 2_000, sessions) * 1_000
        columns = {"symbol": symbol, "session": days, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def text(frame: pd.DataFrame, **options: object) -> bytes:
    """The frame as CSV, without its index."""
    return frame.to_csv(index=False, **options).encode()  # type: ignore[arg-type]


def dated(bars: pd.DataFrame, form: str) -> pd.DataFrame:
    """With the sessions in another form."""
    return bars.assign(session=pd.to_datetime(bars["session"]).dt.strftime(form))


def one(bars: pd.DataFrame) -> pd.DataFrame:
    """The first symbol's bars, with columns as Yahoo names them."""
    first = bars[bars["symbol"] == bars["symbol"].iloc[0]].drop(columns="symbol")
    return first.rename(columns=str.title).rename(columns={"Session": "Date"})


def wide(bars: pd.DataFrame, names: tuple[str | None, str | None] = ("Price", "Ticker")) -> pd.DataFrame:
    """What yfinance.download returns: a column for each field and ticker."""
    titled = bars.rename(columns=str.title).assign(Date=pd.to_datetime(bars["session"]))
    table = titled.pivot(index="Date", columns="Symbol", values=["Close", "High", "Low", "Open", "Volume"])
    table.columns.names = list(names)
    return table


def money(values: pd.Series) -> pd.Series:
    """As Nasdaq writes a price."""
    return values.map("${:,.2f}".format)


def european(values: pd.Series) -> pd.Series:
    """With decimal commas and points between thousands."""
    return values.map(lambda value: f"{value:,.2f}".translate(str.maketrans(",.", ".,")))


def yfinance(bars: pd.DataFrame) -> bytes:
    """download().to_csv(): three header lines."""
    return wide(bars).to_csv().encode()


def yfinance_by_ticker(bars: pd.DataFrame) -> bytes:
    """download(group_by="ticker").to_csv()."""
    return wide(bars).swaplevel(axis=1).sort_index(axis=1).to_csv().encode()


def yfinance_unnamed(bars: pd.DataFrame) -> bytes:
    """The same of the years before its levels had names."""
    return wide(bars, (None, None)).to_csv().encode()


def yfinance_reset(bars: pd.DataFrame) -> bytes:
    """download().reset_index().to_csv(), its row numbers included."""
    return wide(bars).reset_index().to_csv().encode()


def yfinance_adjusted_beside(bars: pd.DataFrame) -> bytes:
    """download(auto_adjust=False).to_csv()."""
    table = wide(bars)
    for ticker in dict.fromkeys(bars["symbol"]):
        table["Adj Close", ticker] = table["Close", ticker] * 0.9
    return table.sort_index(axis=1).to_csv().encode()


def yfinance_stacked(bars: pd.DataFrame) -> bytes:
    """download().stack(level=1).to_csv()."""
    return wide(bars).stack(level=1, future_stack=True).to_csv().encode()


def joined_names(bars: pd.DataFrame) -> bytes:
    """Columns such as `Close_ALFA`."""
    table = wide(bars)
    table.columns = ["_".join(pair) for pair in table.columns]
    return table.to_csv().encode()


def quantmod(bars: pd.DataFrame) -> bytes:
    """R's quantmod: `ALFA.Open`, …, `ALFA.Adjusted`, with an index without a name."""
    table = wide(bars)
    table.columns = [f"{ticker}.{name}" for name, ticker in table.columns]
    return table.rename_axis("Index").to_csv().encode()


def stooq(bars: pd.DataFrame) -> bytes:
    """Stooq's database."""
    compact = dated(bars, "%Y%m%d")
    columns = {
        "<TICKER>": bars["symbol"] + ".US", "<PER>": "D", "<DATE>": compact["session"], "<TIME>": "000000",
        "<OPEN>": bars["open"], "<HIGH>": bars["high"], "<LOW>": bars["low"], "<CLOSE>": bars["close"],
        "<VOL>": bars["volume"], "<OPENINT>": 0,
    }  # fmt: skip
    return text(pd.DataFrame(columns))


def alpaca(bars: pd.DataFrame) -> bytes:
    """alpaca-py's bars.df.to_csv(): New York's midnight in UTC."""
    stamps = pd.to_datetime(bars["session"]).dt.tz_localize("America/New_York").dt.tz_convert("UTC")
    return text(bars.assign(session=stamps, trade_count=7.0, vwap=bars["close"]).rename(columns={"session": "timestamp"}))


def alpaca_letters(bars: pd.DataFrame) -> bytes:
    """The answer's own letters as columns."""
    letters = {"symbol": "S", "session": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    return text(bars.assign(session=bars["session"] + "T05:00:00Z").rename(columns=letters))


def polygon_flat(bars: pd.DataFrame) -> bytes:
    """Polygon's flat files: nanoseconds since 1970."""
    stamps = pd.to_datetime(bars["session"]).dt.tz_localize("America/New_York").astype("datetime64[ns, America/New_York]")
    return text(
        bars.assign(session=stamps.astype("int64"), transactions=7).rename(
            columns={"session": "window_start", "symbol": "ticker"}
        )
    )


def norgate(bars: pd.DataFrame) -> bytes:
    """Norgate with many symbols, compact dates."""
    return text(dated(bars, "%Y%m%d").assign(turnover=1.0).rename(columns={"session": "Date", "symbol": "Symbol"}))


def decimal_commas(bars: pd.DataFrame) -> bytes:
    """Excel in Europe: semicolons, decimal commas, points between thousands, days first."""
    marked = bars.assign(
        **{name: european(bars[name]) for name in PRICES}, volume=bars["volume"].map(lambda v: f"{v:,}".replace(",", "."))
    )
    return text(dated(marked, "%d.%m.%Y"), sep=";")


def tabs_in_utf16(bars: pd.DataFrame) -> bytes:
    """Excel's Unicode text."""
    return bars.to_csv(index=False, sep="\t").encode("utf-16")


def preamble(bars: pd.DataFrame) -> bytes:
    """A few lines before the table, and one after it."""
    return b"Export of bars\n\nmade by hand\n" + text(bars) + b'"Downloaded from somewhere, on a day"\n'


MANY: dict[str, Export] = {
    "Kobe": text,
    "a byte order mark": lambda bars: b"\xef\xbb\xbf" + text(bars),
    "semicolons and decimal commas": decimal_commas,
    "sep= line": lambda bars: b"sep=;\n" + text(bars, sep=";", decimal=","),
    "UTF-16": tabs_in_utf16,
    "Latin-1": lambda bars: bars.assign(name="Société").to_csv(index=False).encode("latin-1"),
    "Mac line ends": lambda bars: text(bars).replace(b"\n", b"\r"),
    "two kinds of line ends": lambda bars: text(bars)[:900] + text(bars)[900:].replace(b"\n", b"\r\n"),
    "preamble and footer": preamble,
    "capitals": lambda bars: text(bars.rename(columns=str.upper)),
    "days first": lambda bars: text(dated(bars, "%d/%m/%Y")),
    "months first": lambda bars: text(dated(bars, "%m/%d/%y")),
    "months by name": lambda bars: text(dated(bars, "%d-%b-%Y")),
    "words": lambda bars: text(dated(bars, "%b %d, %Y")),
    "Excel's numbers": lambda bars: text(
        bars.assign(session=(pd.to_datetime(bars["session"]) - pd.Timestamp("1899-12-30")).dt.days)
    ),
    "New York midnight": lambda bars: text(bars.assign(session=bars["session"] + " 00:00:00-05:00")),
    "the close in UTC": lambda bars: text(bars.assign(session=bars["session"] + "T21:00:00+00:00")),
    "lower-case and blanks": lambda bars: text(bars.assign(symbol=" " + bars["symbol"].str.lower() + " ")),
    "yfinance": yfinance,
    "yfinance by ticker": yfinance_by_ticker,
    "yfinance, unnamed levels": yfinance_unnamed,
    "yfinance, index reset": yfinance_reset,
    "yfinance, adjusted close beside": yfinance_adjusted_beside,
    "yfinance stacked": yfinance_stacked,
    "joined names": joined_names,
    "quantmod": quantmod,
    "Stooq": stooq,
    "Alpaca": alpaca,
    "Alpaca's letters": alpaca_letters,
    "Polygon's flat files": polygon_flat,
    "Norgate": norgate,
}
"""Files with all symbols of the market."""


def tiingo(bars: pd.DataFrame) -> bytes:
    """Tiingo's CSV: midnight of UTC, adjusted columns beside the raw ones."""
    bar = one(bars)
    columns = {
        "date": bar["Date"] + "T00:00:00.000Z", "close": bar["Close"], "high": bar["High"], "low": bar["Low"],
        "open": bar["Open"], "volume": bar["Volume"], "adjClose": bar["Close"] / 2, "adjHigh": bar["High"] / 2,
        "adjLow": bar["Low"] / 2, "adjOpen": bar["Open"] / 2, "adjVolume": bar["Volume"] * 2,
        "divCash": 0.0, "splitFactor": 1.0,
    }  # fmt: skip
    return text(pd.DataFrame(columns))


def eodhd(bars: pd.DataFrame) -> bytes:
    """EODHD's CSV."""
    bar = one(bars)
    return text(
        bar.assign(Adjusted_close=bar["Close"] * 0.9)[["Date", "Open", "High", "Low", "Close", "Adjusted_close", "Volume"]]
    )


def alpha_vantage(bars: pd.DataFrame) -> bytes:
    """TIME_SERIES_DAILY_ADJUSTED, newest first."""
    bar = one(bars).rename(columns=str.lower).rename(columns={"date": "timestamp"})
    full = bar.assign(adjusted_close=bar["close"] * 0.9, dividend_amount="0.0000", split_coefficient="1.0")
    order = ["timestamp", *PRICES, "adjusted_close", "volume", "dividend_amount", "split_coefficient"]
    return text(full[order].iloc[::-1])


def alpha_vantage_numbered(bars: pd.DataFrame) -> bytes:
    """The Python library's to_csv(): `1. open`, `2. high`, …"""
    bar = one(bars).rename(columns=str.lower)
    return text(bar.rename(columns={name: f"{n}. {name}" for n, name in enumerate([*PRICES, "volume"], 1)}))


def nasdaq(bars: pd.DataFrame) -> bytes:
    """nasdaq.com's download."""
    bar = one(bars)
    columns = {
        "Date": pd.to_datetime(bar["Date"]).dt.strftime("%m/%d/%Y"), "Close/Last": money(bar["Close"]), "Volume": bar["Volume"],
        "Open": money(bar["Open"]), "High": money(bar["High"]), "Low": money(bar["Low"]),
    }  # fmt: skip
    return text(pd.DataFrame(columns).iloc[::-1])


def investing(bars: pd.DataFrame) -> bytes:
    """Investing.com's download: all cells quoted, thousands marked, volume in millions."""
    bar = one(bars)
    columns = {
        "Date": pd.to_datetime(bar["Date"]).dt.strftime("%m/%d/%Y"), "Price": bar["Close"].map("{:,.2f}".format),
        **{name: bar[name].map("{:,.2f}".format) for name in ("Open", "High", "Low")},
        "Vol.": bar["Volume"].map(lambda v: f"{v / 1e3:.0f}K" if v < 1e6 else f"{v / 1e6:.3f}M"), "Change %": "0.10%",
    }  # fmt: skip
    return b"\xef\xbb\xbf" + text(pd.DataFrame(columns), quoting=1)


def norgate_unadjusted(bars: pd.DataFrame) -> bytes:
    """Norgate with adjusted prices and the unadjusted close beside them."""
    bar = one(bars)
    halved = bar.assign(**{name: bar[name] / 2 for name in ("Open", "High", "Low", "Close")}, Volume=bar["Volume"] * 2)
    return text(halved.assign(Turnover=1.0, **{"Unadjusted Close": bar["Close"]}, Dividend=0.0))


def history(bars: pd.DataFrame) -> bytes:
    """yfinance's Ticker.history().to_csv()."""
    bar = one(bars)
    stamps = pd.to_datetime(bar["Date"]).dt.tz_localize("America/New_York")
    return text(bar.assign(Date=stamps, Dividends=0.0, **{"Stock Splits": 0.0}))


def german_turnover(bars: pd.DataFrame) -> bytes:
    """A German portal's file: `Stuecke` are shares, and `Volumen` beside them is money."""
    days = one(bars)
    columns = {"Datum": days["Date"], "Erster": european(days["Open"]), "Hoch": european(days["High"])}
    columns |= {"Tief": european(days["Low"]), "Schlusskurs": european(days["Close"]), "Stuecke": days["Volume"]}
    return text(pd.DataFrame(columns | {"Volumen": (days["Volume"] * days["Close"]).round()}), sep=";")


def french_portal(bars: pd.DataFrame) -> bytes:
    """A French portal's file: short names, days first, narrow blanks between thousands."""
    days = one(bars)
    money_of = {name: european(days[name]).str.replace(".", "\u202f") for name in ("Open", "High", "Low", "Close")}
    columns = {"date": dated(bars[: len(days)], "%d/%m/%Y")["session"].to_numpy(), "ouv": money_of["Open"]}
    columns |= {"haut": money_of["High"], "bas": money_of["Low"], "clot": money_of["Close"], "vol": days["Volume"]}
    return text(pd.DataFrame(columns).assign(devise="USD"), sep=";")


def indian(values: pd.Series) -> pd.Series:
    """With marks between lakhs and crores: 12,34,567.50."""
    return values.map(lambda value: re.sub(r"(?<=\d)(?=(\d\d)+\d(\.|$))", ",", f"{value}"))


def indian_portal(bars: pd.DataFrame) -> bytes:
    """A file of a portal in India: months by name, lakhs marked."""
    days = one(bars).drop(columns="Date")
    dates = dated(bars[: len(days)], "%d-%b-%Y")["session"].to_numpy()
    return text(days.apply(indian).assign(Date=dates), quoting=1)


POLISH = ["Data", "Otwarcie", "Najwyzszy", "Najnizszy", "Zamkniecie", "Wolumen"]


def in_words(bars: pd.DataFrame, columns: str) -> bytes:
    """Investing.com's download under the words of another country: date, close, open, high, low, volume."""
    days = one(bars)
    parts = [dated(bars[: len(days)], "%d.%m.%Y")["session"].to_numpy()]
    parts += [european(days[name]).to_numpy() for name in ("Close", "Open", "High", "Low")]
    return text(pd.DataFrame(dict(zip(columns.split("|"), [*parts, days["Volume"].to_numpy()], strict=True))), quoting=1)


ALONE: dict[str, tuple[str, Export]] = {
    "Tiingo": ("ALFA.csv", tiingo),
    "EODHD": ("ALFA.US.csv", eodhd),
    "Alpha Vantage": ("daily_adjusted_ALFA.csv", alpha_vantage),
    "Alpha Vantage's library": ("alfa.csv", alpha_vantage_numbered),
    "Nasdaq": ("nasdaq_ALFA.csv", nasdaq),
    "Investing.com": ("ALFA Historical Data (1).csv", investing),
    "Norgate, unadjusted close": ("ALFA.csv", norgate_unadjusted),
    "Stooq's page": ("alfa_us_d.csv", lambda bars: text(one(bars))),
    "Yahoo": ("ALFA.csv", lambda bars: text(one(bars).assign(**{"Adj Close": one(bars)["Close"] * 0.9}))),
    "yfinance history": ("ALFA.csv", history),
    "yfinance, one ticker": ("prices.csv", lambda bars: wide(bars[bars["symbol"] == "ALFA"]).to_csv().encode()),
    "Ariva": ("ALFA.csv", german_turnover),
    "a French portal": ("ALFA.csv", french_portal),
    "a portal in India": ("ALFA.csv", indian_portal),
    "Stooq in Polish": ("alfa_us_d.csv", lambda bars: text(one(bars).set_axis(POLISH, axis=1))),
    "Investing.com in Italian": ("ALFA.csv", lambda bars: in_words(bars, "Data|Ultimo|Apertura|Massimo|Minimo|Vol.")),
    "Investing.com in Portuguese": ("ALFA.csv", lambda bars: in_words(bars, "Data|Último|Abertura|Máxima|Mínima|Vol.")),
    "Investing.com in Dutch": ("ALFA.csv", lambda bars: in_words(bars, "Datum|Laatst|Open|Hoog|Laag|Vol.")),
    "Investing.com in Spanish, no accents": (
        "ALFA.csv",
        lambda bars: in_words(bars, "Fecha|Ultimo|Apertura|Maximo|Minimo|Vol."),
    ),
    "no header": ("ALFA.txt", lambda bars: text(one(bars), header=False)),
}
"""Files of one symbol: the name that they come with, and the file."""


def workbook(rows: list[list[object]], date_columns: tuple[int, ...] = (), merged: tuple[str, ...] = ()) -> bytes:
    """A workbook of one sheet as Excel stores it: texts in line, days as numbers with a date's format. merged: as `A2:A9`."""
    ranges = "".join(f"<mergeCell ref='{one}'/>" for one in merged)
    merges = f"<mergeCells count='{len(merged)}'>{ranges}</mergeCells>" if merged else ""
    body = "".join(
        f"<row r='{n}'>" + "".join(_xlsx_cell(value, place in date_columns) for place, value in enumerate(row)) + "</row>"
        for n, row in enumerate(rows, 1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f"<Types xmlns='{package}/content-types'>"
        "<Default Extension='xml' ContentType='application/xml'/>"
        "<Default Extension='rels' ContentType='application/vnd.openxmlformats-package.relationships+xml'/></Types>",
        "_rels/.rels": f"<Relationships xmlns='{package}/relationships'><Relationship Id='r1' Type='{office}/officeDocument' "
        "Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<workbook xmlns='{main}' xmlns:r='{office}'><sheets>"
        "<sheet name='Sheet1' sheetId='1' r:id='r1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships xmlns='{package}/relationships'>"
        f"<Relationship Id='r1' Type='{office}/worksheet' Target='worksheets/sheet1.xml'/>"
        f"<Relationship Id='r2' Type='{office}/styles' Target='styles.xml'/></Relationships>",
        "xl/styles.xml": f"<styleSheet xmlns='{main}'><cellXfs count='2'>"
        "<xf numFmtId='0'/><xf numFmtId='14'/></cellXfs></styleSheet>",
        "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{main}'><sheetData>{body}</sheetData>{merges}</worksheet>",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _xlsx_cell(value: object, is_day: bool) -> str:
    if isinstance(value, bool):
        return f"<c t='b'><v>{int(value)}</v></c>"
    if isinstance(value, str):
        return f"<c t='inlineStr'><is><t>{value}</t></is></c>"
    return f"<c s='{int(is_day)}'><v>{value}</v></c>"
