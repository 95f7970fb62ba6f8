"""What the columns of a bars file mean, by the names that exporters give them, and which exporter it was."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import NamedTuple

PRICES = ("open", "high", "low", "close")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "symbol": (
        *("symbol", "ticker", "code", "symbols", "tickersymbol", "stocksymbol", "sym", "instrument", "kürzel", "actsymbol"),
        *("symbole", "símbolo", "simbolo", "symbool"),
    ),
    "session": (
        *("session", "date", "tradedate", "tradingdate", "tradingday", "pricedate", "day", "dtyyyymmdd", "datetime"),
        *("timestamp", "time", "windowstart", "datum", "fecha", "data", "index", "indexlevel0", "executiondate", "exdate"),
        *("exdividenddate", "effectivedate"),
    ),
    "open": (
        *("open", "openprice", "openingprice", "openprc", "eröffnung", "eröffn", "erster", "apertura", "ouverture", "ouv"),
        *("abertura", "otwarcie"),
    ),
    "high": (
        *("high", "highprice", "dayhigh", "askhi", "hoch", "tageshoch", "máximo", "plushaut", "haut", "massimo", "máxima"),
        *("hoog", "najwyższy"),
    ),
    "low": (
        *("low", "lowprice", "daylow", "bidlo", "tief", "tagestief", "mínimo", "plusbas", "bas", "minimo", "mínima", "laag"),
        "najniższy",
    ),
    "close": (
        *("close", "closelast", "closeprice", "closingprice", "last", "lastprice", "latest", "price", "prc", "schluss"),
        *("schlusskurs", "zuletzt", "cierre", "último", "clôture", "clot", "dernier", "chiusura", "fechamento", "laatst"),
        *("laatste", "zamknięcie"),
    ),
    "volume": (
        # Where pieces are counted beside it, `Volumen` is money.
        *("stücke", "stuecke", "volume", "vol", "totalvolume", "sharevolume", "sharestraded", "tradedvolume", "volumen"),
        *("volumetraded", "wolumen"),
    ),
    "vwap": ("vwap", "vw", "wap"),
    "trades": ("trades", "tradecount", "transactions", "numberoftrades", "numtrades", "barcount"),
    "adjusted_open": ("adjopen", "adjustedopen", "openadj", "openadjusted"),
    "adjusted_high": ("adjhigh", "adjustedhigh", "highadj", "highadjusted"),
    "adjusted_low": ("adjlow", "adjustedlow", "lowadj", "lowadjusted"),
    "adjusted_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjprice", "adjustedclosingprice"),
    "adjusted_volume": ("adjvolume", "adjustedvolume", "volumeadj", "volumeadjusted"),
    "raw_open": ("unadjustedopen", "unadjopen", "openunadj", "rawopen", "openraw"),
    "raw_high": ("unadjustedhigh", "unadjhigh", "highunadj", "rawhigh", "highraw"),
    "raw_low": ("unadjustedlow", "unadjlow", "lowunadj", "rawlow", "lowraw"),
    "raw_close": ("unadjustedclose", "unadjclose", "closeunadj", "rawclose", "closeraw"),
    "split": ("stocksplits", "stocksplit", "split", "splits", "splitfactor", "splitcoefficient", "splitratio", "ratio"),
    "split_from": ("splitfrom", "denominator", "oldrate"),
    "split_to": ("splitto", "numerator", "newrate"),
    "dividend": (
        *("dividend", "dividends", "divcash", "dividendamount", "cashdividend", "cashdividends", "exdividend", "amount"),
        "cashamount",
    ),
    "kind": ("kind",),
    "currency": ("currency", "currencycode", "ccy", "devise", "währung"),
    "pay_date": ("paydate", "paymentdate"),
    "has_options": ("hasoptions",),
    "listing": ("listing",),
    "factor": ("factor",),
    "period": ("per", "period", "timeframe", "interval"),
}
"""Meaning → normalized names, the likeliest first: of two columns of one meaning the earlier name is read."""
LETTERS = {
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
    "n": "trades",
    "S": "symbol",
    "T": "symbol",
    "t": "session",
}
"""Names of one letter, as in the answers of Alpaca and Polygon: capital T is their symbol, small t their time."""


class Shape(NamedTuple):
    """How an exporter writes bars: the normalized names that all must be there; the order of its dates where it has one."""

    name: str
    names: frozenset[str]
    order: str | None = None


def _shape(name: str, names: str, order: str | None = None) -> Shape:
    return Shape(name, frozenset(names.split()), order)


KOBE_ADJUSTED = "Kobe, adjusted"
"""`kobe bars export --adjusted`: each price times the row's factor."""
YFINANCE = "yfinance history"
"""Ticker.history(), with its columns of dividends and splits."""
SHAPES = (
    _shape("Tiingo", "date close adjclose divcash splitfactor"),
    _shape("Alpha Vantage", "timestamp open close adjustedclose dividendamount splitcoefficient"),
    _shape("Alpha Vantage", "date open close adjustedclose dividendamount"),
    _shape("EODHD", "date open close adjustedclose volume"),
    _shape("Nasdaq", "date closelast volume open", "mdy"),
    _shape("Investing.com", "date price open high low change%"),
    _shape("Investing.com", "date price open high low vol"),
    _shape("Norgate", "date open close turnover"),
    _shape("Norgate", "date open close unadjustedclose"),
    _shape("Sharadar", "ticker date open closeadj closeunadj"),
    _shape("Quandl", "date open close adjclose splitratio exdividend"),
    _shape("Stooq", "ticker per date time open close vol openint"),
    _shape("MetaStock", "ticker dtyyyymmdd open close vol"),
    _shape("Alpaca", "symbol timestamp open close volume tradecount vwap"),
    _shape("Polygon", "ticker volume open close windowstart transactions"),
    _shape("Polygon", "timestamp open high low close volume vwap transactions"),
    _shape(YFINANCE, "date open close volume dividends stocksplits"),
    _shape("Yahoo Finance", "date open high low close adjclose volume"),
    _shape("Barchart", "time open high low last volume"),
    _shape(KOBE_ADJUSTED, "symbol listing session open high low close volume factor"),
    _shape("Kobe", "symbol session open high low close volume"),
    _shape("Alpha Vantage", "timestamp open high low close volume"),
)
"""The narrowest first; what none fits is read as columns of known names."""


