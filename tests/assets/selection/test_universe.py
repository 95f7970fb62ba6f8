"""The universe: every candidate with its evidence and its reason, never believed from a column, never from the future."""

from __future__ import annotations

import datetime as dt
import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kobe_assets.checks.bars import check_bars
from kobe_assets.graph.bar_table import forget_bar_tables, read_bar_tables
from kobe_assets.research.quarantine import suspects
from kobe_assets.selection import eligibility
from kobe_assets.selection.eligibility import DECISIVE_BARS, build_universe, in_quarantine, select, validate_universe
from kobe_assets.selection.membership import build_membership, membership_spans
from kobe_jobs.cli.commands.universe import UniverseRefused
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.market_data.changes import Load
from kobe_resources.market_data.local.sample import SampleVendor
from kobe_resources.market_data.store import replace_all
from kobe_resources.settings.load import PROJECT_ROOT, load_settings
from kobe_resources.settings.models import DataSettings, Settings, UniverseSettings
from kobe_resources.warehouse.store import Warehouse
from tests.support.builders.frames import NOON, bar, days, load

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

DAYS = days(520)


def wanted(**universe: object) -> Settings:
    defaults: dict[str, object] = {"min_symbols": 1, "min_years": 0.0, "require_options": False}
    return Settings(universe=UniverseSettings(**{**defaults, **universe}))  # type: ignore[arg-type]


def rows(symbol: str, count: int = 100, close: float = 10.0, volume: float = 1000.0, start: int = 0) -> list[dict[str, object]]:
    return [bar(symbol, DAYS[n], close, volume) for n in range(start, start + count)]


def store(folder: Path, content: Load) -> Warehouse:
    warehouse = Warehouse(folder / "kobe.duckdb")
    replace_all(warehouse, content, "files", "files", "print", NOON)
    return warehouse


def with_candidates(content: Load, *symbols: str) -> Load:
    return Load(content.bars, content.splits, pd.DataFrame({"symbol": list(symbols)}), content.options)


def reasons(universe: pd.DataFrame) -> dict[str, str | None]:
    return dict(zip(universe["symbol"], universe["reason"], strict=True))


def test_evidence_is_what_the_last_sixty_bars_and_the_life_say(tmp_path: Path) -> None:
    content = [*rows("A", 40, 10.0, 9e9), *rows("A", 60, 20.0, 500.0, start=40)]
    row = build_universe(store(tmp_path, load(content)), wanted()).iloc[0]
    assert (row["sessions"], row["adv_shares"], row["adv_usd"], row["rank"]) == (100, 500.0, 10_000.0, 1)
    assert (row["first_session"].date(), row["last_session"].date()) == (DAYS[0], DAYS[99])
    assert row["years"] == pytest.approx((DAYS[99] - DAYS[0]).days / 365.25)


def test_every_rejected_candidate_has_its_first_reason(tmp_path: Path) -> None:
    content = load(
        [*rows("OLD", 300), *rows("YOUNG", 50), *rows("NOOPT", 300), *rows("ASKED", 300), *rows("THIN", 300, volume=1.0),
         *rows("BIG", 300, volume=9000.0), *rows("TIE2", 300), *rows("TIE1", 300)],
        options={"OLD": True, "YOUNG": False, "NOOPT": False, "THIN": True, "BIG": True, "TIE1": True, "TIE2": True},
    )  # fmt: skip
    names = ("OLD", "YOUNG", "NOOPT", "ASKED", "THIN", "BIG", "TIE1", "TIE2", "GHOST")
    settings = wanted(min_years=1.0, require_options=True, min_adv_usd=100.0, cap=3)
    universe = build_universe(store(tmp_path, with_candidates(content, *names)), settings)
    assert reasons(universe) == {
        "BIG": None, "OLD": None, "TIE1": None, "TIE2": "beyond_cap", "THIN": "too_illiquid", "ASKED": "options_unknown",
        "NOOPT": "no_options", "YOUNG": "too_few_years", "GHOST": "no_bars",
    }  # fmt: skip
    selected = universe[universe["selected"]]
    assert list(selected["symbol"]) == ["BIG", "OLD", "TIE1"]
    assert list(selected["rank"]) == [1, 2, 3]
    assert universe.loc[~universe["selected"], "rank"].isna().all()


