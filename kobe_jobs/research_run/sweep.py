"""The sweep: every parameter set of the grids on every fold's train window, on local cores or a Dask cluster.

What is finished is kept fold by fold in wf_trials under the research pin and the data version, so that a sweep that was
killed goes on where it stood and nothing is counted twice. Only this process opens the warehouse.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kobe_assets.checks.research import describe_lookahead
from kobe_assets.graph.frames import trial_rows, trial_terms
from kobe_assets.graph.inputs import canonical_params, folds_of, grid_of, market_and_version, studied
from kobe_assets.graph.lineage import recorded_versions
from kobe_assets.graph.own_strategies import Files, no_strategy, own_files, own_strategies, strategies_of
from kobe_assets.report.analysis.heat_map import Grid, read_grids
from kobe_assets.report.page.heat_map_picture import heat_map_svg
from kobe_assets.research.strategies import BUILT_IN, STRATEGIES, Strategy, StrategyBroken, StrategyFault
from kobe_assets.research.walk_forward import Fold, Market, find_signals, grid_sets, run_trials
from kobe_jobs.research_run.strategies import MEND_LEAK, ReadsTheFuture
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.runtime.atomic_files import write_whole
from kobe_resources.runtime.process_state import kept_process_state
from kobe_resources.settings.load import INSTALL, kobe_home
from kobe_resources.settings.models import Settings
from kobe_resources.settings.pins import canonical_json, research_pin
from kobe_resources.warehouse.store import Warehouse, insert

if TYPE_CHECKING:
    from kobe_assets.research.panel import Floats

FOLDS_AT_A_TIME = 4
"""Folds a local step computes before they are kept: a few seconds at full size."""
RETRIES = 5
CONNECT_S = 20
LOOK_S = 1.0
"""Seconds between questions for the cluster's workers."""
POLL_S = 0.05

Done = Callable[[int], None]
"""Called with the number of fold simulations that have become durable since the last call."""


class ClusterLost(KobeError):
    """The Dask cluster cannot be reached, or gave up on a task; what was finished is kept."""


@dataclass(frozen=True)
class Task:
    """One strategy's parameter sets, and the folds of it that are not recorded yet. terms: as `trial_terms`."""

    strategy: Strategy
    sets: tuple[dict[str, float], ...]
    folds: tuple[Fold, ...]
    terms: str = ""


@dataclass(frozen=True)
class Sweep:
    """What a sweep has before it: the market, its versions, and the open tasks. total: fold simulations, done ones too."""

    market: Market
    pin: str
    data_version: str
    tasks: tuple[Task, ...]
    total: int

    @property
    def left(self) -> int:
        """Fold simulations that are not recorded yet."""
        return sum(len(task.folds) * len(task.sets) for task in self.tasks)


def plan_sweep(settings: Settings, warehouse: Warehouse, strategies: Sequence[str] = ()) -> Sweep:
    """Find what is not recorded yet. Raises UsageError for an unknown strategy or a senseless grid."""
    known = strategies_of(settings)
    unknown = [name for name in strategies if name not in known]
    if unknown:
        raise no_strategy(unknown[0], known)
    market, version = market_and_version(warehouse, settings)
    folds, pin = folds_of(settings, market.panel), research_pin(settings)
    tasks, total = [], 0
    for name in strategies or studied(settings):
        strategy = known[name]
        sets = grid_sets(strategy, canonical_params(settings, strategy), grid_of(settings, strategy))
        terms = trial_terms(settings, strategy)
        recorded = _recorded(warehouse, name, pin, version, terms)
        wanted = {canonical_json(params) for params in sets}
        left = tuple(fold for fold in folds if not wanted <= recorded.get(fold.number, set()))
        tasks.append(Task(strategy, sets, left, terms))
        total += len(folds) * len(sets)
    return Sweep(market, pin, version, tuple(tasks), total)


def run_sweep(settings: Settings, warehouse: Warehouse, sweep: Sweep, done: Done = lambda _: None) -> None:
    """Compute and record what is left. Raises ClusterLost; what was finished is kept. A strategy's own fault comes as it is.

    Raises ReadsTheFuture before anything is recorded: the ratios of such a strategy would count against all others.
    """
    if not sweep.left:
        return
    own = {task.strategy.name: task.strategy for task in sweep.tasks if task.folds and task.strategy.name not in BUILT_IN}
    params = {name: canonical_params(settings, strategy) for name, strategy in own.items()}
    if own and (text := describe_lookahead(sweep.market, params, own)):
        raise ReadsTheFuture(f"nothing was swept: a strategy reads the future, {text}", MEND_LEAK)
    results = _on_cluster(settings, sweep) if settings.compute.engine == "dask" else _on_this_machine(sweep)
    for task, folds, sharpes in results:
        now = dt.datetime.now(dt.UTC)
        rows = trial_rows(task.strategy, folds, task.sets, sharpes, sweep.pin, sweep.data_version, now, settings)
        with warehouse.transaction() as connection:
            insert(connection, "wf_trials", rows)
        done(sharpes.size)


