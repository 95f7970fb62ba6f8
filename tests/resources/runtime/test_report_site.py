"""The report server gives the reports to this machine, and nothing else to anybody."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobe_resources.runtime.report_site import DEFAULT_PORT, PortBusy, listen_on, recorded_port, report_url, serving_reports


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "reports" / "trades").mkdir(parents=True)
    (home / "reports" / "kpi_report.html").write_text("<!doctype html>the report")
    (home / "reports" / "trades" / "1.html").write_text("a trade")
    (home / "kobe.duckdb").write_text("PRIVATE")
    (home / "reports" / "link.html").symlink_to(home / "kobe.duckdb")
    (home / "backtests" / "my idea").mkdir(parents=True)
    (home / "backtests" / "my idea" / "backtest.html").write_text("one run")
    (home / "backtests" / "away").symlink_to(home / "away")
    (home / "away").mkdir()
    (home / "away" / "backtest.html").write_text("PRIVATE")
    (home / "reports-old").mkdir()
    (home / "reports-old" / "x.html").write_text("PRIVATE")
    monkeypatch.setenv("KOBE_HOME", str(home))
    return home


@pytest.fixture
def port(home: Path) -> Iterator[int]:
    with serving_reports(listen_on(0, "")) as url:
        yield int(url.rstrip("/").rpartition(":")[2])


def ask(port: int, target: str, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, str, str]:
    """Status, headers and body, with the target sent exactly as given: a client would tidy it up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body.decode("utf-8", "replace")


def test_reports_are_served_with_guarding_headers(port: int) -> None:
    status, head, body = ask(port, "/kpi_report.html")
    assert (status, body) == (200, "<!doctype html>the report")
    assert "text/html" in head
    assert "nosniff" in head
    assert "default-src 'self'" in head
    assert ask(port, "/trades/1.html")[2] == "a trade"


def test_the_pages_of_backtests_are_listed_and_served(home: Path, port: int) -> None:
    listed = ask(port, "/")[2]
    assert '<a href="/backtests/my%20idea/backtest.html">my idea</a> made ' in listed
    assert ask(port, "/backtests/my%20idea/backtest.html")[2] == "one run"
    assert "away" not in listed
    (home / "backtests" / "my idea" / "backtest.html").unlink()
    assert "Backtests" not in ask(port, "/")[2]


OUTSIDE = (
    "/../kobe.duckdb",
    "/..%2fkobe.duckdb",
    "/%2e%2e/kobe.duckdb",
    "/%2e%2e%2fkobe.duckdb",
    "/trades/../../kobe.duckdb",
    "/trades/..%2f..%2fkobe.duckdb",
    "/..%5ckobe.duckdb",
    "/../reports-old/x.html",
    "/%2e%2e/reports-old/x.html",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/kpi_report.html%00.png",
    "/link.html",
    "/backtests/away/backtest.html",
    "/backtests/../kobe.duckdb",
    "/backtests/%2e%2e/kobe.duckdb",
    "/%252e%252e/kobe.duckdb",
)


def test_nothing_outside_the_folder_can_be_reached(port: int) -> None:
    for target in OUTSIDE:
        status, _, body = ask(port, target)
        assert status in (400, 404, 405), target
        assert "PRIVATE" not in body, target
        assert "root:" not in body, target


def test_a_foreign_host_name_is_refused(port: int) -> None:
    assert ask(port, "/kpi_report.html", host="evil.example")[0] == 400
    assert ask(port, "/", host="evil.example")[0] == 400
    assert ask(port, "/", host="localhost:1")[0] == 200


def test_the_report_site_answers_no_other_method_than_get_and_head(port: int) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert ask(port, "/kpi_report.html", method=method)[0] == 405


def test_a_hostile_file_name_stays_text_in_the_listing(home: Path, port: int) -> None:
    (home / "reports" / "<script>alert(1)<.html").write_text("x")
    _, _, body = ask(port, "/")
    assert "<script>" not in body
    assert "&lt;script&gt;" in body
    assert "kpi_report.html" in body


def test_without_reports_the_listing_names_the_command(home: Path, tmp_path: Path) -> None:
    with serving_reports(listen_on(0, ""), tmp_path / "none") as url:
        assert "kobe report" in ask(int(url.rstrip("/").rpartition(":")[2]), "/")[2]


def test_it_listens_on_loopback_only(home: Path) -> None:
    listener = listen_on(0, "")
    assert listener.getsockname()[0] == "127.0.0.1"
    listener.close()


def test_a_busy_port_is_one_line_with_the_mend() -> None:
    with listen_on(0, "") as taken, pytest.raises(PortBusy, match="--report-port"):
        listen_on(taken.getsockname()[1], "name another with --report-port")


def test_the_port_is_remembered_for_links(home: Path) -> None:
    assert report_url("kpi_report.html") == f"http://127.0.0.1:{DEFAULT_PORT}/kpi_report.html"
    with serving_reports(listen_on(0, "")) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
    assert report_url("a b.html") == f"http://127.0.0.1:{port}/a%20b.html"


