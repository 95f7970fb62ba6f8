"""Which settings are in a pin: those that can change a number or an order, and no others."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_the_name_of_a_folder_is_no_other_throw_of_the_dice() -> None:
    named = [
        Settings.model_validate({"data": {"files": {"path": f"{name}/bars"}}, "strategy": {"folder": name}})
        for name in ("a", "b")
    ]
    assert research_pin(named[0]) != research_pin(named[1])
    assert {draws_pin(settings) for settings in named} == {draws_pin(Settings())} == {research_pin(Settings())}
    assert draws_pin(Settings.model_validate({"simulation": {"initial_cash": 5000}})) != draws_pin(Settings())
