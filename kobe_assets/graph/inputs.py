"""From settings and stored tables to what the research takes: the panel, the market, parameters, limits and grids."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from kobe_assets.graph.bar_table import BAR_NUMBERS, forget_bar_tables, read_bar_tables
from kobe_assets.graph.fees import fee_table
from kobe_assets.graph.lineage import TABLES
from kobe_assets.graph.own_strategies import declared_indicators, no_strategy, strategies_of
from kobe_assets.research.costs import Costs, make_costs
from kobe_assets.research.indicators import CANONICAL_COLUMNS, Indicators
from kobe_assets.research.panel import ROW_DIVIDEND, Bools, Floats, Integers, Panel, build_panel
from kobe_assets.research.parallel import in_threads
from kobe_assets.research.quarantine import Suspects, quarantined, suspects
from kobe_assets.research.strategies import BUILT_IN, Strategy
from kobe_assets.research.strategies.base import refused_value
from kobe_assets.research.walk_forward import Fold, Market, Part, grid_sets, make_folds
from kobe_resources.errors import KobeError, UsageError, did_you_mean
from kobe_resources.policy_gate import SIZING_MODES, Limits
from kobe_resources.runtime.sql_files import read_sql
from kobe_resources.settings.models import BOOK
from kobe_resources.warehouse.store import floats_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kobe_assets.graph.bar_table import BarTable
    from kobe_resources.settings.models import Settings
    from kobe_resources.warehouse.store import Warehouse


class NoPanel(KobeError):
    """The stored bars are none, or such that they make no panel: a repeated one, an impossible price."""


class ForeignIndicators(KobeError):
    """The stored indicators are not those of the stored bars, one row each."""


HERE = Path(__file__).parent
MAY_TRADE = "SELECT symbol FROM universe WHERE selected UNION SELECT symbol FROM universe_membership"
_kept: dict[str, tuple[tuple[object, ...], Any]] = {}
"""The panel, the market, and the indicators with a weak reference to their panel's rows, as last loaded, by what was read."""


def load_panel(warehouse: Warehouse, read: frozenset[str] = frozenset()) -> Panel:
    """The panel of the symbols that may trade, could once, or are held (all, before any was chosen); kept while the rows stay.

    read: symbols that are read besides, where bars of them are stored.

    Its sessions are those of all stored bars: who may trade makes no session.
    Raises NoPanel on an empty store and on bars that make none.
    """
    with warehouse.connect() as connection:
        tables = ("daily_bars", "splits", "universe", "universe_membership", "panel_symbols", "dividends")
        key = (warehouse.path, warehouse.content_version(*tables), read)
        if (kept := _kept.get("panel")) and kept[0] == key:
            panel: Panel = kept[1]
            return panel
        in_panel = [r[0] for r in connection.execute("SELECT symbol FROM panel_places ORDER BY place").fetchall()]
        more = (read - {*in_panel}) & {*(stored_symbols(warehouse) if read else ())}
        symbols = tuple(sorted({*in_panel, *more}))
        days = connection.execute("SELECT DISTINCT session FROM daily_bars ORDER BY session").fetchnumpy()["session"]
        may_trade = {r[0] for r in connection.execute(MAY_TRADE).fetchall()}
        bars = _columns_of(read_bar_tables(warehouse, in_panel=not more), symbols) if symbols else {}
        dividends = connection.execute(read_sql(HERE, "panel_dividends")).fetchnumpy()
    if not symbols:
        raise NoPanel("the warehouse holds no bars", "run `kobe report`, or `kobe bars refresh`")
    sessions = np.asarray(days).astype("datetime64[D]")
    since = sessions.astype(np.int64)
    place = np.zeros(int(since[-1] - since[0]) + 1, np.int64)
    place[since - since[0]] = np.arange(len(since))
    try:
        panel = build_panel(
            symbols,
            sessions,
            bars.pop("symbol"),
            place[bars.pop("session").astype("datetime64[D]").astype(np.int64) - since[0]],
            bars,
        )
        place_of = {name: k for k, name in enumerate(symbols)}
        places = np.array([place_of[name] for name in in_panel], np.int64)
        add_dividends(panel, places[dividends["symbol"]], dividends["day"], floats_of(dividends["amount"]))
    except ValueError as error:
        raise NoPanel(f"the stored bars make no panel ({error})", "see the checks of daily_bars") from error
    panel = replace(panel, outside=frozenset(symbols) - may_trade if may_trade else frozenset())
    _kept["panel"] = (key, panel)
    # The panel is what reads them last.
    forget_bar_tables()
    return panel