@pytest.mark.parametrize("content", ["", "[]", '{"port": "x"}', '{"port": 99999999}', "\udcff"])
def test_a_damaged_record_means_the_default_port(home: Path, content: str) -> None:
    (home / "report_site.json").write_text(content, errors="surrogateescape")
    assert recorded_port() == DEFAULT_PORT


def test_the_record_is_plain_json(home: Path, port: int) -> None:
    assert json.loads((home / "report_site.json").read_text()) == {"port": port}


def test_the_index_says_when_each_page_was_made_newest_first(home: Path, port: int) -> None:
    old, new = home / "reports" / "kpi_report-0a.html", home / "reports" / "kpi_report.html"
    old.write_text("older")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    os.utime(new, (1_700_000_600, 1_700_000_600))
    listed = ask(port, "/")[2]
    assert "kpi_report.html</a> made 2023-11-14 22:23:20 UTC" in listed
    assert listed.index("22:23:20 UTC") < listed.index("kpi_report-0a.html</a> made 2023-11-14 22:13:20 UTC")


def report(
    folder: Path, name: str, made: float, bps: float, levels: list[float], verdict: str = "does not deserve money"
) -> None:
    """A page with nothing but its summary."""
    book = {
        "title": "rsi2 · fixed parameters", "verdict": verdict, "passed": 11 if verdict.startswith("worth") else 5, "gates": 11,
        "trades": 1234, "figures": [["Sharpe ratio", f"{bps / 10:.2f}"]],
        "curve": {"days": ["2020-01-02", "2020-01-03", "2020-01-06"], "growth": levels},
    }  # fmt: skip
    summary = {
        "headline": "None of <these>.", "vendor": "sample", "first": "2000-01-03", "last": "2020-01-06", "books": [book],
        "settings": {"costs.slippage_bps": bps, "strategy.rsi_entry": 10.0}, "versions": {"numpy": "2"},
    }  # fmt: skip
    text = json.dumps(summary).replace("<", "\\u003c")
    (folder / name).write_text(f'<!doctype html><script type="application/json" id="summary">{text}</script>')
    os.utime(folder / name, (made, made))


@pytest.fixture
def reports(home: Path) -> Path:
    folder = home / "reports"
    report(folder, "kpi_report-aa.html", 1_700_000_000, 5, [1.0, 1.1, 1.2], "worth a trial on paper")
    report(folder, "kpi_report-bb.html", 1_700_000_100, 10, [1.0, 0.9, 0.95])
    report(folder, "kpi_report.html", 1_700_000_101, 10, [1.0, 0.9, 0.95])
    return folder


def test_the_index_shows_verdict_vendor_span_and_the_settings_that_differ(reports: Path, port: int) -> None:
    listed = ask(port, "/")[2]
    rows = listed.split("<tbody>")[1].split("</tr>")
    assert "kpi_report.html</a> made" in rows[0]
    assert "the latest, kept as kpi_report-bb.html" in rows[0]
    assert "None of &lt;these&gt;." in rows[0]
    assert all(text in rows[1] for text in ("kpi_report-aa.html", "worth a trial: rsi2", "sample", "2000-01-03 to 2020-01-06"))
    assert "costs.slippage_bps = 10" in rows[0]
    assert "costs.slippage_bps = 5" in rows[1]
    assert "rsi_entry" not in listed
    assert listed.count("<tr>") == 3


def test_the_index_sorts_by_every_column_both_ways(reports: Path, port: int) -> None:
    def first(sort: str) -> str:
        return ask(port, f"/?sort={sort}")[2].split('<a href="/kpi')[1].split('"')[0]

    assert [first("made"), first("-made")] == ["_report.html", "_report-aa.html"]
    assert [first("verdict"), first("-verdict")] == ["_report-aa.html", "_report.html"]
    assert [first("settings"), first("-settings")] == ["_report.html", "_report-aa.html"]
    assert 'aria-sort="descending"' in ask(port, "/?sort=made")[2]
    assert first("<script>") == "_report.html"


def test_two_reports_stand_beside_each_other_with_their_curves_in_one_drawing(reports: Path, port: int) -> None:
    page = ask(port, "/compare?first=kpi_report-aa.html&second=kpi_report-bb.html")[2]
    assert page.count("<svg") == 1
    one, two = (page.split(f'<path class="{mark}" d="M')[1].split('"')[0] for mark in ("one", "two"))
    heights = [[float(point.split()[1]) for point in line.split(" L")] for line in (one, two)]
    assert heights[0] == sorted(heights[0], reverse=True)
    assert heights[1][1] > heights[1][2] > heights[1][0] == heights[0][0]
    cells = page.split("Sharpe ratio</th>")[1]
    assert cells.startswith('<td class="num one">0.50</td><td class="num two">1.00</td>')
    assert 'costs.slippage_bps</th><td class="num one">5</td><td class="num two">10</td>' in page
    assert "strategy.rsi_entry" not in page


@pytest.mark.parametrize(
    "asked", ["", "?first=kpi_report-aa.html&second=kpi_report-aa.html", "?first=../x&second=%3Cscript%3E"]
)
def test_a_comparison_of_what_is_not_there_says_what_to_choose(reports: Path, port: int, asked: str) -> None:
    status, _, page = ask(port, f"/compare{asked}")
    assert status == 200
    assert "Choose two reports" in page
    assert "<script>" not in page
