"""TA-Lib's functions by name: what each reads, takes and gives, asked of TA-Lib itself when a strategy declares one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kobe_assets.research.declared import Indicator, ListingBars, OverListing, check_series, is_number, series
from kobe_assets.research.faults import BadDeclaration
from kobe_assets.research.panel import Floats

TRIAL_BARS = 400


class TalibColumn(NamedTuple):
    """One output of a function: its declaration in words, how it is computed, and whether it lies on the scale of prices."""

    words: str
    over: OverListing
    is_price: bool


def describe(name: str, output: str | int, given: Mapping[str, Any]) -> TalibColumn:
    """The column that talib(name, output, **given) declares. Raises BadDeclaration with what there is instead."""
    import talib
    from talib import abstract

    if not isinstance(name, str) or name.upper() not in talib.get_functions():
        raise BadDeclaration(f"talib({name!r}): TA-Lib has no such function; see talib.get_functions()")
    name = name.upper()
    info = abstract.Function(name).info  # type: ignore[attr-defined]
    inputs, known = _inputs(info["input_names"]), dict(info["parameters"])
    for key in given:
        if key not in known and key not in inputs:
            raise BadDeclaration(f"talib({name!r}) has no parameter {key!r}; it has {', '.join((*known, *inputs))}")
    inputs |= {key: given[key] for key in inputs if key in given}
    for key, what in inputs.items():
        check_series(what, f'talib("{name}", {key}=…)')
    parameters = {key: _like(name, key, given[key], known[key]) for key in known if key in given}
    outputs = list(info["output_names"])
    place = _place(name, output, outputs, next(iter(known), ""))
    words = ", ".join([f'"{name}"', *(f"{key}={_text(given[key])}" for key in sorted(given))])
    words += f', output="{outputs[place]}"' if place else ""
    function, read = getattr(talib, name), list(inputs.values())
    # Without its wrapper, which looks in every argument for a column of pandas or polars.
    function = getattr(function, "__wrapped__", function)

    def over(bars: ListingBars) -> Floats:
        found = function(*(series(bars, what) for what in read), **parameters)
        return np.asarray(found[place] if isinstance(found, tuple) else found, dtype=np.float64)

    _try(name, over)
    on_prices = info["group"] == "Overlap Studies" and all(what not in ("volume", "dollar_volume") for what in read)
    return TalibColumn(f"talib({words})", over, on_prices)


def _inputs(declared: Mapping[str, Any]) -> dict[str, Any]:
    """What the function reads, in order: argument → price. TA-Lib names several prices in one argument."""
    found: dict[str, Any] = {}
    for argument, prices in declared.items():
        found |= dict(zip(prices, prices, strict=True)) if isinstance(prices, list | tuple) else {argument: prices}
    return found


def _like(name: str, key: str, value: Any, usual: Any) -> int | float:
    if not is_number(value):
        raise BadDeclaration(f"talib({name!r}): {key} = {value!r} is no number")
    if isinstance(usual, int) and value != int(value):
        raise BadDeclaration(f"talib({name!r}): {key} = {value!r} is no whole number")
    return int(value) if isinstance(usual, int) else float(value)


def _place(name: str, output: str | int, outputs: list[str], first: str) -> int:
    """The place of an output. first: the function's first parameter, which a person may have given without its name."""
    if isinstance(output, int) and 0 <= output < len(outputs):
        return output
    if output not in outputs:
        meant = f", and parameters have names: {first}={output}" if first and is_number(output) else ""
        raise BadDeclaration(f"talib({name!r}) has no output {output!r}; it has {', '.join(outputs)}{meant}")
    return outputs.index(str(output))


def _text(value: Any) -> str:
    if isinstance(value, Indicator):
        return value.words
    if isinstance(value, str):
        return f'"{value}"'
    # Equal words are one column: what differs in the seventh digit has other words.
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _try(name: str, over: OverListing) -> None:
    """TA-Lib says only when it computes that a parameter is out of its range."""
    close = 50.0 + np.sin(np.arange(TRIAL_BARS)) + np.arange(TRIAL_BARS) / 100.0
    days = np.datetime64("2000-01-03") + np.arange(TRIAL_BARS)
    try:
        over(ListingBars(close, close + 1.0, close - 1.0, close, np.full(TRIAL_BARS, 1e6), days))
    except Exception as error:  # noqa: BLE001 - TA-Lib raises plain Exception
        raise BadDeclaration(f"talib({name!r}) refuses its parameters ({' '.join(str(error).split())})") from None