def test_options_are_no_reason_where_they_are_not_asked_for(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load(rows("A"), options={"A": False}))
    assert reasons(build_universe(warehouse, wanted())) == {"A": None}
    assert reasons(build_universe(warehouse, wanted(require_options=True))) == {"A": "no_options"}


def test_a_quarantine_in_force_is_visible_and_takes_nobody_out(tmp_path: Path) -> None:
    jump = [*rows("A", 50, 10.0), *rows("A", 50, 4.0, start=50), *rows("B")]
    warehouse = store(tmp_path, load(jump))
    universe = build_universe(warehouse, wanted())
    assert reasons(universe) == {"A": "quarantined", "B": None}
    assert universe["selected"].all()
    assert reasons(build_universe(warehouse, wanted(release={"A": "checked by hand"})))["A"] == "released"


def test_an_empty_store_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(KobeError, match="no candidates: run `kobe bars refresh`"):
        build_universe(Warehouse(tmp_path / "kobe.duckdb"), wanted())


evidence_rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0.5, 5.0, 12.0]),
        st.sampled_from([None, True, False]),
        st.sampled_from([1.0, 50.0, 50.0, 900.0]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(evidence_rows, st.integers(1, 6) | st.none(), st.booleans(), st.randoms())
def test_selection_knows_no_row_order_and_leaves_nobody_without_a_word(rows: list, cap: int | None, ask: bool, chance) -> None:
    frame = pd.DataFrame(
        {
            "symbol": [f"S{n}" for n in range(len(rows))],
            "first_session": pd.NaT,
            "last_session": pd.NaT,
            "sessions": [row[0] for row in rows],
            "years": [row[1] if row[0] else None for row in rows],
            "adv_shares": 1.0,
            "adv_usd": [row[3] if row[0] else None for row in rows],
            "has_options": pd.array([row[2] for row in rows], dtype="boolean"),
        }
    )
    asked = wanted(min_years=5.0, min_adv_usd=10.0, cap=cap, require_options=ask).universe
    chosen = select(frame, asked)
    order = list(range(len(rows)))
    chance.shuffle(order)
    pd.testing.assert_frame_equal(select(frame.iloc[order].reset_index(drop=True), asked), chosen)
    assert (chosen["selected"] == chosen["reason"].isna()).all()
    assert list(chosen["rank"].dropna()) == list(range(1, int(chosen["selected"].sum()) + 1))
    assert cap is None or chosen["selected"].sum() <= cap
    good = [s and y >= 5 and (o is True or not ask) and usd >= 10 for s, y, o, usd in rows]
    assert chosen["selected"].sum() == min(sum(map(bool, good)), cap or 99)
    assert chosen.loc[chosen["selected"], "adv_usd"].is_monotonic_decreasing


def test_validation_believes_the_bars_and_not_the_table(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*rows("A", 500), *rows("B", 500), *rows("C", 20)]))
    asked = wanted(min_symbols=2, min_years=1.5)
    universe = build_universe(warehouse, asked)
    assert validate_universe(warehouse, asked).passed
    warehouse.replace({"universe": universe})
    assert validate_universe(warehouse, asked).passed
    forged = universe.assign(selected=True, years=20.0, sessions=5000, reason=None)
    warehouse.replace({"universe": forged})
    verdict = validate_universe(warehouse, asked)
    assert not verdict.passed
    assert (verdict.listed, verdict.holding, verdict.drifted) == (3, 2, 3)
    assert list(verdict.offenders["symbol"]) == ["C"]
    assert "too_few_years by their bars: C" in verdict.failures[0]


