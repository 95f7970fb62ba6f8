"""Invented bars on real XNYS sessions: the same seed gives the same bars, at any size.

Every draw is a hash of (seed, symbol, session, field), so that a symbol's bars depend neither on how many symbols there
are nor on how many sessions follow. Prices are a fat-tailed walk under a common market, plus a part that reverts within
days (short-term reversal strategies find trades in it, and only because it was put there: nothing here is evidence).
There are splits with their jump in the raw price, delistings, late listings, halts and single missing sessions.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_resources import calendar
from kobe_resources.market_data.changes import Changes, Load
from kobe_resources.market_data.local.base import LocalVendor, within_span
from kobe_resources.market_data.protocol import MarketDataError, Progress
from kobe_resources.market_data.store import current_source, store_in_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from kobe_resources.warehouse.store import Warehouse

RECIPE = 1
"""Part of the fingerprint: raise it whenever the same seed would give other bars."""
CHUNK = 256
"""Symbols made at once: bounds memory, changes no number."""
REVERTING_LEFT = 0.6
"""How much of the reverting part is left a session later."""
MOVE_LIMIT = 0.33
"""Log return of a session at most; under ln 1.45, so that no invented bar is suspect by its own move (rules, section 2)."""
LATE_SHARE, LATE_BY_AT_MOST = 0.12, 240
SAFE_LIFE, DELISTED_A_SESSION = 250, 0.1 / 2520
HALTED_SHARE, HALT_WITHIN, MISSING_SHARE = 0.04, 1200, 0.0005
SPLIT_RATIOS = np.array([2.0, 3.0, 4.0, 1.5])
REVERSE_BELOW, REVERSE_RATIO = 3.0, 0.1
OPTIONS_SHARE = 0.85
MARKET = 2**40
"""The number whose draws are the whole market's."""

(SHOCK, SCALE, REVERTING, GAP, HIGH, LOW, VOLUME, MISSING) = range(8)
(PRICE, SIZE, SIGMA, BETA, DRIFT, LATE, LATE_BY, LIFE, HALT, HALT_AT, HALT_FOR, SPLIT_ABOVE, RATIO, OPTIONS) = range(8, 22)


class Traits(NamedTuple):
    """What a symbol keeps for life, one value a symbol; the ends of lives and halts are session numbers, `*_end` excluded."""

    price: np.ndarray
    shares: np.ndarray
    sigma: np.ndarray
    beta: np.ndarray
    drift: np.ndarray
    listed: np.ndarray
    life_end: np.ndarray
    halt: np.ndarray
    halt_end: np.ndarray
    split_above: np.ndarray
    split_ratio: np.ndarray


class SyntheticVendor(LocalVendor):
    """As many symbols and sessions as the settings say."""

    name = "synthetic"
    judged = False

    @property
    def source(self) -> str:
        """Another seed or start is another market."""
        return f"synthetic seed {self.data.synthetic.seed} from {self.data.synthetic.start}"

    def fingerprint(self) -> str:
        """The recipe, its settings and the span."""
        text = repr((RECIPE, self.data.synthetic.model_dump(mode="json"), self.data.start, self.data.end))
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> Load:
        """Make the market, within the span."""
        wanted = self.data.synthetic
        market = make_market(wanted.symbols, first_sessions(wanted.start, wanted.sessions), wanted.seed)
        return replace(market, bars=within_span(market.bars, self.data))

    def _replace(self, warehouse: Warehouse, fingerprint: str, progress: Progress, force: bool) -> Changes:
        """As every local vendor; in parts where nothing of this market is stored: all of it may be too much for memory."""
        with warehouse.connect() as connection:
            stored = current_source(connection)
            held = bool(connection.execute("SELECT 1 FROM daily_bars LIMIT 1").fetchall())
        if held and stored and stored[0] == self.source:
            return super()._replace(warehouse, fingerprint, progress, force)
        wanted = self.data.synthetic
        market = wanted.symbols, first_sessions(wanted.start, wanted.sessions), wanted.seed
        progress.start(f"inventing {wanted.symbols:,} symbols", wanted.symbols, "symbols")

        def parts() -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
            for bars, splits in _parts(*market):
                yield within_span(bars, self.data), splits
                progress.advance(bars["symbol"].nunique())

        now = dt.datetime.now(dt.UTC)
        return store_in_parts(warehouse, parts(), _lists(*market), self.name, self.source, fingerprint, now)


