"""The embedded sample: AAPL, FB, GOOG, IBM and MSFT, raw daily bars of 2000–2013 from the wheel `bokeh_sampledata`.

Public domain (Quandl WIKI, archived), stored as the wheel gives them; all 12,154 keep OHLC order, lie on XNYS sessions and
miss none. The wheel has no splits, so those of the span stand here. FB and GOOG have short histories, and no source says which
had options. Trusts the wheel, whose bytes are part of the fingerprint.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

from kobe_resources.market_data.changes import Load
from kobe_resources.market_data.local.base import LocalVendor, within_span
from kobe_resources.market_data.protocol import MarketDataError

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
SPLITS = (
    ("AAPL", dt.date(2000, 6, 21), 1.0, 2.0),
    ("AAPL", dt.date(2005, 2, 28), 1.0, 2.0),
    ("MSFT", dt.date(2003, 2, 18), 1.0, 2.0),
)
NAMES = {
    "AAPL": "Apple Inc.",
    "FB": "Facebook, Inc.",
    "GOOG": "Google Inc.",
    "IBM": "International Business Machines",
    "MSFT": "Microsoft Corporation",
}


class SampleVendor(LocalVendor):
    """Five real stocks that need no key and no network."""

    name = "sample"

    def fingerprint(self) -> str:
        """A hash of the wheel's file, the splits and the span."""
        text = repr((_wheel_file_hash(), SPLITS, self.data.start, self.data.end))
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> Load:
        """The wheel's bars within the span."""
        import pandas as pd
        from bokeh_sampledata import stocks

        fields = ("date", "open", "high", "low", "close", "volume")
        frames = [
            pd.DataFrame({field: getattr(stocks, symbol)[field] for field in fields}).assign(symbol=symbol)
            for symbol in SYMBOLS
        ]
        bars = pd.concat(frames, ignore_index=True).rename(columns={"date": "session"})
        bars["session"] = pd.to_datetime(bars["session"], format="%Y-%m-%d")
        return Load(
            bars=within_span(bars.astype({"volume": "float64"}), self.data),
            splits=pd.DataFrame(SPLITS, columns=["symbol", "execution_date", "split_from", "split_to"]),
            candidates=pd.DataFrame({"symbol": SYMBOLS, "name": NAMES.values(), "type": "CS", "active": None}),
            options=pd.DataFrame({"symbol": [], "has_options": []}),
        )


def _wheel_file_hash() -> str:
    import bokeh_sampledata

    path = Path(bokeh_sampledata.__file__).parent / "_data" / "stocks.csv.gz"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MarketDataError(
            f"the embedded sample cannot be read ({error})", "reinstall: pip install bokeh_sampledata"
        ) from error