def _columns_of(tables: Iterable[BarTable], symbols: Sequence[str]) -> dict[str, Any]:
    """symbol (places in `symbols`), session (datetime64[D]) and BAR_NUMBERS of all bars that are of these symbols."""
    places = {name: place for place, name in enumerate(symbols)}
    parts: dict[str, list[Any]] = {name: [] for name in ("symbol", "session", *BAR_NUMBERS)}
    for table in tables:
        of_listing = np.array([places.get(name, -1) for name in table.symbols], np.int64)
        symbol = of_listing[table.symbol]
        wanted: Any = slice(None) if of_listing.min() >= 0 else symbol >= 0
        parts["symbol"].append(symbol[wanted])
        for name in ("session", *BAR_NUMBERS):
            parts[name].append(getattr(table, name)[wanted])
    whole = in_threads(lambda some: some[0] if len(some) == 1 else np.concatenate(some), parts.values())
    return dict(zip(parts, whole, strict=True))


def stored_symbols(warehouse: Warehouse) -> list[str]:
    """Every symbol of which bars are stored, in the panel or not."""
    return [symbol for (symbol,) in warehouse.rows("SELECT DISTINCT symbol FROM daily_bars ORDER BY symbol")]


def add_dividends(panel: Panel, name: Integers, day: Integers, amount: Floats) -> None:
    """Put each dividend into the first bar of its symbol on or after its ex-date, where its holders of the bar before are paid.

    name: places in the panel's names, since a symbol has as many places among the listings as it has listings. day: since
    1970. amount: dollars a share as traded on that day. A dividend that falls between two listings is paid to nobody.
    """
    session = np.searchsorted(panel.sessions.astype("datetime64[D]").astype(np.int64), day)
    owner = panel.name[panel.symbol].astype(np.int64)
    flat = owner * len(panel.sessions) + panel.session
    bar = np.searchsorted(flat, name.astype(np.int64) * len(panel.sessions) + session)
    known = np.flatnonzero((session < len(panel.sessions)) & (bar < panel.bars))
    bar, name, amount = bar[known], name[known], amount[known]
    found = (owner[bar] == name) & (bar > panel.start[panel.symbol[bar]])
    np.add.at(panel.rows[:, ROW_DIVIDEND], bar[found], amount[found])


def load_indicators(warehouse: Warehouse, panel: Panel, wanted: Iterable[str] = ()) -> Indicators:
    """The stored indicators in the panel's order, kept like the panel. Raises ForeignIndicators.

    wanted: the columns that must be there beside the canonical ones.
    """
    with warehouse.connect() as connection:
        key = (warehouse.path, warehouse.content_version(*TABLES["indicators"]))
        if (kept := _kept.get("indicators")) and kept[0] == key:
            rows, indicators = kept[1]
            if rows() is panel.rows:
                return _having(indicators, wanted)
        columns = connection.execute(read_sql(HERE, "panel_indicators")).fetchnumpy()
    days = panel.sessions.astype(np.int64)
    session = np.full(int(days[-1] - days[0]) + 1, -1, np.int32)
    session[days - days[0]] = np.arange(len(days))
    day = columns["its day"] - days[0]
    known = (day >= 0) & (day < len(session)) & (columns["symbol"] >= 0)
    asked, at = np.where(known, columns["symbol"], 0), session[np.where(known, day, 0)]
    place = np.where(known, panel.bars_at(asked, at), -1)
    if len(place) != panel.bars or place.min() < 0 or np.bincount(place).max() > 1:
        raise ForeignIndicators(
            f"the indicators table has {len(place)} rows, and they are not those of the {panel.bars} bars",
            "run `kobe materialize indicators`",
        )
    found = {}
    for name in columns.keys() - {"symbol", "its day"}:
        found[name] = np.empty(panel.bars)
        found[name][place] = floats_of(columns[name])
    canonical = {name: found.pop(name) for name in CANONICAL_COLUMNS}
    indicators = Indicators(**canonical, others={name: found[name] for name in sorted(found)})
    _kept["indicators"] = (key, (weakref.ref(panel.rows), indicators))
    return _having(indicators, wanted)


def keep_indicators(warehouse: Warehouse, panel: Panel, indicators: Indicators, version: str) -> None:
    """Keep indicators that were just stored, so that they need not be read back. version: of the rows that were stored."""
    others = {name: indicators.others[name] for name in sorted(indicators.others)}
    kept = weakref.ref(panel.rows), replace(indicators, others=others)
    _kept["indicators"] = ((warehouse.path, version), kept)