def first_sessions(start: dt.date, count: int) -> np.ndarray:
    """The first `count` sessions from `start` on (datetime64[D]). Raises MarketDataError where the calendar ends before."""
    end = start + dt.timedelta(days=min(count * 3 // 2 + 30, (calendar.LAST_DAY - start).days))
    days = calendar.sessions(start, end)[:count]
    if len(days) < count:
        raise MarketDataError(
            f"the calendar has only {len(days)} sessions from {start}", "lower data.synthetic.sessions or start earlier"
        )
    return days


def make_market(symbols: int, days: np.ndarray, seed: int) -> Load:
    """Bars of `symbols` symbols over the sessions `days`, with their splits, candidates and options."""
    import pandas as pd

    chunks = list(_parts(symbols, days, seed))
    return replace(
        _lists(symbols, days, seed),
        bars=pd.concat([bars for bars, _ in chunks], ignore_index=True),
        splits=pd.concat([splits for _, splits in chunks], ignore_index=True),
    )


def _parts(symbols: int, days: np.ndarray, seed: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Bars and splits, so many symbols at a time."""
    numbers = np.arange(symbols, dtype=np.int64)
    for first in range(0, symbols, CHUNK):
        yield _make_chunk(numbers[first : first + CHUNK], days, seed)


def _lists(symbols: int, days: np.ndarray, seed: int) -> Load:
    """Candidates and options of a market, without its bars and splits."""
    import pandas as pd

    numbers = np.arange(symbols, dtype=np.int64)
    names = _names(numbers)
    active = _traits(numbers, seed).life_end > len(days)
    return Load(
        bars=pd.DataFrame(),
        splits=pd.DataFrame(),
        candidates=pd.DataFrame({"symbol": names, "name": "Synthetic " + names, "type": "CS", "active": active}),
        options=pd.DataFrame({"symbol": names, "has_options": _uniform(seed, numbers, OPTIONS) < OPTIONS_SHARE}),
    )


def _make_chunk(numbers: np.ndarray, days: np.ndarray, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars and splits of some symbols. Matrices are (session, symbol)."""
    import pandas as pd

    traits = _traits(numbers, seed)
    returns = _returns(traits, numbers, len(days), seed)
    close = traits.price * np.exp(np.cumsum(returns, axis=0))
    multiple = _share_multiple(close, traits)
    step = np.arange(len(days))[:, None]
    alive = (step >= traits.listed) & (step < traits.life_end)
    traded = alive & ~((step >= traits.halt) & (step < traits.halt_end))
    traded &= _uniform(seed, numbers, MISSING, len(days)) >= MISSING_SHARE
    names = _names(numbers)
    by_symbol = traded.T
    symbol, session = np.nonzero(by_symbol)
    bars = {"symbol": names[symbol], "session": days.astype("datetime64[s]")[session]}
    fields = _bars(close, returns, multiple, traits, numbers, seed)
    bars |= {field: values.T[by_symbol] for field, values in fields.items()}
    return pd.DataFrame(bars), _split_rows(multiple, alive, names, days)


def _traits(numbers: np.ndarray, seed: int) -> Traits:
    def normal(field: int) -> np.ndarray:
        return _normal(seed, numbers, field)

    def uniform(field: int) -> np.ndarray:
        return _uniform(seed, numbers, field)

    listed = np.where(uniform(LATE) < LATE_SHARE, 1 + uniform(LATE_BY) * LATE_BY_AT_MOST, 0).astype(np.int64)
    life = SAFE_LIFE + np.log1p(-uniform(LIFE)) / np.log1p(-DELISTED_A_SESSION)
    halt = np.where(uniform(HALT) < HALTED_SHARE, uniform(HALT_AT) * HALT_WITHIN, -1000).astype(np.int64)
    price = 40.0 * np.exp(0.9 * normal(PRICE))
    return Traits(
        price=price,
        shares=1.5e6 * np.exp(1.2 * normal(SIZE)),
        sigma=0.009 + 0.016 * uniform(SIGMA),
        beta=0.6 + 0.8 * uniform(BETA),
        drift=0.0003 * normal(DRIFT),
        listed=listed,
        life_end=listed + life.astype(np.int64),
        halt=halt,
        halt_end=halt + 3 + (uniform(HALT_FOR) * 40).astype(np.int64),
        split_above=np.maximum(price, 60.0) * (1.5 + 2.0 * uniform(SPLIT_ABOVE)),
        split_ratio=SPLIT_RATIOS[(uniform(RATIO) * len(SPLIT_RATIOS)).astype(np.int64)],
    )


def _returns(traits: Traits, numbers: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Log returns: market, own fat-tailed shock, and the change of a part that reverts within days."""
    shock = _normal(seed, numbers, SHOCK, count)
    # 0.6 + 0.4·w² has mean 1 and makes calm and wild sessions: the product has fat tails.
    shock *= 0.6 + 0.4 * _normal(seed, numbers, SCALE, count) ** 2
    pushes = _normal(seed, numbers, REVERTING, count)
    reverting = np.zeros(len(numbers))
    change = np.empty_like(shock)
    for t in range(count):
        before = reverting
        reverting = REVERTING_LEFT * before + pushes[t]
        change[t] = reverting - before
    market_number = np.array([MARKET])
    market = 0.00035 + 0.008 * _normal(seed, market_number, SHOCK, count) * (
        0.6 + 0.4 * _normal(seed, market_number, SCALE, count) ** 2
    )
    returns = traits.drift + traits.beta * market + traits.sigma * (0.65 * shock + 0.6 * change)
    return np.clip(returns, -MOVE_LIMIT, MOVE_LIMIT)


def _share_multiple(close: np.ndarray, traits: Traits) -> np.ndarray:
    """How many of today's shares one first share has become, by session; a split follows a close out of bounds."""
    multiple = np.ones_like(close)
    for t in range(1, len(close)):
        raw = close[t - 1] / multiple[t - 1]
        ratio = np.where(raw > traits.split_above, traits.split_ratio, np.where(raw < REVERSE_BELOW, REVERSE_RATIO, 1.0))
        multiple[t] = multiple[t - 1] * ratio
    return multiple


def _bars(
    close: np.ndarray, returns: np.ndarray, multiple: np.ndarray, traits: Traits, numbers: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Raw fields, rounded as an exchange prints them; rounding keeps the order of low, open, close, high."""
    count = len(close)
    gap = 0.35 * returns + 0.3 * traits.sigma * _normal(seed, numbers, GAP, count)
    raw_close = close / multiple
    raw_open = raw_close * (1.0 - returns) * (1.0 + np.clip(gap, -0.3, 0.3))
    high = np.maximum(raw_open, raw_close) * (1.0 + 0.6 * traits.sigma * np.abs(_normal(seed, numbers, HIGH, count)))
    low = np.minimum(raw_open, raw_close) * (1.0 - 0.6 * traits.sigma * np.abs(_normal(seed, numbers, LOW, count)))
    busy = (0.7 + 0.3 * _normal(seed, numbers, VOLUME, count) ** 2) * (1.0 + 0.6 * np.abs(returns) / traits.sigma)
    volume = np.maximum(np.rint(traits.shares * multiple * busy), 100.0)
    fields = {"open": raw_open, "high": high, "low": low, "close": raw_close}
    prices = {field: np.maximum(np.round(values, 2), 0.01) for field, values in fields.items()}
    vwap = np.round((prices["high"] + prices["low"] + prices["close"]) / 3.0, 4)
    return {**prices, "volume": volume, "vwap": vwap, "trades": np.rint(volume / 120.0) + 1.0}


def _split_rows(multiple: np.ndarray, alive: np.ndarray, names: np.ndarray, days: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    ratio = np.ones_like(multiple)
    ratio[1:] = multiple[1:] / multiple[:-1]
    split = (np.abs(ratio - 1.0) > 0.01) & alive
    split[1:] &= alive[:-1]
    symbol, session = np.nonzero(split.T)
    happened = ratio.T[split.T]
    return pd.DataFrame(
        {
            "symbol": names[symbol],
            "execution_date": days.astype("datetime64[s]")[session],
            "split_from": np.where(happened < 1.0, np.rint(1.0 / happened), np.where(happened < 2.0, 2.0, 1.0)),
            "split_to": np.where(happened < 1.0, 1.0, np.where(happened < 2.0, 3.0, np.rint(happened))),
        }
    ).astype({"symbol": "str"})


def _names(numbers: np.ndarray) -> np.ndarray:
    return np.array([f"S{number:05d}" for number in numbers], dtype=object)


def _normal(seed: int, numbers: np.ndarray, field: int, count: int | None = None) -> NDArray[np.float64]:
    """Draws close to standard normal: the sum of four 16-bit lanes of one hash, exact integers on every machine."""
    bits = _bits(seed, numbers, field, count)
    lanes = bits.view(np.uint16).reshape(*bits.shape, 4)
    total = lanes[..., 0].astype(np.int64) + lanes[..., 1] + lanes[..., 2] + lanes[..., 3]
    draws: NDArray[np.float64] = (total - 131070) * (3.0**0.5 / 65536.0)
    return draws


def _uniform(seed: int, numbers: np.ndarray, field: int, count: int | None = None) -> NDArray[np.floating]:
    """Draws from [0, 1)."""
    return (_bits(seed, numbers, field, count) >> np.uint64(11)) * 2.0**-53


def _bits(seed: int, numbers: np.ndarray, field: int, count: int | None) -> NDArray[np.uint64]:
    """64 well-mixed bits for each symbol (count None: lifelong), or for each (session, symbol) of `count` sessions.

    SplitMix64's finalizer (Steele, Lea, Flood 2014) over the seed, then the symbol and field, then the session.
    """
    base = _mix(np.array([seed % 2**64], dtype=np.uint64))
    of_symbol = _mix(base ^ (numbers.astype(np.uint64) * np.uint64(64) + np.uint64(field)))
    if count is None:
        return of_symbol
    steps = np.arange(1, count + 1, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    return _mix(of_symbol + steps)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
