"""What every check of bars and universe asks, and the finding it comes to: a count, the worst offenders, and words for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kobe_assets.checks.bar_frames import SAME_BARS, SAME_PRICES, ZERO_VOLUME_RUN
from kobe_assets.checks.words import WORDS
from kobe_assets.research.panel import LISTING_GAP
from kobe_assets.research.quarantine import SILENT_MOVE
from kobe_resources.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

MOST_YIELD = 0.15
"""Part of its price that hardly a stock pays in a year."""
LARGE_DIVIDEND = 0.2
"""Dividends over this part of the close before them must show in the price."""
NEAR_DIVIDENDS = 14
"""Days within which one amount twice may be one dividend, by its ex-date and by another date of it."""
FEW_ROWS, USUAL_DAYS = 0.8, 20
OTHERS_NAMED = 5
"""Symbols that a finding names beside the worst; more are counted."""
FINDINGS: dict[str, tuple[bool, str]] = {
    "duplicate_bars": (True, "No symbol has two bars of one session."),
    "ohlc_order": (True, "low ≤ open, close ≤ high in every bar."),
    "non_positive": (True, "Prices are finite and positive, volumes finite and not negative."),
    "duplicate_splits": (True, "No split of a candidate is stored twice: it would count twice."),
    "contradictory_splits": (False, "No candidate has splits that contradict each other; one that has is not selected."),
    "unknown_sessions": (False, "Every bar lies on an XNYS session."),
    "missing_sessions": (False, "No session is missing between a symbol's first and last bar."),
    "zero_volume_runs": (False, f"No symbol goes {ZERO_VOLUME_RUN} bars in a row without volume."),
    "repeated_prices": (
        False,
        f"No symbol has {SAME_BARS} equal bars in a row, or the same prices {SAME_PRICES} times; no session is copied.",
    ),
    "suspect_jumps": (False, "No close and no range leaps without unusual volume; where one does, the listing is quarantined."),
    "splits_without_jump": (False, "Where a split is recorded, the raw price jumps."),
    "dividends_without_fall": (
        False,
        f"No dividend is over {LARGE_DIVIDEND:.0%} of the close before it while the price does not fall.",
    ),
    "dividend_yields": (False, f"No symbol pays over {MOST_YIELD:.0%} of its price in dividends in a year."),
    "corporate_actions": (
        False,
        "No candidate had a spin-off, a merger, a new name or an end that its prices are not adjusted for.",
    ),
    "repeated_dividends": (
        False,
        f"No symbol has two dividends of one kind on one day, or one amount twice within {NEAR_DIVIDENDS} days.",
    ),
    "reused_tickers": (False, f"No ticker stops and starts again more than {LISTING_GAP} sessions later."),
    "stale_last_session": (False, "The last stored session is the latest that the vendor should have."),
    "thin_sessions": (False, f"No session has under {FEW_ROWS:.0%} of the bars of the {USUAL_DAYS} before it."),
    "orphan_bars": (False, "Every symbol with bars is a candidate."),
    "silent_moves": (
        False,
        f"No price moves by {SILENT_MOVE:g} usual days without unusual volume: a split or spin-off left out.",
    ),
    "odd_prints": (False, "No open, high or low lies far out of the closes around it without unusual volume."),
    "weekly_bars": (False, "Bars are daily: figures a year are scaled by 252 sessions."),
    "adjusted_prices": (False, "Prices of own files are as traded: their older closes lie on cents as the newest do."),
    "lone_sessions": (False, f"No session lies apart from the others by more than {LISTING_GAP} sessions without any bar."),
    "set_aside_rows": (False, "Every row that the source gave is stored."),
    "restated_bars": (False, "The last load restated and took back no symbol's history, splits or dividends."),
    "refused_bars": (False, "The source has no row that had to be kept out of the store, and no split twice."),
}
"""Check of daily_bars → blocking, and what it says when it passes."""
UNIVERSE_FINDINGS: dict[str, tuple[bool, str]] = {
    "any_selected": (True, "Some candidate is selected: nothing can be said about a strategy that has nothing to trade."),
    "universe_coverage": (False, "At least min_symbols are selected, each with bars for min_years."),
    "symbols_read": (False, "Every symbol that a strategy reads beside each stock's own bars, by of(), has bars."),
}


@dataclass(frozen=True, kw_only=True)
class DataFinding(Finding):
    """The finding of a check of stored rows. count: offenders in all. offenders: the worst of them first."""

    count: int
    offenders: pd.DataFrame = field(repr=False)

    @property
    def severity(self) -> str:
        """blocking or warning, as `check_results` keeps it."""
        return "blocking" if self.blocks else "warning"


def data_finding(name: str, offenders: pd.DataFrame, count: int, words: str) -> DataFinding:
    blocking, rule = {**FINDINGS, **UNIVERSE_FINDINGS}[name]
    broken = words or f"{count:,} offenders, the worst: {_first_row_text(offenders)}. Wanted: {rule}"
    if words and len(offenders) and {"symbol", "session"} & set(offenders) and "worst" not in words and name not in WORDS:
        broken = f"{words}; the worst: {_first_row_text(offenders)}"
    if len(offenders) and "symbol" in offenders and "; others: " not in broken and name not in WORDS:
        broken += others(offenders)
    return DataFinding(
        name=name,
        ok=count == 0,
        count=count,
        offenders=offenders.reset_index(drop=True),
        seen=broken if count else rule,
        blocks=blocking,
    )


def _first_row_text(offenders: pd.DataFrame) -> str:
    """The first row in words."""
    row = offenders.iloc[0].to_dict() if len(offenders) else {}
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value!s:.40}".removesuffix(" 00:00:00")
        for name, value in row.items()
    )


def others(worst_first: pd.DataFrame) -> str:
    """The symbols after the first row's, each once, as many as a line holds; nothing where there are none."""
    rest = [name for name in dict.fromkeys(worst_first["symbol"]) if name != worst_first["symbol"].iloc[0]]
    more = f" and {len(rest) - OTHERS_NAMED} more" if len(rest) > OTHERS_NAMED else ""
    return f"; others: {', '.join(rest[:OTHERS_NAMED])}{more}" if rest else ""
