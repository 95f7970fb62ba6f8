"""One identity a company: how a symbol is spelled by blanks, case, country and class mark does not make another stock of it."""

from __future__ import annotations

import re
import unicodedata

MONTHS = (
    "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mrz|Mär|Mai|Okt|Dez|janv|févr|mars|avr|juin|juil|août|déc|"
    "ene|abr|ago|dic|gen|mag|giu|lug|set|ott|mrt|mei)"
)
"""Months as spreadsheets shorten them in English, German, French, Spanish, Italian and Dutch."""
SPREADSHEET_MADE = (
    rf"(?i:\d{{1,2}}(-|\.? ){MONTHS}\.?([- ]\d{{2,4}})?)",
    rf"(?i:{MONTHS}\.?[- ]\d{{1,4}})",
    r"\d{4}-\d{2}-\d{2}.*",
    r"\d{1,2}([/.])\d{1,2}\1(\d{2}|\d{4})",
    r"[2-5]\d{4}(\.0)?",
    r"\d+([.,]\d+)?E[+-]?\d+",
    r"\d{1,2}:\d{2}(:\d{2})?( ?[AP]M)?",
    r"#.*",
    r"=.*",
)
"""What a spreadsheet turns symbols into: dates, their serial numbers, powers of ten, hours, errors and formulas."""
UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode: control, invisible format, lone surrogate, line and paragraph separators."""
_CLASS = re.compile(r"([A-Z]{1,5})[-/ ._]([A-Z]{1,2})")
_WORDS = re.compile(r"[A-Za-z]{1,6}([-/ ._][A-Za-z]{1,2})*")


def identity(symbol: str) -> str:
    """The one spelling of a symbol: no blanks around, capitals, no country, a point before the class (`brk-b.us` is BRK.B).

    A symbol that is no plain ticker (an index, a currency pair, a preferred share in mixed case) stays as it is but for blanks.
    """
    text = " ".join(symbol.split())
    if _WORDS.fullmatch(text) and (text == text.lower() or text == text.capitalize()):
        text = text.upper()
    parted = re.fullmatch(r"(.+)[-/ ._]US", text)
    if parted:
        text = parted[1]
    found = _CLASS.fullmatch(text)
    return f"{found[1]}.{found[2]}" if found else text


def wrong_symbol(symbol: str) -> tuple[str, str] | None:
    """What is wrong with a symbol that stands for no company, and its mend; None for any other."""
    if any(unicodedata.category(character) in UNSAFE_CATEGORIES for character in symbol):
        return "holds a control character", "take it out"
    if any(re.fullmatch(pattern, symbol.strip()) for pattern in SPREADSHEET_MADE):
        return "is what a spreadsheet made of a symbol", "export it as text"
    return None