def test_validation_fails_when_the_bars_went_after_the_table_was_written(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*rows("A", 500), *rows("B", 500)]))
    asked = wanted(min_symbols=2, min_years=1.5)
    warehouse.replace({"universe": build_universe(warehouse, asked)})
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM daily_bars WHERE symbol = 'B' AND session < ?", [DAYS[300]])
    verdict = validate_universe(warehouse, asked)
    assert (verdict.passed, verdict.holding) == (False, 1)
    assert "1 symbols hold, 2 are wanted" in verdict.failures[0]


def test_the_sample_holds_at_its_own_bounds_and_not_above(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "kobe.duckdb")
    SampleVendor(DataSettings()).sync(warehouse)
    verdict = validate_universe(warehouse, wanted(min_symbols=4, min_years=8.0))
    assert (verdict.passed, verdict.holding) == (True, 4)
    assert verdict.shortest_years == pytest.approx(8.53, abs=0.01)
    assert not validate_universe(warehouse, wanted(min_symbols=4, min_years=9.0)).passed


# Point-in-time membership


def span_days(spans: pd.DataFrame, sessions: np.ndarray) -> set[tuple[str, dt.date]]:
    """Every (symbol, session) of the spans."""
    held = set()
    for symbol, since, until in spans.itertuples(index=False):
        last = sessions[-1] if pd.isna(until) else np.datetime64(until, "D")
        held |= {(symbol, day.item()) for day in sessions if np.datetime64(since, "D") <= day <= last}
    return held


