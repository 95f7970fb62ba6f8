"""Every doubt about the stored bars is a row of one list, worst first, with what it does and the mend."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kobe_assets.checks.doctor import diagnose
from kobe_assets.checks.doubt_rows import READERS
from kobe_assets.checks.findings import FINDINGS
from kobe_assets.checks.seen import Mends
from kobe_assets.checks.split_ratio import split_like
from kobe_assets.graph.doubts import HARMLESS, IDLE, WRONG, Doubt, doctor_rows, keep_doubts
from kobe_jobs.cli.main import app
from kobe_resources.market_data.set_aside import UNFINISHED, aside_rows
from kobe_resources.market_data.store import replace_all
from kobe_resources.settings.models import DataSettings, Settings, UniverseSettings
from kobe_resources.warehouse.store import Warehouse
from tests.assets.checks.test_bars import store
from tests.support.builders.frames import NOON, bar, days, load

pytestmark = pytest.mark.usefixtures("warehouses_stay_open")

DAYS = days(300)
FILES = Settings(data=DataSettings(vendor="files"))


def moving(symbol: str, count: int = 120) -> list[dict[str, object]]:
    """A quiet stock whose price moves a little every day."""
    return [bar(symbol, DAYS[n], 10.0 + 0.1 * (n % 7), 1000.0 + n) for n in range(count)]


def scaled(rows: list[dict[str, object]], places: range, price: float, volume: float) -> list[dict[str, object]]:
    for place in places:
        for name in ("open", "high", "low", "close"):
            rows[place][name] = float(rows[place][name]) * price  # type: ignore[arg-type]
        rows[place]["volume"] = float(rows[place]["volume"]) * volume  # type: ignore[arg-type]
    return rows


def doubts(warehouse: Warehouse, settings: Settings = FILES) -> list[Doubt]:
    return diagnose(warehouse, settings, NOON)


def test_sound_bars_leave_no_doubt(tmp_path: Path) -> None:
    assert doubts(store(tmp_path, load([*moving("A"), *moving("B")]))) == []


def test_every_check_of_bars_has_its_rows() -> None:
    assert READERS.keys() == FINDINGS.keys()


def test_a_jump_that_a_split_explains_names_the_split_and_its_line(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*scaled(moving("A"), range(60, 120), 0.1, 10.0), *moving("B")]))
    (found,) = doubts(warehouse)
    assert (found.kind, found.symbol, found.session) == ("missing split", "A", DAYS[60])
    assert "like a split 10 for 1" in found.seen
    assert f"add A,{DAYS[60]},1,10 to splits.csv" in found.mend
    assert "no signals for 200 bars" in found.effect
    warehouse.rows("INSERT INTO splits VALUES ('A', $day, 1, 10, 'files')".replace("$day", f"DATE '{DAYS[60]}'"))
    assert doubts(warehouse) == [], "entered, it is mended"


@pytest.mark.parametrize(
    ("listed", "mends"),
    [
        # The wrong way round; another ratio; both ways; days early and late.
        ([(60, 10, 1)], ["write A,{60},1,10 in splits.csv instead of its row of {60}"]),
        ([(60, 1, 2)], ["write A,{60},1,10 in splits.csv instead of its row of {60}"]),
        ([(60, 1, 10), (60, 10, 1)], ["write A,{60},1,10 in splits.csv instead of its row of {60}"]),
        ([(58, 1, 10)], ["write A,{60},1,10 in splits.csv instead of its row of {58}", "take the row of A of {58} out"]),
        ([(70, 1, 10)], ["write A,{60},1,10 in splits.csv instead of its row of {70}", "take the row of A of {70} out"]),
    ],
)
def test_a_jump_beside_a_split_that_is_listed_wrongly_names_its_row(
    tmp_path: Path, listed: list[tuple[int, int, int]], mends: list[str]
) -> None:
    warehouse = store(tmp_path, load([*scaled(moving("A"), range(60, 120), 0.1, 10.0), *moving("B")]))
    for day, before, after in listed:
        warehouse.rows(f"INSERT INTO splits VALUES ('A', DATE '{DAYS[day]}', {before}, {after}, 'files')")
    wrong = [row.mend for row in doubts(warehouse) if row.kind == "wrong split"]
    days = {str(day): str(DAYS[day]) for day in (58, 60, 70)}
    wanted = [re.sub(r"\{(\d+)\}", lambda found: days[found[1]], words) for words in mends]
    assert len(wrong) == len(wanted)
    assert all(any(mend.startswith(words) for mend in wrong) for words in wanted)
    assert not any("add A," in row.mend for row in doubts(warehouse)), "it would be there twice"


@pytest.mark.parametrize(
    ("ratio", "shares", "text"),
    [
        (0.1, 10.0, "10 for 1"),
        (0.5, 2.0, "2 for 1"),
        (2 / 3, 1.5, "3 for 2"),
        (8.0, 1 / 8, "1 for 8"),
        (0.1, 1.0, None),
        (4.0, 1.0, None),
        (0.137, 7.3, None),
        (0.97, 1.0, None),
        (0.1, 0.0, None),
        # The day's own move of a stock that moves much; of a split that hardly a company does it explains less.
        (0.25 * 1.06, 5.8, "4 for 1"),
        (10.0 / 1.07, 0.08, "1 for 10"),
        (0.25 * 1.1, 4.0, None),
        # More than half of the way to twice the shares, and less.
        (0.5, 1.5, "2 for 1"),
        (0.5, 1.2, None),
    ],
)
def test_a_split_is_what_shares_follow(ratio: float, shares: float, text: str | None) -> None:
    found = split_like(ratio, shares * 1e6, 1e6)
    assert (found.text if found else None) == text


def test_a_misprint_is_no_split(tmp_path: Path) -> None:
    rows = scaled(moving("A"), range(60, 61), 4.0, 1.0)
    found = doubts(store(tmp_path, load([*rows, *moving("B")])))
    assert [row.kind for row in found] == ["suspect jump", "suspect jump"], "there and back"
    assert 'if it is true: [universe] release.A = "why"' in found[0].mend


def test_a_block_in_another_unit_is_no_split_though_shares_follow(tmp_path: Path) -> None:
    rows = scaled(moving("A"), range(60, 90), 0.1, 10.0)
    found = sorted(doubts(store(tmp_path, load([*rows, *moving("B")]))), key=lambda row: str(row.session))
    assert [(row.kind, row.session) for row in found] == [("suspect jump", DAYS[60]), ("suspect jump", DAYS[90])]
    assert f"taken back on {DAYS[90]}" in found[0].seen
    assert "taken back" not in found[1].seen


def test_an_odd_split_shows_how_to_enter_it_either_way(tmp_path: Path) -> None:
    rows = scaled(moving("A"), range(60, 120), 1 / 1.31, 1.0)
    (found,) = doubts(store(tmp_path, load([*rows, *moving("B")])))
    assert found.kind == "silent fall"
    assert f"A,{DAYS[60]},1,1.297" in found.mend
    assert f"A,{DAYS[60]},AMOUNT in dividends.csv" in found.mend


def test_what_traded_over_a_doubt_is_counted_and_comes_first(tmp_path: Path) -> None:
    small = scaled(moving("A"), range(60, 120), 0.6, 1.0)
    large = scaled(moving("B"), range(60, 120), 0.01, 1.0)
    warehouse = store(tmp_path, load([*small, *large, *moving("C")]))
    trade = "('rsi2', 'canonical', 1, 'rsi2', 'A', 'long', $s, $s, 10, $e, 6, 'stop', 1, 1, 0, 0, -400, 5, 0, 0)"
    values = trade.replace("$s", f"DATE '{DAYS[58]}'").replace("$e", f"DATE '{DAYS[61]}'")
    warehouse.rows(f"INSERT INTO wf_trades VALUES {values}")
    first, second = doubts(warehouse)
    assert (first.symbol, first.trades, first.pnl) == ("A", 1, -400.0)
    assert (second.symbol, second.trades) == ("B", 0)


def test_one_that_may_not_trade_moves_nothing_and_comes_last(tmp_path: Path) -> None:
    worst, lesser = scaled(moving("A"), range(60, 120), 0.01, 1.0), scaled(moving("B"), range(60, 120), 0.6, 1.0)
    warehouse = store(tmp_path, load([*worst, *lesser]))
    warehouse.rows("INSERT INTO universe (symbol, selected) VALUES ('A', FALSE), ('B', TRUE)")
    first, second = doubts(warehouse)
    assert (first.symbol, first.rank) == ("B", WRONG)
    assert (second.symbol, second.rank, second.effect) == ("A", WRONG + IDLE, "none now: A is not in the universe")


def test_a_released_symbol_counts_as_real(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*scaled(moving("A"), range(60, 120), 0.5, 1.0), *moving("B")]))
    settings = FILES.model_copy(update={"universe": UniverseSettings(release={"A": "a crash"})})
    (found,) = doubts(warehouse, settings)
    assert (found.rank, found.kind) == (HARMLESS, "suspect bar, released")
    assert "released: a crash" in found.seen


def test_a_feed_that_stood_still_is_named(tmp_path: Path) -> None:
    rows = moving("A")
    for place in range(61, 66):
        rows[place] = {**rows[60], "session": rows[place]["session"]}
    (found,) = doubts(store(tmp_path, load([*rows, *moving("B")])))
    assert (found.kind, found.session, found.until) == ("repeated prices", DAYS[60], DAYS[65])
    assert found.seen.startswith("6 bars in a row")


def test_rows_set_aside_say_what_kind_they_are(tmp_path: Path) -> None:
    aside = aside_rows(
        [
            ("B", DAYS[2], "3 of 9 bars of B lie on days that were no session: its dates look a day early", None, {}),
            ("C", DAYS[2], UNFINISHED, None, {}),
            ("D", DAYS[3], "high is under low", 7, {"high": 1}),
            ("e", None, "e is read as E", None, {}),
        ]
    )
    content = load(moving("A"))
    warehouse = Warehouse(tmp_path / "kobe.duckdb")

    replace_all(warehouse, replace(content, aside=aside), "files", "files", "print", NOON)
    found = {row.kind: row for row in doubts(warehouse)}
    assert found.keys() == {"a day early", "unfinished bars", "set-aside rows", "read otherwise"}
    assert "count" in found["read otherwise"].effect, "its rows are stored"
    assert found["set-aside rows"].seen == "1 × high is under low, line 7"
    warehouse.rows("INSERT INTO universe (symbol, selected) VALUES ('A', true)")
    found = {row.kind: row for row in doubts(warehouse)}
    assert found["a day early"].effect.startswith("the symbol is left out"), "it may not trade since nothing of it is stored"


def test_the_mend_lies_where_the_bars_come_from(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*scaled(moving("A"), range(60, 120), 0.1, 10.0), *moving("B")]))
    found = {row.kind: row for row in doubts(warehouse, Settings(data=DataSettings(vendor="polygon")))}
    assert "asks polygon again" in found["missing split"].mend
    assert found["stale bars"].mend == "`kobe bars refresh`"


@pytest.mark.parametrize(
    ("vendor", "mend"), [("files", "refresh --force"), ("polygon", "--symbol A"), ("alpaca", "--symbol A")]
)
@pytest.mark.parametrize("spoiled", ["high = close - 0.01", "volume = -1"])
def test_an_impossible_bar_is_asked_for_again_as_its_source_gives_it(
    tmp_path: Path, vendor: str, mend: str, spoiled: str
) -> None:
    warehouse = store(tmp_path, load([*moving("A"), *moving("B")]))
    warehouse.rows(f"UPDATE daily_bars SET {spoiled} WHERE symbol = 'A' AND session = $day", {"day": DAYS[60]})
    found = {row.kind: row for row in doubts(warehouse, Settings(data=DataSettings(vendor=vendor)))}  # type: ignore[arg-type]
    assert mend in found["impossible bar"].mend


@pytest.mark.parametrize(("vendor", "mend"), [("files", "load raw prices, or list the split"), ("alpaca", "--symbol A`")])
def test_a_history_restated_by_one_factor_is_mended_where_it_comes_from(vendor: str, mend: str) -> None:
    row = {"change": "restated", "what": "bars", "symbol": "A", "rows": 5, "one_factor": True, "factor": 0.25}
    (seen,) = READERS["restated_bars"]({**row, "session": DAYS[0], "until": DAYS[4]}, Mends(vendor))
    assert mend in seen.mend


def test_the_page_gets_the_rows_that_the_checks_kept(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*scaled(moving("A"), range(60, 120), 0.1, 10.0), *moving("B")]))
    found = doubts(warehouse)
    with warehouse.transaction() as connection:
        keep_doubts(connection, found)
    details = doctor_rows(warehouse)
    assert details["count"] == 1
    assert details["rows"][0]["mend"] == found[0].mend


def test_the_command_prints_a_table_or_all_of_it_as_json(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_DATA__VENDOR", "files")
    store(home, load([*scaled(moving("A"), range(60, 120), 0.1, 10.0), *moving("B")]))
    shown = CliRunner().invoke(app, ["bars", "doctor"])
    assert shown.exit_code == 0, shown.output
    assert "missing split" in shown.stdout
    assert "1 doubts: 1 missing split" in shown.stdout
    (row,) = json.loads(CliRunner().invoke(app, ["bars", "doctor", "--json"]).stdout)
    assert (row["symbol"], row["session"], row["kind"]) == ("A", str(DAYS[60]), "missing split")


@pytest.mark.parametrize(("ratio", "kind"), [(1.31, "silent rise"), (1 / 1.31, "silent fall")])
@pytest.mark.parametrize("at", [13, 60, 119])
def test_a_quiet_move_of_many_usual_days_is_told_in_either_direction(tmp_path: Path, ratio: float, kind: str, at: int) -> None:
    rows = scaled(moving("A"), range(at, 120), ratio, 1.0)
    (found,) = doubts(store(tmp_path, load([*rows, *moving("B")])))
    assert (found.kind, found.symbol, found.session) == (kind, "A", DAYS[at])


def test_a_leap_into_another_volume_is_doubted_as_another_company(tmp_path: Path) -> None:
    rows = scaled(moving("A"), range(60, 120), 2.5, 9.0)
    (found,) = doubts(store(tmp_path, load([*rows, *moving("B")])))
    assert (found.kind, found.symbol, found.session) == ("another company?", "A", DAYS[60])
    assert found.seen.startswith("close × 2.524, and from that day on other shares are usual")


def test_dividends_beyond_reason_are_named(tmp_path: Path) -> None:
    warehouse = store(tmp_path, load([*moving("A"), *moving("B")]))
    paid = ", ".join(f"('A', DATE '{DAYS[n]}', 0.6, 'regular', NULL, 'x')" for n in (20, 50, 80))
    warehouse.rows(f"INSERT INTO dividends VALUES {paid}, ('B', DATE '{DAYS[20]}', 0.6, 'regular', NULL, 'x')")
    found = [row for row in doubts(warehouse) if row.kind == "high dividends"]
    assert [(row.symbol, row.session) for row in found] == [("A", DAYS[20])]
    assert found[0].seen.startswith("3 dividends in a year are 17% of the price") or "18%" in found[0].seen
