"""Evidence for every candidate, derived from the bars, and the selection that follows from it, with a reason for every no.

A static list is drawn up today: a symbol that vanished before was perhaps never a candidate, so the list holds survivors. The
alternative, membership as of each day, is in `membership`. Trusts the stored bars; the quality checks judge those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobe_assets.graph.bar_table import BarTable, find_last_bars, name_listings, read_bar_tables
from kobe_assets.research.quarantine import CROWD_BARS, QUARANTINE_BARS, Suspects, suspects
from kobe_assets.selection.barred import barred_symbols
from kobe_assets.selection.membership import build_membership
from kobe_resources.errors import KobeError
from kobe_resources.runtime.sql_files import read_sql

if TYPE_CHECKING:
    import pandas as pd

    from kobe_resources.settings.models import Settings, UniverseSettings
    from kobe_resources.warehouse.store import Warehouse

__all__ = ["Reason", "Validation", "build_membership", "build_universe", "select", "validate_universe"]

HERE = Path(__file__).parent
AVERAGE_BARS = 60
DECISIVE_BARS = QUARANTINE_BARS + CROWD_BARS + 2
"""Bars that decide whether the last one is in quarantine: those whose quarantine reaches it, and what is usual before them."""
_kept: dict[tuple[Path, str], CandidateEvidence] = {}
_held: list[tuple[tuple[Path, str], frozenset[str]]] = []
"""At most one: a version of the bars, and the symbols whose quarantine is in force by them."""
COLUMNS = ("first_session", "last_session", "sessions", "years", "adv_shares", "adv_usd", "has_options")


class Reason(StrEnum):
    """Why a candidate was rejected (the first that holds), or what is to be known about a selected one."""

    NO_BARS = "no_bars"
    TOO_FEW_YEARS = "too_few_years"
    NO_OPTIONS = "no_options"
    OPTIONS_UNKNOWN = "options_unknown"
    TOO_ILLIQUID = "too_illiquid"
    BEYOND_CAP = "beyond_cap"
    NEVER_MEMBER = "never_member"
    CONTRADICTORY_SPLITS = "contradictory_splits"
    MISDATED_SPLIT = "misdated_split"
    """No jump on a split's listed day, and one of just its ratio within weeks."""
    NO_VOLUME = "no_volume"
    """No bar has volume: an index."""
    QUARANTINED = "quarantined"
    """Selected, but without signals at its last bar (rules, section 2)."""
    RELEASED = "released"
    """Selected, and its quarantine lifted by the settings."""


@dataclass(frozen=True)
class Validation:
    """The listed universe compared with the bars. failures: what does not agree, in words. offenders: the symbols that do not.

    listed: selected symbols of the table (of a fresh selection where the table is empty). holding: those that may trade by
    evidence derived anew; with point-in-time membership, those of them that are members now. shortest_years: the shortest
    history among the holding (point in time: of all bars), None without any. drifted: symbols whose stored evidence is
    not what the bars say now.
    """

    passed: bool
    listed: int
    holding: int
    shortest_years: float | None
    drifted: int
    failures: tuple[str, ...]
    offenders: pd.DataFrame = field(repr=False)


def build_universe(warehouse: Warehouse, settings: Settings) -> pd.DataFrame:
    """The universe table: every candidate's evidence, whether it is selected, its rank or the reason why not.

    Selected first, by rank; then the others by symbol. Raises KobeError where there are no candidates.
    """
    evidence, held, barred = _read(warehouse)
    wanted = settings.universe
    if wanted.membership == "point_in_time":
        members = set(build_membership(warehouse, settings)["symbol"])
        reason = np.where(evidence["symbol"].isin(members), "", Reason.NEVER_MEMBER.value)
        reason = np.where(evidence["sessions"] == 0, Reason.NO_BARS.value, reason)
        reason = np.where(barred != "", barred, reason)
        universe = _ranked(evidence.assign(reason=reason))
    else:
        universe = select(evidence, wanted, barred)
    quarantined = universe["selected"] & universe["symbol"].isin(held)
    universe.loc[quarantined, "reason"] = Reason.QUARANTINED.value
    universe.loc[quarantined & universe["symbol"].isin(list(wanted.release)), "reason"] = Reason.RELEASED.value
    return universe


def select(evidence: pd.DataFrame, wanted: UniverseSettings, barred: NDArray[np.object_] | str = "") -> pd.DataFrame:
    """Judge candidates (symbol and COLUMNS) by years, options, dollar volume and cap; the result is the universe table.

    barred: (candidates) why one is not to be judged at all, or "".
    """
    options = evidence["has_options"].astype("boolean")
    reason = np.select(
        [
            evidence["sessions"] == 0,
            ~(evidence["years"] >= wanted.min_years),
            options.isna().to_numpy(dtype=bool) & wanted.require_options,
            ~options.fillna(True).to_numpy(dtype=bool) & wanted.require_options,
            ~(evidence["adv_usd"] >= wanted.min_adv_usd),
        ],
        [Reason.NO_BARS, Reason.TOO_FEW_YEARS, Reason.OPTIONS_UNKNOWN, Reason.NO_OPTIONS, Reason.TOO_ILLIQUID],
        default="",
    )
    return _ranked(evidence.assign(reason=np.where(np.asarray(barred) != "", barred, reason)), wanted.cap)