def random_dollars(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    dollars = rng.lognormal(10, 1, (len(DAYS), 8)) * rng.lognormal(0, 1.5, 8)
    dollars[:, 0:4] *= np.exp(np.cumsum(rng.normal(0, 0.1, (len(DAYS), 4)), axis=0))
    dollars[300:, 5] = np.nan
    dollars[:200, 6] = np.nan
    dollars[rng.random(dollars.shape) < 0.01] = np.nan
    return np.array([f"S{n}" for n in range(8)], dtype=object), np.array(DAYS, dtype="datetime64[D]"), dollars


@pytest.mark.parametrize("cut", [90, 261, 262, 299, 300, 333, 519])
@pytest.mark.parametrize("future", ["cut off", "noise"])
def test_membership_reads_no_future(cut: int, future: str) -> None:
    symbols, sessions, dollars = random_dollars(3)
    asked = wanted(cap=3, membership_min_years=0.25).universe
    whole = span_days(membership_spans(symbols, sessions, dollars, asked), sessions)
    assert len({symbol for symbol, _ in whole}) > 3
    changed = dollars.copy()
    changed[cut:] = np.random.default_rng(8).lognormal(12, 2, changed[cut:].shape)
    end = cut if future == "cut off" else len(sessions)
    seen = span_days(membership_spans(symbols, sessions[:end], changed[:end], asked), sessions[:end])
    before = sessions[cut - 1].item()
    assert {held for held in seen if held[1] <= before} == {held for held in whole if held[1] <= before}


@pytest.mark.parametrize("seed", range(12))
def test_the_list_of_a_month_does_not_know_its_first_day(seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols, sessions = np.array(list("ABCDEFGH"), dtype=object), np.array(DAYS[:60], dtype="datetime64[D]")
    dollars = rng.lognormal(10, 1, (60, 8))
    begin = int(np.flatnonzero(sessions.astype("M8[M]") != sessions[0].astype("M8[M]"))[0])
    changed = dollars.copy()
    changed[begin:] = rng.lognormal(10, 4, changed[begin:].shape)
    asked = wanted(cap=4, membership_min_years=0.0).universe
    known, guessed = (span_days(membership_spans(symbols, sessions, each, asked), sessions) for each in (dollars, changed))
    day = sessions[begin].item()
    assert {symbol for symbol, session in known if session == day} == {symbol for symbol, session in guessed if session == day}
    assert len({symbol for symbol, session in known if session == day}) == 4


def test_a_cheating_membership_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from kobe_assets.selection import membership

    honest = membership._qualified
    monkeypatch.setattr(membership, "_qualified", lambda s, d, f, begin, w: honest(s, d, f, min(begin + 21, len(s)), w))
    with pytest.raises(AssertionError):
        test_membership_reads_no_future(300, "noise")


def test_members_are_chosen_at_month_begins_and_spans_neither_overlap_nor_touch() -> None:
    symbols, sessions, dollars = random_dollars(4)
    spans = membership_spans(symbols, sessions, dollars, wanted(cap=3, membership_min_years=0.25).universe)
    begins = {day for day, before in zip(sessions[1:], sessions, strict=False) if day.astype("M8[M]") != before.astype("M8[M]")}
    assert set(spans["from"].to_numpy().astype("datetime64[D]")) <= begins
    for _, group in spans.groupby("symbol"):
        ends = group["to"].to_numpy()[:-1]
        assert (group["from"].to_numpy()[1:] > ends).all()
        assert not pd.isna(ends).any()
    held = pd.DataFrame(list(span_days(spans, sessions)), columns=["symbol", "session"])
    assert held.groupby("session").size().max() == 3


def test_a_delisted_symbol_was_a_member_and_the_newcomer_becomes_one(tmp_path: Path) -> None:
    content = load([*rows("GONE", 300), *rows("NEW", 320, start=200), *rows("STAYS", 520), *rows("TINY", 520, volume=0.1)])
    asked = wanted(membership="point_in_time", membership_min_years=0.5, min_adv_usd=1000.0)
    warehouse = store(tmp_path, content)
    spans = build_membership(warehouse, asked).set_index("symbol")
    assert set(spans.index) == {"GONE", "NEW", "STAYS"}
    assert DAYS[299] <= spans.loc["GONE", "to"].date() <= DAYS[299] + dt.timedelta(days=45)
    assert spans.loc["NEW", "from"].date() >= DAYS[200] + dt.timedelta(days=182)
    assert pd.isna(spans.loc["STAYS", "to"])
    universe = build_universe(warehouse, asked)
    assert reasons(universe) == {"GONE": None, "NEW": None, "STAYS": None, "TINY": "never_member"}
    warehouse.replace({"universe": universe, "universe_membership": spans.reset_index()})
    assert warehouse.rows('SELECT count(*) FROM universe_membership WHERE "to" IS NULL') == [(2,)]
    verdict = validate_universe(warehouse, asked)
    assert (verdict.listed, verdict.holding) == (3, 2)


# The commands


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from kobe_jobs.cli.main import app

    monkeypatch.setenv("KOBE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_show_and_validate_speak_of_the_bars_after_a_refresh(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("bars", "refresh").exit_code == 0
    shown = cli("universe", "show", "--all").output
    assert "AAPL" in shown
    assert "too_few_years" in shown
    rows = json.loads(cli("universe", "show", "--json").output)
    assert {row["symbol"]: row["selected"] for row in rows} == {
        "AAPL": True,
        "GOOG": True,
        "MSFT": True,
        "IBM": True,
        "FB": False,
    }
    assert (rows[0]["first_session"], rows[0]["rank"], rows[0]["has_options"]) == ("2000-03-01", 1, None)
    Warehouse().replace({"universe": build_universe(Warehouse(), load_settings())})
    assert json.loads(cli("universe", "show", "--json").output) == rows
    good = cli("universe", "validate", "--json")
    assert (good.exit_code, json.loads(good.output)["passed"]) == (0, True)
    monkeypatch.setenv("KOBE_UNIVERSE__MIN_SYMBOLS", "5")
    bad = cli("universe", "validate")
    assert isinstance(bad.exception, UniverseRefused)
    assert bad.exception.exit_code == 1
    assert "4 symbols hold, 5 are wanted" in str(bad.exception)


def test_refresh_says_what_it_did_and_revisions_what_was_restated(cli, tmp_path: Path) -> None:
    first = json.loads(cli("bars", "refresh", "--json").stdout)
    assert (first["added"], first["skipped"]) == (12154, False)
    assert "nothing was read" in cli("bars", "refresh").stdout
    assert "No bar was ever restated" in cli("bars", "revisions").output
    with Warehouse().transaction() as connection:
        connection.execute("UPDATE daily_bars SET volume = 1 WHERE symbol = 'FB' AND session = '2012-05-18'")
    assert "1 restated" in cli("bars", "refresh", "--force").stdout
    assert "FB" in cli("bars", "revisions").output
    (line,) = json.loads(cli("bars", "revisions", "--symbol", "FB", "--json").output)
    assert (line["session"], line["field"], line["old"]) == ("2012-05-18", "volume", 1.0)
    assert json.loads(cli("bars", "revisions", "--symbol", "IBM", "--json").output) == []
    with pytest.raises(UsageError, match="IBN has no stored bars \\(did you mean IBM\\?\\)"):
        raise cli("bars", "revisions", "--symbol", "IBN").exception
    now = dt.datetime.now(dt.UTC).isoformat()
    assert cli("bars", "as-of", now, "--out", str(tmp_path / "out")).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bars.parquet", "kobe.toml", "splits.csv"]
    for moment in ("yesterday", "2999-01-01"):
        assert cli("bars", "as-of", moment, "--out", str(tmp_path / "other")).exception.exit_code == 2
    assert "kobe.toml is there already" in str(cli("bars", "as-of", now, "--out", str(tmp_path / "out")).exception)


def test_the_folder_of_a_past_moment_repeats_the_report_of_its_vendor(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("bars", "refresh")
    before = load_settings()
    out = str(tmp_path / 'the "old" $HOME, `pwd`')
    line = cli("bars", "as-of", dt.datetime.now(dt.UTC).isoformat(), "--out", out).output.splitlines()[-1]
    for name, value in (word.split("=") for word in shlex.split(line)[:-2]):
        monkeypatch.setenv(name, value)
    again = load_settings()
    assert again.data.vendor == "files"
    assert again.model_copy(update={"data": before.data}) == before
    assert "12154 added" in cli("bars", "refresh").output.replace(",", "")


@pytest.mark.parametrize("vendor", ["polygon", "alpaca"])
def test_the_committed_settings_of_a_vendor_are_valid_and_ask_for_950_symbols_and_ten_years(
    monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    monkeypatch.setenv("KOBE_CONFIG", str(PROJECT_ROOT / f"kobe.{vendor}.toml"))
    settings = load_settings()
    assert (settings.data.vendor, settings.universe.min_symbols, settings.universe.min_years) == (vendor, 950, 10)
    assert settings.universe.require_options
    assert settings.universe.min_adv_usd > 0


@pytest.mark.parametrize("ratio", [10.0, 1.25, 0.5])
@pytest.mark.parametrize("listed", [50, 70])
def test_a_split_listed_on_the_wrong_day_keeps_its_symbol_out(tmp_path: Path, ratio: float, listed: int) -> None:
    """The price splits on day 60; a few percent of an ordinary move are no jump."""
    own = rows("A", 60, 10.0 * ratio, 1000.0) + rows("A", 60, 10.0, 1000.0 * ratio, start=60)
    content = load([*own, *rows("B", 120)])
    wrong = store(tmp_path / "wrong", content)
    wrong.rows(f"INSERT INTO splits VALUES ('A', DATE '{DAYS[listed]}', 1, {ratio}, 'x')")
    assert reasons(build_universe(wrong, wanted()))["A"] == "misdated_split"
    right = store(tmp_path / "right", content)
    right.rows(f"INSERT INTO splits VALUES ('A', DATE '{DAYS[60]}', 1, {ratio}, 'x')")
    assert reasons(build_universe(right, wanted()))["A"] is None


def test_a_split_listed_twice_three_weeks_apart_keeps_its_symbol_out(tmp_path: Path) -> None:
    own = rows("A", 60, 12.5, 800.0) + rows("A", 60, 10.0, 1000.0, start=60)
    warehouse = store(tmp_path, load([*own, *rows("B", 120)]))
    warehouse.rows(f"INSERT INTO splits VALUES ('A', DATE '{DAYS[60]}', 4, 5, 'x'), ('A', DATE '{DAYS[75]}', 4, 5, 'x')")
    assert reasons(build_universe(warehouse, wanted()))["A"] == "misdated_split"


@pytest.mark.parametrize(("later", "reason"), [(10.0, "misdated_split"), (2.0, None)])
def test_a_split_listed_again_at_another_ratio_keeps_its_symbol_out(tmp_path: Path, later: float, reason: str | None) -> None:
    """Two splits that the price shows, however near each other, are two splits."""
    between = rows("A", 5, 10.0, 1000.0, start=60)
    own = [*rows("A", 60, 100.0, 100.0), *between, *rows("A", 60, later, 1000.0, start=65)]
    warehouse = store(tmp_path, load([*own, *rows("B", 125)]))
    again = f"('A', DATE '{DAYS[65]}', 1, 5, 'x')"
    warehouse.rows(f"INSERT INTO splits VALUES ('A', DATE '{DAYS[60]}', 1, 10, 'x'), {again}")
    assert reasons(build_universe(warehouse, wanted()))["A"] == reason


def test_a_ticker_that_another_company_bears_now_has_the_years_of_that_company(tmp_path: Path) -> None:
    content = load([*rows("A", 300), *rows("A", 200, start=311), *rows("B", 511)])
    asked = wanted(membership="point_in_time", membership_min_years=0.9)
    spans = build_membership(store(tmp_path, content), asked)
    mine = spans[spans["symbol"] == "A"]
    assert len(mine) == 1, "the second company is too young"
    assert mine["to"].iloc[0].date() < DAYS[330]
    assert spans[spans["symbol"] == "B"]["to"].isna().all()


def test_the_last_bars_of_each_symbol_decide_its_quarantine_as_all_of_them_do(tmp_path: Path) -> None:
    content: list[dict[str, object]] = []
    for ago in (1, 2, 199, 200, 201, 202, 203, 400):
        jump = 450 - ago
        content += [*rows(f"J{ago}", jump), *rows(f"J{ago}", ago, close=3.0, start=jump)]
    # Gaps make fewer bars of the same days: its last ones reach further back than the others' do.
    seldom = [DAYS[n] for n in range(0, 520, 8)]
    content += [bar("SELDOM", day, 10.0 if n < 20 else 3.0, 1000.0) for n, day in enumerate(seldom)]
    content += [*rows("ENDED", 240), *rows("ENDED", 30, close=3.0, start=240)]
    warehouse = store(tmp_path, load(content))
    whole = {name for bars in read_bar_tables(warehouse) for name in in_quarantine(bars, suspects(bars))}
    forget_bar_tables()
    fewer = list(read_bar_tables(warehouse, last_bars=DECISIVE_BARS))
    assert sum(len(bars.symbol) for bars in fewer) < len(content)
    assert {name for bars in fewer for name in in_quarantine(bars, suspects(bars))} == whole
    assert {"J1", "J201", "ENDED", "SELDOM"} <= whole
    assert not whole & {"J202", "J400"}
    check_bars(warehouse, load_settings())
    assert eligibility._held[0][1] == whole, "what the checks found on their way"
    assert eligibility._held_symbols(warehouse) is eligibility._held[0][1]
    with warehouse.transaction() as connection:
        connection.execute("UPDATE daily_bars SET volume = volume + 1 WHERE symbol = 'J1'")
    assert eligibility._held_symbols(warehouse) is not eligibility._held[0][1], "found for other bars"