def _having(indicators: Indicators, wanted: Iterable[str]) -> Indicators:
    missing = sorted(set(wanted) - set(indicators.names))
    if missing:
        raise ForeignIndicators(f"the indicators table has no column {missing[0]}", "run `kobe materialize indicators`")
    return indicators


def load_market(warehouse: Warehouse, settings: Settings, panel: Panel | None = None) -> Market:
    """What the simulations of these settings read; kept while settings and rows stay."""
    declared = declared_indicators(strategies_of(settings).values())
    with warehouse.connect():
        panel = panel or load_panel(warehouse)
        indicators = load_indicators(warehouse, panel, declared)
        key = (warehouse.path, warehouse.content_version(*TABLES["universe"]), settings)
        if (kept := _kept.get("market")) and kept[0] == key:
            market: Market = kept[1]
            if market.panel is panel and market.indicators is indicators:
                return market
        found = suspects(panel)
        tradable = tradable_bars(warehouse, settings, panel, found)
    market = market_of(settings, panel, indicators, tradable, found)
    _kept["market"] = (key, market)
    return market


def market_and_version(warehouse: Warehouse, settings: Settings) -> tuple[Market, str]:
    """The market, and the data version of the bars that it was made of.

    No other process writes between the two, since the file stays open in this one.
    """
    with warehouse.connect():
        return load_market(warehouse, settings), warehouse.content_version(*TABLES["daily_bars"])


def market_of(
    settings: Settings, panel: Panel, indicators: Indicators, tradable: Bools, found: Suspects | None = None
) -> Market:
    """The market of bars, wherever they come from, at the costs, limits and rules of the settings.

    found: `suspects(panel)`, where the caller has it.
    """
    return Market(
        panel=panel,
        indicators=indicators,
        tradable=tradable,
        lag=settings.strategy.indicator_lag_bars,
        min_price=settings.strategy.min_price,
        costs=costs_of(settings, panel),
        limits=limits_of(settings),
        suspect=suspect_bars(settings, panel, found),
        auction=settings.execution.entry == "opg",
    )


def tradable_bars(warehouse: Warehouse, settings: Settings, panel: Panel, found: Suspects | None = None) -> Bools:
    """(bars) true where the symbol is in the universe and not quarantined, or released from quarantine by a person.

    found: `suspects(panel)`, where the caller has it.
    """
    spans = panel.spans
    held = quarantined(panel, found)
    for symbol in settings.universe.release:
        if symbol in spans:
            held[spans[symbol]] = False
    member = np.zeros(panel.bars, np.bool_)
    if settings.universe.membership == "static":
        for (symbol,) in warehouse.rows("SELECT symbol FROM universe WHERE selected"):
            if symbol in spans:
                member[spans[symbol]] = True
    else:
        days = panel.sessions[panel.session]
        for symbol, since, until in warehouse.rows('SELECT symbol, "from", "to" FROM universe_membership'):
            if symbol in spans:
                span = spans[symbol]
                end = np.datetime64(until) if until else panel.sessions[-1]
                member[span] |= (days[span] >= np.datetime64(since)) & (days[span] <= end)
    return member & ~held


def suspect_bars(settings: Settings, panel: Panel, found: Suspects | None = None) -> Bools:
    """(bars) true where a bar is suspect and its symbol not released by a person: no profit comes from it."""
    flags = np.zeros(panel.bars, np.bool_)
    bars = (found or suspects(panel)).bar
    released = [panel.symbols[symbol] in settings.universe.release for symbol in panel.symbol[bars]]
    flags[bars[~np.array(released, np.bool_)]] = True
    return flags


def canonical_params(settings: Settings, strategy: Strategy) -> dict[str, float]:
    """The strategy's canonical parameters: its own, for Kobe's strategies those of [strategy], and over them what
    [strategy.parameters.NAME] says. Raises UsageError where that names no parameter, or a senseless value."""
    shared = settings.strategy.model_dump() if strategy.name in BUILT_IN else {}
    params = {name: float(shared.get(name, value)) for name, value in strategy.parameters.items()}
    for name, value in settings.strategy.parameters.get(strategy.name, {}).items():
        where = f"[strategy.parameters.{strategy.name}] {name}"
        if name not in params:
            raise UsageError(f"{where} names no parameter", f"it has {', '.join(sorted(params)) or 'none'}")
        if why := refused_value(name, value):
            raise UsageError(f"{where} = {value:g}: {why}", "mend the setting")
        params[name] = value
    return params


