"""Pins: SHA-256 of every setting that can change a number or an order."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kobe_resources.settings.models import BOOK, FilesData, Settings

RESEARCH_SECTIONS = (
    "data", "universe", "strategy", "portfolio", "simulation", "sizing", "execution", "costs", "policy", "walk_forward",
)  # fmt: skip


def config_pin(settings: Settings) -> str:
    """SHA-256 (hex) of every setting that can change a number or an order; equal settings, equal pins, on every machine.

    Left out: where files lie (their content has a data version of its own), where a sweep runs, where alerts go.
    """
    return _pin(settings, tuple(Settings.model_fields))


def research_pin(settings: Settings) -> str:
    """SHA-256 (hex) of the settings that the folds stand on; a stage or a broker's host does not change it."""
    return _pin(settings, RESEARCH_SECTIONS)


def draws_pin(settings: Settings) -> str:
    """The research pin but for the names of files and folders: what the draws of the report are seeded by.

    The same bars in a renamed folder must not be another throw of the dice.
    """
    data = settings.data.model_copy(update={"files": settings.data.files.model_copy(update={"path": FilesData().path})})
    strategy = settings.strategy.model_copy(update={"folder": None})
    return research_pin(settings.model_copy(update={"data": data, "strategy": strategy}))


def _pin(settings: Settings, sections: tuple[str, ...]) -> str:
    values = with_order(settings.model_dump(mode="json", include=set(sections) - {"compute", "alerts"}))
    values["data"]["files"]["path"] = settings.data.files.path.name
    values["data"]["polygon"]["candidates"] = None
    values["data"]["alpaca"]["candidates"] = None
    if "report" in values:
        # How many old copies stay is no number and no order.
        values["report"].pop("keep")
        values = {name: section for name, section in values.items() if name != "report" or section}
    if settings.strategy.folder is not None:
        # Its files have hashes of their own, in the code versions.
        values["strategy"]["folder"] = settings.strategy.folder.name
    if "trading" in values:
        values["trading"]["alert_webhook"] = None
    if sections == RESEARCH_SECTIONS and settings.portfolio.book != BOOK:
        # Which one of the strategies trades changes no fold of any.
        values["portfolio"] = None
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def with_order(values: dict[str, Any]) -> dict[str, Any]:
    """The dumped settings with pairs for those whose order counts: it decides between strategies, and between equal sets."""
    portfolio, walk_forward = values["portfolio"], values["walk_forward"]
    grid = {name: list(sets.items()) for name, sets in walk_forward["grid"].items()}
    return {
        **values,
        "portfolio": {**portfolio, "strategies": list(portfolio["strategies"].items())},
        "walk_forward": {**walk_forward, "grid": grid},
    }


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the text that pins and versions hash."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
