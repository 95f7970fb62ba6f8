"""Which settings are in a pin: those that can change a number or an order, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import config_pin, draws_pin, research_pin

NO_NUMBER: list[dict[str, Any]] = [
    {"report": {"keep": 3}},
    {"compute": {"scheduler": "tcp://host:8786"}},
    {"trading": {"alert_webhook": "https://hooks.example/x"}},
    {"data": {"files": {"path": f"/elsewhere/{Settings().data.files.path.name}"}}},
    {"data": {"alpaca": {"candidates": "/elsewhere/symbols.csv"}}},
]
NO_FOLD: list[dict[str, Any]] = [
    *NO_NUMBER,
    {"broker": {"stage": "simulated"}},
    {"trading": {"resolve_timeout_s": 7.0}},
    {"report": {"resamples": 10}},
    {"portfolio": {"strategies": {"ibs": 1.0}}},
]
UNPINNED = {
    "report.keep",
    "compute.engine",
    "compute.scheduler",
    "alerts.urls",
    "alerts.on",
    "trading.alert_webhook",
    "data.polygon.candidates",
    "data.alpaca.candidates",
}
"""The settings that change no number and no order, where they are given alone. All others are in the pin, new ones too."""
FOLDS_STAND_ON = {
    "data", "universe", "strategy", "portfolio", "simulation", "sizing", "execution", "costs", "policy", "walk_forward",
}  # fmt: skip
"""The sections of the research pin; `portfolio` since another strategy beside the one makes a book of two."""


def names_of(model: BaseModel, above: str = "") -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from names_of(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def with_another(model: Any, name: str) -> Any:
    """The settings with another value of one, whatever its rules allow."""
    first, _, rest = name.partition(".")
    value = getattr(model, first)
    if rest:
        return model.model_copy(update={first: with_another(value, rest)})
    others: dict[type, Any] = {
        bool: lambda: not value, int: lambda: value + 1, float: lambda: value + 1, str: lambda: value + "x",
        dict: lambda: {**value, "x": {}}, list: lambda: [*value, "x"], tuple: lambda: (*value, "x"),
    }  # fmt: skip
    return model.model_copy(update={first: others.get(type(value), lambda: Path("another"))()})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", names_of(Settings()))
def test_every_setting_is_in_the_pins_unless_it_is_known_to_change_nothing(name: str) -> None:
    given, before = with_another(Settings(), name), Settings()
    is_pinned = name not in UNPINNED
    assert (config_pin(given) != config_pin(before)) == is_pinned
    assert (research_pin(given) != research_pin(before)) == (is_pinned and name.split(".")[0] in FOLDS_STAND_ON)


@pytest.mark.parametrize("given", NO_NUMBER, ids=str)
def test_a_setting_that_changes_no_number_and_no_order_is_in_no_pin(given: dict[str, Any]) -> None:
    assert config_pin(Settings(**given)) == config_pin(Settings())


@pytest.mark.parametrize("given", NO_FOLD, ids=str)
def test_a_setting_that_changes_no_fold_is_not_in_the_research_pin(given: dict[str, Any]) -> None:
    assert research_pin(Settings(**given)) == research_pin(Settings())


@pytest.mark.parametrize(
    "given",
    [
        {"costs": {"slippage_bps": 9}},
        {"report": {"resamples": 10}},
        {"broker": {"stage": "simulated"}},
        {"data": {"end": "2012-01-03"}},
    ],
    ids=str,
)
def test_a_setting_that_changes_a_number_or_an_order_is_in_the_config_pin(given: dict[str, Any]) -> None:
    assert config_pin(Settings(**given)) != config_pin(Settings())


def test_the_book_of_several_strategies_is_in_the_research_pin() -> None:
    books = [Settings(portfolio={"strategies": weights}) for weights in ({"ibs": 1.0, "rsi2": 1.0}, {"ibs": 1.0, "rsi2": 0.5})]
    assert len({research_pin(settings) for settings in (*books, Settings())}) == 3


IN_ORDER: list[dict[str, Any]] = [
    {"portfolio": {"strategies": {"ibs": 1.0, "rsi2": 0.5}}},
    {"walk_forward": {"grid": {"rsi2": {"rsi_entry": [5.0, 10.0], "time_stop": [3.0, 5.0]}}}},
]
"""Of two signals of one rank the strategy named first trades; of two equal sets of a grid the earlier one."""


def turned_round(given: Any) -> Any:
    return {name: turned_round(value) for name, value in reversed(given.items())} if isinstance(given, dict) else given


@pytest.mark.parametrize("given", IN_ORDER, ids=str)
def test_an_order_that_decides_is_in_both_pins(given: dict[str, Any]) -> None:
    for pin in (config_pin, research_pin):
        assert pin(Settings(**given)) != pin(Settings(**turned_round(given)))


def test_an_order_that_decides_nothing_is_in_no_pin() -> None:
    given = {"universe": {"release": {"A": "a crash", "B": "another"}}, "walk_forward": {"grid": {"rsi2": {}, "ibs": {}}}}
    assert config_pin(Settings(**given)) == config_pin(Settings(**turned_round(given)))  # type: ignore[arg-type]


def test_the_name_of_a_folder_is_no_other_throw_of_the_dice() -> None:
    named = [
        Settings.model_validate({"data": {"files": {"path": f"{name}/bars"}}, "strategy": {"folder": name}})
        for name in ("a", "b")
    ]
    assert research_pin(named[0]) != research_pin(named[1])
    assert {draws_pin(settings) for settings in named} == {draws_pin(Settings())} == {research_pin(Settings())}
    assert draws_pin(Settings.model_validate({"simulation": {"initial_cash": 5000}})) != draws_pin(Settings())