def validate_universe(warehouse: Warehouse, settings: Settings) -> Validation:
    """Hold the universe table against evidence derived anew from the bars, and against min_symbols and min_years.

    Only the columns `symbol` and `selected` of the table are read: a listed symbol counts where its bars confirm it.
    """
    import pandas as pd

    fresh = build_universe(warehouse, settings).set_index("symbol")
    stored = warehouse.frame("SELECT * FROM universe").set_index("symbol")
    table = stored if len(stored) else fresh
    listed = table.index[table["selected"].astype(bool)]
    now = fresh.reindex(listed)
    holds = now["selected"].eq(True)
    offenders = now.loc[~holds, ["reason", "sessions", "years", "adv_usd"]].fillna({"reason": "no_candidate"}).reset_index()
    holding, shortest = listed[holds], float(now.loc[holds, "years"].min()) if holds.any() else None
    if settings.universe.membership == "point_in_time":
        membership = build_membership(warehouse, settings)
        holding = holding.intersection(pd.Index(membership.loc[membership["to"].isna(), "symbol"]))
        shortest = _span_years(fresh)
    failures = tuple(_failures(settings.universe, len(holding), shortest, offenders))
    return Validation(not failures, len(listed), len(holding), shortest, _drifted(stored, fresh), failures, offenders)


class CandidateEvidence(NamedTuple):
    """What the bars say. table: of every candidate. held: symbols whose quarantine is in force. barred: (candidates) why one is
    not to be judged, "" where it is."""

    table: pd.DataFrame
    held: frozenset[str]
    barred: NDArray[np.object_]


def _read(warehouse: Warehouse) -> CandidateEvidence:
    """The evidence, found once while bars and candidates stay: it takes bars of every symbol of the store.

    Raises KobeError where there are no candidates.
    """
    with warehouse.connect() as connection:
        key = warehouse.path, warehouse.content_version("daily_bars", "splits", "candidates", "option_evidence")
        if key in _kept:
            return _kept[key]
        name_listings(warehouse, connection)
        # To sort only the bars that an average may be of takes half as long as to sort all.
        find_last_bars(connection, AVERAGE_BARS, 2 * AVERAGE_BARS)
        table = connection.execute(read_sql(HERE, "eligibility"), {"window": AVERAGE_BARS}).df()
        if not len(table):
            raise KobeError("the warehouse holds no candidates", "run `kobe bars refresh`")
        held = _held_symbols(warehouse)
        why = barred_symbols(warehouse)
    found = CandidateEvidence(table, held, np.array([why.get(symbol, "") for symbol in table["symbol"]], dtype=object))
    _kept.clear()
    _kept[key] = found
    return found


def keep_held(warehouse: Warehouse, held: Collection[str]) -> None:
    """Keep the symbols whose quarantine is in force, found on the way through all bars, for the universe of these bars."""
    _held[:] = [(_bars_version(warehouse), frozenset(held))]


def _held_symbols(warehouse: Warehouse) -> frozenset[str]:
    if _held and _held[0][0] == _bars_version(warehouse):
        return _held[0][1]
    tables = read_bar_tables(warehouse, last_bars=DECISIVE_BARS)
    return frozenset(name for bars in tables for name in in_quarantine(bars, suspects(bars)))


def _bars_version(warehouse: Warehouse) -> tuple[Path, str]:
    return warehouse.path, warehouse.content_version("daily_bars", "splits")


def in_quarantine(bars: BarTable, found: Suspects) -> set[str]:
    """Symbols whose last bar is in quarantine. found: `suspects(bars)`."""
    in_force = {int(place) for place in bars.symbol[found.bar[found.in_force]]}
    # Of several listings the last one speaks: a later entry of the name overwrites an earlier one.
    last = {name: place for place, name in enumerate(bars.symbols)}
    return {name for name, place in last.items() if place in in_force}


def _ranked(judged: pd.DataFrame, cap: int | None = None) -> pd.DataFrame:
    """Rank those without a reason by average dollars, then symbol; those beyond `cap` get theirs."""
    judged = judged.sort_values(["adv_usd", "symbol"], ascending=[False, True], ignore_index=True)
    place = (judged["reason"] == "").cumsum().where(judged["reason"] == "")
    if cap is not None:
        judged.loc[place > cap, "reason"] = Reason.BEYOND_CAP.value
        place = place.where(place <= cap)
    reason = judged["reason"].astype(object).where(judged["reason"] != "", None)
    judged = judged.assign(selected=place.notna(), rank=place.astype("Int32"), reason=reason)
    judged = judged.sort_values(["rank", "symbol"], na_position="last", ignore_index=True)
    return judged[["symbol", "selected", "rank", "reason", *COLUMNS]]


def _failures(wanted: UniverseSettings, holding: int, shortest: float | None, offenders: pd.DataFrame) -> Iterator[str]:
    if holding < wanted.min_symbols:
        yield f"{holding} symbols hold, {wanted.min_symbols} are wanted (universe.min_symbols)"
    if shortest is not None and shortest < wanted.min_years:
        yield f"the shortest history has {shortest:.2f} years, {wanted.min_years:g} are wanted (universe.min_years)"
    for reason, group in offenders.groupby("reason"):
        yield f"{len(group)} listed symbols are {reason} by their bars: {', '.join(group['symbol'].head(5))}"


def _drifted(stored: pd.DataFrame, fresh: pd.DataFrame) -> int:
    """How many symbols have other first and last sessions, counts or averages stored than their bars give now."""
    both = stored.index.intersection(fresh.index)
    columns = ["first_session", "last_session", "sessions", "years", "adv_shares", "adv_usd"]
    old, new = stored.loc[both, columns], fresh.loc[both, columns]
    same = np.all([(old[name] == new[name]) | (old[name].isna() & new[name].isna()) for name in columns], axis=0)
    return int((~same).sum()) + len(stored.index.symmetric_difference(fresh.index)) * bool(len(stored))


def _span_years(fresh: pd.DataFrame) -> float | None:
    first, last = fresh["first_session"].min(), fresh["last_session"].max()
    return None if first != first else float((last - first).days / 365.25)
