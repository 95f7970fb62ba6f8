"""What the page was computed from: data, checks, universe, settings, pins; as rows that a template can print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import BaseModel

from kobe_assets.report.analysis.cautions import ended_companies, is_synthetic
from kobe_assets.report.analysis.inputs import DATA, ReportInputs
from kobe_assets.report.analysis.metrics_glossary import show
from kobe_assets.report.analysis.recorded_checks import recorded
from kobe_resources.settings.models import Settings
from kobe_resources.settings.toml_text import toml_text

UNIVERSE_ROWS = 1200
REJECTED_ROWS = 200
QUARANTINE_ROWS = 200
DOCTOR_ROWS = 40
HIDDEN_SETTINGS = {("trading", "alert_webhook"), ("alerts", "urls")}
"""An alert address may carry a token."""


@dataclass(frozen=True)
class Table:
    """Rows to print and how many more there are."""

    rows: list[tuple[Any, ...]]
    more: int = 0


def parts_of(inputs: ReportInputs) -> dict[str, Any]:
    """The parts of the page that are no book's, by their names in the template: the data, the settings and the versions."""
    return {
        "facts": data_facts(inputs),
        "quarantine": quarantine(inputs),
        "doctor": doctor(inputs),
        "universe": universe_table(inputs),
        "rejections": rejections(inputs),
        "pins": dict(sorted(inputs.pins.items())),
        "versions": dict(sorted(inputs.versions.items(), key=lambda item: (":" in item[0], item[0].lower()))),
        "settings_toml": settings_toml(inputs.settings),
        "slippage": inputs.settings.costs.slippage_bps,
        "lag": inputs.settings.strategy.indicator_lag_bars,
    }


def data_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What data this is, line by line."""
    settings, universe = inputs.settings, inputs.universe
    facts: list[tuple[str, str]] = [("Vendor", settings.data.vendor)]
    for row in inputs.spans.itertuples(index=False):
        span = f"{row.sessions:,} sessions, {_day(row.first_session)} to {_day(row.last_session)}"
        facts.append((f"Bars from {row.source}", f"{row.bars:,} daily bars of {row.symbols:,} symbols over {span}"))
    if inputs.spans.empty:
        facts.append(("Bars", "none stored"))
    chosen = int(universe["selected"].sum()) if len(universe) else 0
    if settings.data.vendor == "alpaca":
        facts.append(("Candidates", _alpaca_candidates(settings)))
    facts.append(("Universe", f"{chosen:,} selected of {len(universe):,} candidates"))
    facts.append(("Survivorship", _survivors(inputs)))
    facts.append(("Splits", f"{len(inputs.splits):,} stored; prices are adjusted for splits, never for dividends"))
    facts.append(("Quarantined", _quarantine_line(inputs)))
    facts.append(("Vendor revisions", _revisions_line(inputs)))
    for row in inputs.trial_counts.itertuples(index=False):
        runs = f"{row.runs:,} {'run' if row.runs == 1 else 'runs'}"
        facts.append((f"Trials of {row.strategy}", f"{row.recorded:,} recorded, {row.parameter_sets:,} parameter sets, {runs}"))
    return facts


def _alpaca_candidates(settings: Settings) -> str:
    """How the list of candidates was made: Alpaca itself names no type of security."""
    file = settings.data.alpaca.candidates
    return (
        f"the symbols of {file.name}" if file else 'active assets whose name says "common stock"; no ordinary shares, no ADRs'
    )


def quarantine(inputs: ReportInputs) -> Table:
    """(symbol, session, price ratio) of every suspect bar, and which the settings released with what reason."""
    release = inputs.settings.universe.release
    rows = []
    for item in recorded(inputs, "quarantine"):
        symbol = str(item.get("symbol", ""))
        rows.append((symbol, str(item.get("session", ""))[:10], _ratio(item.get("ratio")), release.get(symbol, "")))
    return Table(sorted(rows)[:QUARANTINE_ROWS], max(0, len(rows) - QUARANTINE_ROWS))


def doctor(inputs: ReportInputs) -> Table:
    """(doubt, symbol, day, seen, effect, mend) of what `kobe bars doctor` says of the stored bars, worst first."""
    stored = inputs.evidence.get(DATA, {}).get("doctor") or {}
    rows = []
    for item in stored.get("rows", [])[:DOCTOR_ROWS]:
        trades, pnl = int(item.get("trades") or 0), float(item.get("pnl") or 0.0)
        moved = f"; {trades:,} trades over it, ${pnl:+,.0f}" if trades else ""
        words = [str(item.get(name) or "") for name in ("kind", "symbol", "session", "seen", "effect", "mend")]
        words[4] += moved
        rows.append(tuple(words))
    return Table(rows, max(0, int(stored.get("count", 0)) - len(rows)))


def universe_table(inputs: ReportInputs) -> Table:
    """The selected symbols, then some of the rejected with their reason."""
    frame = inputs.universe
    chosen, refused = frame[frame["selected"].astype(bool)], frame[~frame["selected"].astype(bool)]
    rows = []
    for part in (chosen.head(UNIVERSE_ROWS), refused.head(REJECTED_ROWS)):
        for row in part.itertuples(index=False):
            rows.append(
                (
                    str(row.symbol),
                    bool(row.selected),
                    readable(_text(row.reason)),
                    _day(row.first_session),
                    _day(row.last_session),
                    _number(row.sessions),
                    _number(row.years),
                    _number(row.adv_usd),
                    _yes_no(row.has_options),
                )
            )
    return Table(rows, len(frame) - len(rows))


def rejections(inputs: ReportInputs) -> list[tuple[str, int]]:
    """Reasons why candidates were rejected, most frequent first."""
    if inputs.universe.empty:
        return []
    refused = inputs.universe[~inputs.universe["selected"].astype(bool)]
    counts = refused["reason"].astype(object).where(refused["reason"].notna(), "no reason given").value_counts()
    return sorted(((readable(reason), int(n)) for reason, n in counts.items()), key=lambda item: (-item[1], item[0]))


def settings_toml(settings: Settings) -> str:
    """The effective settings as a kobe.toml that gives the same pin; addresses that may carry a token are left out."""
    lines: list[str] = []
    for name, section in shown_settings(settings).items():
        _write_section(lines, name, section)
    return "\n".join(lines).strip() + "\n"


def shown_settings(settings: Settings) -> dict[str, Any]:
    """The effective settings by section, without addresses that may carry a token."""
    values = _without_unset(settings, settings.model_dump(mode="json"))
    for section, key in HIDDEN_SETTINGS:
        values.get(section, {}).pop(key, None)
    # Where own files lie is this machine's business; their content has a data version.
    values["data"]["files"]["path"] = settings.data.files.path.name
    if settings.data.polygon.candidates:
        values["data"]["polygon"]["candidates"] = settings.data.polygon.candidates.name
    if settings.data.alpaca.candidates:
        values["data"]["alpaca"]["candidates"] = settings.data.alpaca.candidates.name
    return values


def _without_unset(model: BaseModel, values: dict[str, Any]) -> dict[str, Any]:
    """The values without those that are none by default; one that is none and would not be is "none", as a person writes it."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        own = getattr(model, key)
        if isinstance(own, BaseModel):
            kept[key] = _without_unset(own, value)
        elif value is not None:
            kept[key] = value
        elif type(model).model_fields[key].default is not None:
            kept[key] = "none"
    return kept