class Understood(NamedTuple):
    """meaning → place of its column, and the places of those that are not read."""

    places: dict[str, int]
    unread: tuple[int, ...]


@cache
def normalized(name: str) -> str:
    """A column's name without case, accents, blanks, brackets, marks and a number before it (`1. open`, `<CLOSE>`)."""
    plain = re.sub(r"^\s*\d+[a-z]?\.\s+", "", name.strip().strip("\ufeff").casefold())
    # An accent parted from its letter is no letter.
    plain = unicodedata.normalize("NFKD", plain)
    return "".join(letter for letter in plain if letter.isalnum() or letter == "%")


MEANING_OF = {normalized(name): meaning for meaning, names in SYNONYMS.items() for name in names}
_DOLLARS = re.compile(r"[(\[]\s*usd\s*[)\]]\s*$", re.IGNORECASE)
"""A unit behind a column's name."""
RANK = {normalized(name): rank for names in SYNONYMS.values() for rank, name in enumerate(names)}


@cache
def meaning_of(name: str) -> str | None:
    """What a column of this name holds; None where the name is not known."""
    bare = name.strip().strip("\ufeff")
    meaning = LETTERS.get(bare) or LETTERS.get(bare.lower()) or MEANING_OF.get(normalized(bare))
    in_dollars = MEANING_OF.get(normalized(_DOLLARS.sub("", bare)))
    # A volume in dollars counts no shares.
    return meaning or (None if in_dollars in ("volume", "adjusted_volume") else in_dollars)


def understand(names: Sequence[str], overruled: Mapping[str, str] | None = None) -> Understood:
    """Which column means what. overruled: meaning → a column's name or the beginning of it; must fit (see `named`)."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        meaning = meaning_of(name)
        if meaning and (meaning not in places or _rank(name) < _rank(names[places[meaning]])):
            places[meaning] = place
    if is_bars(places) and normalized(names[places.get("dividend", 0)]) == "amount":
        del places["dividend"]  # Beside prices it is what was traded, in money.
    for meaning, wanted in (overruled or {}).items():
        said = named(names, wanted)
        if said is not None:
            places = {other: there for other, there in places.items() if there != said} | {meaning: said}
    return Understood(places, tuple(place for place in range(len(names)) if place not in places.values()))


def named(names: Sequence[str], wanted: str) -> int | None:
    """The place of the column that `wanted` names in full, or as the only one that begins so; None where there is none."""
    full = [place for place, name in enumerate(names) if normalized(name) == normalized(wanted)]
    begun = [place for place, name in enumerate(names) if normalized(name).startswith(normalized(wanted))]
    return full[0] if len(full) == 1 else begun[0] if len(begun) == 1 and not full else None


def exporter(names: Collection[str]) -> Shape | None:
    """The vendor whose exports have these column names; None where several may."""
    held = {normalized(name) for name in names}
    return next((shape for shape in SHAPES if shape.names <= held), None)


def is_bars(meanings: Collection[str]) -> bool:
    """Whether prices are among them, raw or adjusted, and a date."""
    held = {meaning.removeprefix("adjusted_").removeprefix("raw_") for meaning in meanings}
    return "session" in held and held >= set(PRICES)


def is_actions(meanings: Collection[str]) -> bool:
    """Whether splits or dividends are among them, a date, and no price."""
    return "session" in meanings and not {*meanings} & {*PRICES} and bool({*meanings} & {"split", "split_to", "dividend"})


def _rank(name: str) -> int:
    return RANK.get(normalized(name), len(RANK) if _DOLLARS.search(name) else -1)