def registered(settings: Settings) -> dict[str, Strategy]:
    """Every strategy by name. Raises UsageError where the settings name one that is not there: what they say of it would be
    left out in silence."""
    known = strategies_of(settings)
    for setting, names in (
        ("portfolio.strategies", settings.portfolio.strategies),
        ("walk_forward.strategies", settings.walk_forward.strategies or ()),
    ):
        for name in names:
            if name not in known:
                raise no_strategy(name, known, setting)
    for section, named in (
        ("walk_forward.grid", settings.walk_forward.grid),
        ("strategy.parameters", settings.strategy.parameters),
    ):
        if unknown := set(named) - set(known):
            what = f"[{section}.{min(unknown)}] names no strategy{did_you_mean(min(unknown), known)}"
            raise UsageError(what, f"there are {', '.join(sorted(known))}")
    return known


def studied(settings: Settings) -> dict[str, Strategy]:
    """Every strategy with folds and figures by name: those of [walk_forward], or all; and the parts of a book of several,
    which is made of theirs. Raises UsageError as `registered`."""
    known, chosen = registered(settings), settings.walk_forward.strategies
    if chosen is None:
        return known
    wanted = {*chosen, *(settings.portfolio.strategies if settings.portfolio.book == BOOK else ())}
    return {name: strategy for name, strategy in known.items() if name in wanted}


def parts_of(settings: Settings) -> tuple[Part, ...]:
    """The strategies of [portfolio] with their weights, in order. Raises UsageError as `registered`."""
    known = registered(settings)
    return tuple(Part(known[name], weight) for name, weight in settings.portfolio.strategies.items())


def grid_of(settings: Settings, strategy: Strategy) -> Mapping[str, Sequence[float]] | None:
    """The grid that the settings give the strategy; None: its own. Raises UsageError where the grid makes no sense.

    A value that [strategy] would refuse is refused here too: it could only make up a result.
    """
    registered(settings)
    grid = settings.walk_forward.grid.get(strategy.name)
    hint = f"mend [walk_forward.grid.{strategy.name}]"
    try:
        grid_sets(strategy, canonical_params(settings, strategy), grid)
    except ValueError as error:
        raise UsageError(str(error), hint) from None
    canonical = type(settings.strategy)
    bounded = set(canonical.model_fields) if strategy.name in BUILT_IN else set()
    for name, values in (grid or {}).items():
        for value in values if name in bounded else ():
            try:
                canonical.model_validate({name: value})
            except ValidationError as error:
                why = error.errors()[0]["msg"]
                raise UsageError(f"the grid of {strategy.name} tries {name} = {value:g}: {why}", hint) from None
    return grid


def folds_of(settings: Settings, panel: Panel) -> tuple[Fold, ...]:
    """The folds over the panel's sessions. Raises KobeError when there are too few sessions for one."""
    wf = settings.walk_forward
    try:
        return make_folds(len(panel.sessions), wf.warmup, wf.train, wf.test, wf.anchored)
    except ValueError as error:
        raise KobeError(f"no fold fits: {error}", "load more sessions, or shorten [walk_forward]") from None


def limits_of(settings: Settings) -> Limits:
    """The policy gate's limits; an absent one is infinite."""
    policy, sizing, execution = settings.policy, settings.sizing, settings.execution

    def most(limit: float | None) -> float:
        return math.inf if limit is None else float(limit)

    return Limits(
        mode=SIZING_MODES[sizing.mode],
        order_notional=sizing.order_notional,
        fraction=sizing.fraction,
        whole_shares=sizing.whole_shares,
        limit_offset_bps=execution.limit_offset_bps,
        open_limit_bps=execution.open_limit_bps,
        max_notional_per_order=most(policy.max_notional_per_order),
        max_daily_notional=most(policy.max_daily_notional),
        min_price=policy.min_price,
        max_price=policy.max_price,
        allow_shorts=policy.allow_shorts,
        max_gap=most(policy.max_gap),
        max_positions=most(policy.max_positions),
        max_order_fraction=most(policy.max_order_fraction),
        max_daily_fraction=most(policy.max_daily_fraction),
        max_gross_exposure=most(policy.max_gross_exposure),
    )


def costs_of(settings: Settings, panel: Panel) -> Costs:
    """What a fill costs and a portfolio starts with."""
    costs = settings.costs
    return make_costs(
        panel.sessions,
        settings.simulation.initial_cash,
        costs.slippage_bps / 10_000,
        costs.commission_per_order,
        costs.commission_per_share,
        costs.commission_minimum,
        costs.borrow_rate,
        fee_table() if costs.regulatory_fees else (),
    )