def best_sets(warehouse: Warehouse, sweep: Sweep, most: int = 5) -> list[dict[str, Any]]:
    """The sets with the highest mean train Sharpe of each strategy: mean, worst fold, and the share of folds they won.

    unseen, unseen_folds: the mean Sharpe ratio of the test windows that the report's folds traded with the set, and how many
    these are; None where there are none. Nothing is ranked by it: what is chosen by unseen sessions has seen them.
    """
    rows = []
    for task in sweep.tasks:
        unseen = _traded(warehouse, sweep, task.strategy.name)
        found = warehouse.frame(
            "SELECT params::VARCHAR AS params, fold, avg(train_sharpe) AS sharpe FROM wf_trials "
            "WHERE strategy = ? AND config_pin = ? AND data_version = ? AND terms = ? AND fold > 0 AND trial > 0 GROUP BY ALL",
            [task.strategy.name, sweep.pin, sweep.data_version, task.terms],
        )
        if found.empty:
            continue
        table = found.pivot(index="fold", columns="params", values="sharpe")
        # A fold in which no set has a ratio is won by none.
        won = table[table.notna().any(axis=1)].idxmax(axis=1).value_counts()
        for params, mean in table.mean().sort_values(ascending=False, kind="stable").head(most).items():
            worst = table[params].min()
            rows.append(
                {
                    "strategy": task.strategy.name,
                    "params": params,
                    "mean": None if mean != mean else float(mean),
                    "worst": None if worst != worst else float(worst),
                    "won": int(won.get(params, 0)),
                    "folds": len(table),
                    "rated_folds": int(table[params].notna().sum()),
                    "unseen": unseen.get(_same_set(str(params)), (None, 0))[0],
                    "unseen_folds": unseen.get(_same_set(str(params)), (None, 0))[1],
                }
            )
    return rows


def _traded(warehouse: Warehouse, sweep: Sweep, strategy: str) -> dict[str, tuple[float | None, int]]:
    """(mean Sharpe of the test windows, how many) of every set that the stored folds traded with these settings."""
    with warehouse.connect() as connection:
        folds = recorded_versions(connection).get("wf_folds")
        if folds is None or folds.config_pin != sweep.pin:
            return {}
        sql = (
            "SELECT params::VARCHAR, avg(sharpe), count(sharpe) FROM "
            "(SELECT DISTINCT params, fold, sharpe FROM wf_folds WHERE strategy = ?) GROUP BY ALL"
        )
        return {_same_set(params): (mean, count) for params, mean, count in connection.execute(sql, [strategy]).fetchall()}


def _same_set(params: str) -> str:
    """A parameter set in one spelling."""
    return json.dumps({name: float(value) for name, value in json.loads(params).items()}, sort_keys=True)


def write_heat_maps(settings: Settings, warehouse: Warehouse, sweep: Sweep) -> tuple[list[Grid], Path]:
    """The swept strategies' grids, and where their heat maps were written as one SVG: beside the reports."""
    canonical = {task.strategy.name: canonical_params(settings, task.strategy) for task in sweep.tasks}
    with warehouse.connect() as connection:
        known = read_grids(warehouse, sweep.pin, sweep.data_version, canonical)
        folds = recorded_versions(connection).get("wf_folds")
    grids = [grid for grid in known if grid.strategy in canonical]
    if folds is None or folds.config_pin != sweep.pin:
        # Folds of other settings chose from another grid.
        grids = [replace(grid, folds=[]) for grid in grids]
    path = kobe_home() / "reports" / "heat_map.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, heat_map_svg(grids).encode("utf-8"))
    return grids, path


def _recorded(warehouse: Warehouse, strategy: str, pin: str, version: str, terms: str) -> dict[int, set[str]]:
    """fold → the parameter sets on record for it, of this very source of the strategy."""
    sql = (
        "SELECT DISTINCT fold, params::VARCHAR FROM wf_trials WHERE (strategy, config_pin, data_version, terms) = (?, ?, ?, ?)"
    )
    rows = warehouse.rows(sql, [strategy, pin, version, terms])
    found: dict[int, set[str]] = {}
    for fold, params in rows:
        found.setdefault(fold, set()).add(params)
    return found


Result = tuple[Task, tuple[Fold, ...], "Floats"]


def _on_this_machine(sweep: Sweep) -> Iterator[Result]:
    """Threads of this process over one panel."""
    readable = sweep.market.readable()
    for task in sweep.tasks:
        if not task.folds:
            continue
        with kept_process_state():
            found = find_signals(sweep.market, readable, task.strategy, task.sets)
            feeds = found.priced(sweep.market).feeds(range(len(task.sets)), trial=True)
        for begin in range(0, len(task.folds), FOLDS_AT_A_TIME):
            folds = task.folds[begin : begin + FOLDS_AT_A_TIME]
            yield task, folds, run_trials(sweep.market, folds, feeds, task.sets)


