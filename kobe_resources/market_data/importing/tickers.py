"""The symbol that a file's name holds: `aapl.us.txt`, `daily_adjusted_IBM.csv`, `MSFT Historical Data (1).csv`."""

from __future__ import annotations

import re

_NOISE = (
    "historical", "history", "historic", "data", "daily", "adjusted", "unadjusted", "raw", "prices", "price", "quotes", "quote",
    "stock", "stocks", "eod", "bars", "bar", "ohlcv", "ohlc", "max", "splits", "split", "dividends", "dividend", "actions",
    "download", "export", "yahoo", "stooq", "tiingo", "alphavantage", "norgate", "eodhd", "alpaca", "investing", "polygon",
    "yfinance", "nasdaq", "nyse", "amex", "time", "series", "full", "compact",
    "1d", "1day", "d", "us", "csv", "table", "chart",
)  # fmt: skip
"""Words that exporters put around a symbol; one of up to four letters counts only in lower case or with a leading capital."""
_TICKER = re.compile(r"\^?[A-Za-z]{1,6}(?:[-./ =_][A-Za-z]{1,3})?|\d{4,6}[A-Z]?\.[A-Z]{1,3}|[A-Z]{1,5}\d[A-Z]?")
UNNAMED = re.compile(
    r"(?i)(historicaldata|download|data|prices?|quotes?|table|export|bars|stocks?|output|untitled|book\d*|sheet\d*)[_\-. ]*\d*"
)
WRAPPED = (
    re.compile(r"Download Data - \w+_[A-Z]{2}_[A-Z]{4}_(.+)"),
    re.compile(r"(?i)MacroTrends_Data_Download_(.+)"),
    re.compile(r"[A-Z]{3,8}_(?:DLY_)?([^,]+), ?1?[DWM](?:_\w+)?"),
)
"""MarketWatch's, Macrotrends' and TradingView's names around a symbol."""
_DAY_AT_END = re.compile(r"[-_. ]\d{1,4}([-_.]\d{1,4}){2}$")
COMPANY = re.compile(r"(?i).*(stock price|price) history.*")
"""Investing.com names its files so, after the company, not its symbol."""


def symbol_in_name(stem: str) -> str | None:
    """The symbol in a file's name without its ending; None where there is none."""
    bare = re.sub(r"\s*\(\d+\)$", "", stem.strip())
    bare = next((found[1] for wrapper in WRAPPED if (found := wrapper.fullmatch(bare))), bare)
    bare = _DAY_AT_END.sub("", bare)
    if bare.upper() == bare and _TICKER.fullmatch(bare) and not re.fullmatch(r"(BARS|DATA|PRICES|QUOTES|EXPORT|TABLE)", bare):
        return bare
    if UNNAMED.fullmatch(bare):
        return None
    company = COMPANY.fullmatch(bare)
    bare = re.sub(r"(?i)[._]us([._ ].*)?$", "", bare)
    words = [word for word in re.split(r"[_\s]+|(?<=\w)-(?=\w{4,})|\.(?=\w{4,})", bare) if word]
    kept = [word for word in words if not (word.lower() in _NOISE and (word.islower() or len(word) > 4 or word.istitle()))]
    kept = [word for word in kept if not re.fullmatch(r"\d{4,}([-.]\d+)*", word)]
    if len(kept) == 2 and re.fullmatch(r"[A-Z]{1,2}", kept[1]) and _TICKER.fullmatch(kept[0]):
        kept = ["-".join(kept)]
    capitals = [word for word in kept if word == word.upper() and word[0].isalpha() and _TICKER.fullmatch(word)]
    if len(kept) > 1 and len(capitals) == 1:
        return capitals[0]
    if len(kept) != 1 or not _TICKER.fullmatch(kept[0]) or (company and kept[0] != kept[0].upper()):
        return None
    return kept[0]