def _write_section(lines: list[str], name: str, section: Mapping[str, Any]) -> None:
    plain = {key: value for key, value in section.items() if not isinstance(value, dict)}
    if plain:
        lines += ["", f"[{name}]", *(f"{_key(key)} = {_literal(value)}" for key, value in plain.items())]
    for key, value in section.items():
        if isinstance(value, dict) and value:
            _write_section(lines, f"{name}.{_key(key)}", value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else toml_text(key)


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # JSON's numbers and booleans are TOML's too.
    return json.dumps(value)


def _survivors(inputs: ReportInputs) -> str:
    settings = inputs.settings
    if is_synthetic(settings):
        return "does not apply: the bars are invented"
    if settings.universe.membership == "point_in_time":
        ended = ended_companies(inputs.universe)
        text = f"{ended:,} of {len(inputs.universe):,} candidates stopped trading before the end"
        return f"who qualified at the time; {text if ended else 'but none ever stopped trading, so results are flattered'}"
    return "a static list: it knows only companies that lasted, so results are flattered"


def _revisions_line(inputs: ReportInputs) -> str:
    revised = inputs.revisions
    if revised.empty:
        return "none seen"
    return f"{len(revised):,} values of {revised['symbol'].nunique():,} symbols came back different later"


def _quarantine_line(inputs: ReportInputs) -> str:
    if "quarantine" not in inputs.evidence.get(DATA, {}):
        return "not recorded in this run"
    found = recorded(inputs, "quarantine")
    if not found:
        return "no suspect bars"
    names = sorted({str(item.get("symbol", "")) for item in found})
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{len(found):,} suspect {'bar' if len(found) == 1 else 'bars'}: {shown}"


def readable(reason: Any) -> str:
    """A reason code as words."""
    return str(reason).replace("_", " ")


def _day(value: Any) -> str:
    return "" if pd.isna(value) else str(value)[:10]


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _yes_no(value: Any) -> str:
    return "" if pd.isna(value) else ("yes" if value else "no")


def _ratio(value: Any) -> str:
    return show(float(value), "ratio") if isinstance(value, int | float) else ""