def _on_cluster(settings: Settings, sweep: Sweep) -> Iterator[Result]:
    """Tasks of one fold each on an existing Dask cluster; the market travels to each worker, once while it is not lost."""
    try:
        from distributed import CancelledError, Client
    except ImportError:
        what = "compute.engine is dask, and distributed is not installed"
        raise UsageError(what, f"in the clone run {INSTALL} '.[scale]'") from None
    address = settings.compute.scheduler
    if not address:
        raise UsageError("compute.engine is dask without a scheduler", "set compute.scheduler, such as tcp://host:8786")
    try:
        client = Client(address, timeout=CONNECT_S)
    except OSError as error:
        raise ClusterLost(
            f"no Dask scheduler answers at {address} ({error})", "start it, or set compute.engine = 'local'"
        ) from None
    with client:
        left, files = [(task, fold) for task in sweep.tasks for fold in task.folds], own_files(settings)
        for _ in range(1 + RETRIES):
            market = _sent_to_every_worker(client, sweep.market, address)
            futures = {
                client.submit(
                    trials_or_fault, market, task.strategy.name, task.sets, fold, files, pure=False, retries=RETRIES
                ): (
                    task,
                    fold,
                )
                for task, fold in left
            }
            left = []
            for future in _as_finished(client, futures, address):
                task, fold = futures[future]
                try:
                    lost = future.exception()
                    if lost is not None:
                        raise lost
                    sharpes = future.result()
                except CancelledError:
                    # Dask drops second copies: the worker that died had the only one of the market, which cannot be computed.
                    left.append((task, fold))
                    continue
                except Exception as error:
                    what = f"the cluster gave up on {task.strategy.name}, fold {fold.number} ({error})"
                    raise ClusterLost(what, "run it again") from error
                if isinstance(sharpes, StrategyFault | StrategyBroken):
                    raise sharpes
                yield task, (fold,), sharpes
            if not left:
                return
        raise ClusterLost(f"the cluster lost the market {1 + RETRIES} times", "see why its workers die, and run it again")


def _as_finished(client: Any, futures: Iterable[Any], address: str) -> Iterator[Any]:
    """The futures as they finish; raises ClusterLost where the cluster has had no worker for CONNECT_S seconds.

    A scheduler keeps tasks for workers that may yet come, so that futures of a cluster without workers never finish.
    """
    from distributed import as_completed

    finished, last_seen, next_look = as_completed(futures), time.monotonic(), 0.0
    while not finished.is_empty():
        batch = finished.next_batch(block=False)
        yield from batch
        now = time.monotonic()
        if batch or now < next_look:
            time.sleep(0 if batch else POLL_S)
            continue
        next_look = now + LOOK_S
        if _has_workers(client):
            last_seen = now
        elif now - last_seen > CONNECT_S:
            what = f"every worker of {address} is gone"
            raise ClusterLost(what, f"start one (dask worker {address}, with this environment) and run it again")


def _has_workers(client: Any) -> bool:
    try:
        return bool(client.ncores())
    except (OSError, TimeoutError):
        return False


def _sent_to_every_worker(client: Any, market: Market, address: str) -> Any:
    """The market as a future that every worker holds."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
        return client.scatter(market, broadcast=True)
    except TimeoutError:
        what = f"no worker is connected to {address}"
        raise ClusterLost(what, f"start one: dask worker {address} (with this environment)") from None


def trials_of_fold(market: Market, strategy: str, sets: tuple[dict[str, float], ...], fold: Fold, files: Files = ()) -> Floats:
    """(1, sets) train Sharpe ratios of one fold; what a worker of the cluster runs. It opens no file.

    files: the texts that declare the strategies of a person's own.
    """
    feeds = _worker_feeds(_Same(market), strategy, canonical_json(sets), files)
    sharpes: Floats = run_trials(market, (fold,), feeds, sets)
    return sharpes


def trials_or_fault(*given: Any) -> Floats | StrategyFault | StrategyBroken:
    """`trials_of_fold`, or the fault of a person's strategy: it is the same on every worker, and Dask retries what raises."""
    try:
        return trials_of_fold(*given)
    except (StrategyFault, StrategyBroken) as fault:
        return fault


class _Same:
    """A market compared by identity: the key under which a worker keeps the feeds that it made from it."""

    def __init__(self, market: Market) -> None:
        self.market = market

    def __hash__(self) -> int:
        return id(self.market)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.market is self.market


@lru_cache(maxsize=4)
def _worker_feeds(same: _Same, strategy: str, sets: str, files: Files) -> list[Any]:
    chosen = tuple(json.loads(sets))
    known = {own.strategy.name: own.strategy for own in own_strategies(files)}
    with kept_process_state():
        found = find_signals(same.market, same.market.readable(), known.get(strategy) or STRATEGIES[strategy], chosen)
        return found.priced(same.market).feeds(range(len(chosen)), trial=True)


def as_text(value: float | None) -> str:
    """A ratio for a person."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}".replace("-", "−")
