"""Files of own strategies for tests: a good one, and one for each fault that a person can make."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
from kobe_assets.research.language import Strategy, atr, custom, rank, roc, rsi, sma, talib


def spread(bars):
    return bars.high - bars.low


MY_IDEA = Strategy(
    name="my_idea",
    summary="For tests",
    indicators={
        "rsi4": rsi(4), "sma50": sma(50), "atr10": atr(10), "adx14": talib("ADX", timeperiod=14),
        "spread": custom(spread), "strength": rank(roc(20)),
    },
    parameters={"entry": 40.0, "leave": 60.0, "atr_stop": 2.5, "time_stop": 8},
    long=lambda at, p: (at.rsi4 <= p["entry"]) & (at.close > at.sma50),
    score_long=lambda at: at.rsi4,
    leave_long=lambda at, p: at.rsi4 >= p["leave"],
    leave_reason="rebound",
    stop="atr10",
    grid={"entry": (30, 40), "atr_stop": (2, 3)},
)
"""
LINE = 1 + GOOD.splitlines().index("MY_IDEA = Strategy(")
LONG = 1 + next(k for k, line in enumerate(GOOD.splitlines()) if "long=lambda" in line)
LEAVE = 1 + next(k for k, line in enumerate(GOOD.splitlines()) if "leave_long" in line)
CUSTOM = 1 + next(k for k, line in enumerate(GOOD.splitlines()) if "return bars" in line)
OTHER = GOOD.replace("my_idea", "second_idea")


def changed(old: str, new: str) -> dict[str, str]:
    """The good file with one change."""
    assert old in GOOD
    return {"idea.py": GOOD.replace(old, new)}


