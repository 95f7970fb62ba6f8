"""How strict the embedded broker is: each of Alpaca's habits that hurts is one setting, changed by a fault script.

A script's entry {"settings": {"requests_a_minute": 200, "renames": {"FB": "META"}}} changes them; clearing the script takes
the changes back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from kobe_resources.errors import UsageError


@dataclass(frozen=True, slots=True)
class Strictness:
    """The settings; as they stand here, the broker refuses what Alpaca refuses and answers everything at once.

    splits_move_stop_prices: a split divides the price of a resting stop; at Alpaca only its shares follow.
    splits_replace_orders: the orders of a symbol that splits get new ids of both kinds, and the old ones read `replaced`.
    cash_in_lieu: a split leaves whole shares, and cash for the rest (never where `Terms.fractional` holds).
    checks_stop_side: a stop that the market has passed is refused.
    refuses_wash_trades: an order is refused while one the other way could meet it.
    fractions_only_by_day: a fraction of a share needs a DAY order, even where it closes a whole position.
    new_after_s: seconds for which an order stays `pending_new`. fill_after_s: seconds from then until it meets the market.
    cancel_after_s: seconds for which a cancel stays `pending_cancel`; the order may fill yet. All three in real time, and over
    at once when the simulated clock moves on.
    requests_a_minute: more are answered by 429; None: no limit.
    no_offer_until_s: seconds after the open in which quotes have a bid and no ask; the simulated clock moves on by a second
    with each question for quotes until then.
    auction_share: the part of an order that the opening auction fills; 0 is Alpaca's paper, where all of them expire.
    names_halts: an asset without a bar in the session of the clock is said not to be tradable.
    spread_bps: between bid and ask; None: twice the slippage.
    not_shortable: symbols (patterns) that cannot be sold short. hard_to_borrow: those that only DAY orders sell short.
    renames: old symbol to new; orders, positions and quotes go by the new one, and the asset's id stays.
    """

    splits_move_stop_prices: bool = False
    splits_replace_orders: bool = False
    cash_in_lieu: bool = True
    checks_stop_side: bool = True
    refuses_wash_trades: bool = True
    fractions_only_by_day: bool = True
    new_after_s: float = 0.0
    fill_after_s: float = 0.0
    cancel_after_s: float = 0.0
    requests_a_minute: int | None = None
    no_offer_until_s: float = 0.0
    auction_share: float = 1.0
    names_halts: bool = False
    spread_bps: float | None = None
    not_shortable: tuple[str, ...] = ()
    hard_to_borrow: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)

    def changed(self, settings: Mapping[str, Any]) -> Strictness:
        """With the settings of a script's entry; UsageError where one is unknown or makes no sense."""
        checked: dict[str, Any] = {}
        for name, value in settings.items():
            check = CHECKS.get(name)
            if check is None or not check(value):
                hint = f"settings: {', '.join(CHECKS)}; see kobe_resources/broker/exchange/strictness.py"
                raise UsageError(f"the setting {name} = {value!r} of a fault script is not known", hint)
            checked[name] = tuple(value) if isinstance(value, list) else value
        return replace(self, **checked)

    def is_shortable(self, symbol: str) -> bool:
        """Whether no pattern of `not_shortable` names the symbol."""
        return not any(fnmatchcase(symbol, pattern) for pattern in self.not_shortable)

    def is_hard_to_borrow(self, symbol: str) -> bool:
        """Whether a pattern of `hard_to_borrow` names the symbol."""
        return any(fnmatchcase(symbol, pattern) for pattern in self.hard_to_borrow)

    def inward(self, symbol: str) -> str | None:
        """The name in the book of what a client calls `symbol`; None for a name that is no longer in use."""
        if symbol in self.renames:
            return None
        return next((old for old, new in self.renames.items() if new == symbol), symbol)

    def outward(self, symbol: str) -> str:
        """The name that a client sees for `symbol` of the book."""
        return self.renames.get(symbol, symbol)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_amount_or_none(value: Any) -> bool:
    return value is None or _is_amount(value)


def _is_count_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value)


def _is_renames(value: Any) -> bool:
    """Symbols to symbols, each new name once, and none that is renamed itself."""
    if not isinstance(value, Mapping) or not _is_names([*value, *value.values()]):
        return False
    return len(set(value.values())) == len(value) and not set(value) & set(value.values())


_BY_TYPE = {
    "bool": _is_flag,
    "float": _is_amount,
    "float | None": _is_amount_or_none,
    "int | None": _is_count_or_none,
    "tuple[str, ...]": _is_names,
    "Mapping[str, str]": _is_renames,
}
CHECKS = {known.name: _BY_TYPE[str(known.type)] for known in fields(Strictness)}

PROMPT = Strictness()
"""Refuses as Alpaca does, and answers everything at once: for tests that are about something else."""
STRICT = Strictness(
    new_after_s=0.03, fill_after_s=0.03, cancel_after_s=0.05, requests_a_minute=200, no_offer_until_s=5.0
)  # fmt: skip
"""All of it, with waits that a test can bear."""
SIMULATED = Strictness(new_after_s=0.01, fill_after_s=0.01, cancel_after_s=0.01)
"""For the stage `simulated`: every refusal, and waits that a person does not notice. An account of whole shares is paid in cash
for what a split leaves of one, because no stop could protect it."""
EXACT = Strictness(splits_move_stop_prices=True, cash_in_lieu=False, fractions_only_by_day=False, names_halts=True)
"""For a replay, which must give the simulation's trades to the bit: splits lose no fraction, and no stop its exact price, and
who does not trade in a session is known before it, since the simulation refuses a signal without a bar."""