FAULTS: dict[str, tuple[dict[str, str], int, str]] = {
    "syntax": (changed("MY_IDEA = Strategy(", "MY_IDEA = = Strategy("), LINE, "SyntaxError"),
    "import": (changed("def spread", "import no_such_library\n\n\ndef spread"), 4, "no_such_library"),
    "unknown indicator": (changed("at.sma50", "at.sma20"), LONG, "did you mean sma50?"),
    "missing parameter": (changed('p["leave"]', 'p["leaf"]'), LEAVE, "did you mean leave?"),
    "one value": (changed('at.rsi4 >= p["leave"]', "True"), LEAVE, "one value for each bar"),
    "wrong shape": (changed("(at.close > at.sma50)", "(at.close > at.sma50)[1:]"), LONG, "operands could not be broadcast"),
    "no condition": (changed('at.rsi4 >= p["leave"]', "at.rsi4"), LEAVE, "true or false"),
    "no score": (changed("    score_long=lambda at: at.rsi4,\n", ""), LINE, "score_long"),
    "name taken": (changed('name="my_idea"', 'name="ibs"'), LINE, "choose another"),
    "name of something else": (changed('name="my_idea"', 'name="portfolio"'), LINE, "choose another"),
    "two of one name": ({"a.py": OTHER.replace("second_idea", "my_idea"), "idea.py": GOOD}, LINE, "taken by"),
    "canonical name": (changed('"rsi4": rsi(4)', '"rsi2": rsi(4)'), LINE, "two declarations of the indicator rsi2"),
    "two declarations": ({"a.py": OTHER.replace("rsi(4)", "rsi(5)"), "idea.py": GOOD}, LINE, "two declarations"),
    "custom raises": (changed("return bars.high", "return bars.hihg"), CUSTOM, "hihg"),
    "custom shape": (changed("bars.high - bars.low", "(bars.high - bars.low)[1:]"), CUSTOM - 1, "one number for each"),
    "custom dtype": (changed("bars.high - bars.low", "bars.high.astype(str)"), CUSTOM - 1, "one number for each"),
    "unknown talib": (changed('talib("ADX"', 'talib("ADXX"'), LINE + 4, "no such function"),
    "talib parameter": (changed("timeperiod=14", "period=14"), LINE + 4, "it has timeperiod"),
    "talib range": (changed("timeperiod=14", "timeperiod=-3"), LINE + 4, "refuses its parameters"),
    "no bars": (changed("rsi(4)", "rsi(0)"), LINE + 4, "whole number"),
    "stop of nothing": (changed('stop="atr10"', 'stop="atr11"'), LINE, "atr11"),
    "stop without multiple": (changed('"atr_stop": 2.5, ', "").copy(), LINE, "atr_stop"),
    "exit at import": (changed("def spread", "exit()\n\n\ndef spread"), 4, "SystemExit"),
    "exit when asked": (changed('at.rsi4 >= p["leave"]', "exit()"), LEAVE, "SystemExit"),
    "exit in custom": (changed("return bars.high", "exit()\n    return bars.high"), CUSTOM, "SystemExit"),
    "ends the process at import": (changed("def spread", "import os\n\nos._exit(0)\n\n\ndef spread"), 6, "SystemExit: 0"),
    "ends the process in custom": (
        changed("return bars.high", "from os import _exit; _exit(0)\n    return bars.high"),
        CUSTOM,
        "SystemExit: 0",
    ),
    "imports itself for ever": (changed("def spread", "from idea import NOTHING\n\n\ndef spread"), 4, "NOTHING"),
    "calls itself for ever": (changed("return bars.high", "return spread(bars) + bars.high"), CUSTOM, "RecursionError"),
    "unknown word": (changed("rsi, sma, talib", "rsi, smaa, talib"), 1, "smaa"),
    "null byte": (changed("def spread", "\0\n\n\ndef spread"), 4, "no text in UTF-8"),
    "two of one name in a file": (
        {"idea.py": f"{GOOD}\n\nfrom dataclasses import replace\n\nAGAIN = replace(MY_IDEA)\n"},
        LINE,
        "taken by",
    ),
    "reason of another exit": (changed('leave_reason="rebound"', 'leave_reason="stop"'), LINE, "another exit"),
    "summary of nothing": (changed('summary="For tests"', "summary=None"), LINE, "no text"),
    "leaves without an exception": (changed("def spread", "raise BaseException('left')\n\n\ndef spread"), 4, "left"),
    "error without words": (
        changed("def spread", "class Mute(Exception):\n    def __str__(self): return 1 / 0\nraise Mute\n\n\ndef spread"),
        6,
        "(Mute)",
    ),
    "each imports the other": (
        {"b.py": "from idea import MY_IDEA\nX = 1\n", "idea.py": f"from b import X\n{GOOD}"},
        1,
        "cannot import name 'X' from 'b'",
    ),
    "custom rows of two lengths": (
        changed("bars.high - bars.low", "[[1.0]] + [1.0] * (len(bars) - 1)"),
        CUSTOM - 1,
        "ValueError",
    ),
    "custom writes into the bars": (
        changed("return bars.high", "bars.high[0] = 1.0\n    return bars.high"),
        CUSTOM,
        "read-only",
    ),
    "condition writes a parameter": (changed("at.rsi4 >= p", "p.update(entry=1.0) or at.rsi4 >= p"), LEAVE, "update"),
    "stop is no name": (changed('stop="atr10"', "stop=atr(10)"), LINE, "give its name"),
    "name of a parameter": (changed('"time_stop": 8', '"time_stop": 8, 3: 4'), LINE, "no parameter can be called 3"),
    "no finite number of bars": (changed("rsi(4)", "rsi(float('nan'))"), LINE + 4, "whole number"),
    "indicator of another kind as price": (
        changed("rsi(4)", "rsi(4, price=rank(roc(3)))"),
        LINE + 4,
        "reads rank(roc(3)): name",
    ),
    "grid without an order": (changed('"entry": (30, 40)', '"entry": {30, 40}'), LINE, "give a list of numbers"),
    "grid of a value twice": (changed('"entry": (30, 40)', '"entry": (30, 40, 30.0)'), LINE, "30 stands in it twice"),
    "grid of too many sets": (changed('"entry": (30, 40)', '"entry": range(1, 40_000)'), LINE, "79,998 sets"),
    "joined by and": (
        changed("& (at.close > at.sma50)", "and (at.close > at.sma50)"),
        LONG,
        "join comparisons by & (and), | (or)",
    ),
    "comparisons without brackets": (
        changed('(at.rsi4 <= p["entry"]) & (at.close > at.sma50)', 'at.rsi4 <= p["entry"] & at.close > 5'),
        LONG,
        "each in brackets",
    ),
    "earlier bars in a condition": (
        changed('at.rsi4 >= p["leave"]', 'at.rsi4.shift(1) >= p["leave"]'),
        LEAVE,
        'there is no shift; what needs earlier bars is an indicator: price("close") or custom(function)',
    ),
    "indicator in a condition": (
        changed('at.rsi4 >= p["leave"]', "rsi(4) >= 70"),
        LEAVE,
        "declare it under indicators and read it from at",
    ),
    "condition without parameters": (
        changed('leave_long=lambda at, p: at.rsi4 >= p["leave"]', "leave_long=lambda at: at.rsi4 > 1"),
        LEAVE,
        "leave_long=lambda at, p: …",
    ),
    "score with parameters": (
        changed("score_long=lambda at:", "score_long=lambda at, p:"),
        LONG + 1,
        "score_long=lambda at: …",
    ),
    "custom takes a bar by its name": (changed("return bars.high", "return bars['high']"), CUSTOM, "bars.open"),
    "imports a neighbour by a dot": (
        changed("def spread", "from . import other\n\n\ndef spread"),
        4,
        "import it by its plain name",
    ),
    "name of what `at` can do": (changed('"spread": custom', '"read": custom'), LINE, "no indicator can be called 'read'"),
    "parameter by a point": (changed('p["leave"]', "p.leave"), LEAVE, 'write p["leave"]'),
    "indicator in brackets": (changed('at.rsi4 >= p["leave"]', 'at["rsi4"] >= p["leave"]'), LEAVE, "write at.rsi4"),
    "unknown part of a strategy": (
        changed("leave_long=", "exit_long="),
        LINE,
        "unexpected keyword argument 'exit_long', there are name, summary, indicators, parameters, long",
    ),
    "unknown argument of a word": (changed("rsi(4)", "rsi(length=4)"), LINE + 4, "write rsi(n, price='close')"),
    "word that is not imported": (
        changed("rsi(4)", "ema(4)"),
        LINE + 4,
        "NameError: name 'ema' is not defined, write from kobe_assets.research.language import ema)",
    ),
    "word that the language has not": (
        changed("language import Strategy", "language import Strategi"),
        1,
        "did you mean Strategy?",
    ),
    "word written wrong": (changed("rsi(4)", "rssi(4)"), LINE + 4, "did you mean rsi?"),
    "name that no word is like": (changed("rsi(4)", "np.rsi(4)"), LINE + 4, "name 'np' is not defined)"),
    "price that is not declared": (
        changed('at.rsi4 >= p["leave"]', "at.open >= 5"),
        LEAVE,
        'declare it under indicators: price("open")',
    ),
    "indicator without `at`": (changed("at.rsi4 >= p", "rsi4 >= p"), LEAVE, "write at.rsi4"),
    "parameter without `p`": (changed('at.rsi4 >= p["leave"]', "at.rsi4 >= leave"), LEAVE, 'write p["leave"]'),
    "talib parameter without its name": (changed("timeperiod=14", "14"), LINE + 4, "timeperiod=14"),
    "custom of a library": (changed("custom(spread)", "custom(max)"), LINE + 5, "'ListingBars' object is not iterable"),
    "custom of a library gives another shape": (changed("custom(spread)", "custom(len)"), LINE + 5, "one number for each"),
    "condition of a library": (changed('leave_long=lambda at, p: at.rsi4 >= p["leave"]', "leave_long=max"), LINE, "TypeError"),
    "score of a library": (changed("score_long=lambda at: at.rsi4", "score_long=len"), LINE, "one value for each bar"),
    "condition of an object": (
        {
            "idea.py": GOOD.replace(
                "def spread", "class Never:\n    def __call__(self, at, p):\n        return 3\n\n\ndef spread"
            ).replace('leave_long=lambda at, p: at.rsi4 >= p["leave"]', "leave_long=Never()")
        },
        5,
        "one value for each bar",
    ),
    "custom with an argument of its own": (
        changed("custom(spread)", "custom(__import__('functools').partial(lambda k, bars: k, 3))"),
        LINE + 5,
        "one number for each",
    ),
    "grid of nothing": (changed('grid={"entry"', 'grid={"entri"'), LINE, "entri"),
}


def write_strategies(folder: Path, files: dict[str, str]) -> Path:
    """The folder `strategies` in `folder`, with these files."""
    own = folder / "strategies"
    own.mkdir(exist_ok=True)
    for name, text in files.items():
        (own / name).write_text(text, encoding="utf-8")
    return own
