"""What may pass the door of the Dagster UI, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.ops.ui.guard import FIRST_PAGE, GROUPS, refusal, way_in
from kobe_resources.runtime.report_site import listen_on, report_link, serving_reports
from kobe_resources.settings.models import Settings

JSON = {"content-type": "application/json; charset=utf-8"}


def scope(
    path: str = "/graphql", method: str = "POST", kind: str = "http", query: bytes = b"", **headers: str
) -> dict[str, Any]:
    given = {"host": "127.0.0.1:3000", **headers}
    return {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
    }


@pytest.mark.parametrize(
    "allowed",
    [
        scope(**JSON),
        scope(**JSON, origin="http://127.0.0.1:3000"),
        scope(**JSON, host="localhost:3000", origin="http://localhost:3000"),
        scope("/assets/kpi_report", "GET"),
        scope("/graphql", "GET"),
        scope("/graphql", "HEAD"),
        scope(kind="websocket", origin="http://127.0.0.1:3000"),
    ],
)
def test_own_pages_and_programs_pass(allowed: dict[str, Any]) -> None:
    assert refusal(allowed) == ""


@pytest.mark.parametrize(
    "refused",
    [
        scope(**JSON, origin="http://evil.example"),
        scope(**JSON, origin="null"),
        scope(**JSON, origin="https://127.0.0.1:3000"),
        scope(**JSON, origin="http://127.0.0.1:3070"),
        scope(**JSON, host="evil.example"),
        scope(**JSON, host="127.0.0.1.evil.example:3000"),
        scope(**JSON, host="evil@localhost.example"),
        scope(**JSON, host=""),
        scope(**JSON, host="[::1"),
        scope("/graphql", "GET", query=b"query=mutation{x}"),
        scope("/graphql", "HEAD", query=b"query=mutation{x}", **{"content-type": "application/json"}),
        scope("/prefix/graphql/", "GET", query=b"query=mutation{x}"),
        scope("/graphql", "POST", query=b"query=mutation{x}"),
        scope("/graphql", "POST", **{"content-type": "text/plain; application/json"}),
        scope("/graphql", "POST", **{"content-type": "application/graphql"}),
        scope("/report_asset_materialization/signals", origin="http://evil.example"),
        scope(kind="websocket", origin="http://evil.example"),
    ],
)
def test_what_a_foreign_page_could_send_does_not(refused: dict[str, Any]) -> None:
    assert refusal(refused)


def test_the_first_page_is_the_lineage() -> None:
    assert way_in("/") == FIRST_PAGE
    assert way_in("/runs") == way_in("/reportsx") == way_in("/asset-groups") == ""
    from kobe_jobs.definitions import build_definitions

    specs = build_definitions(Settings()).resolve_all_asset_specs()
    assert {spec.group_name for spec in specs} == set(GROUPS)


def test_a_report_link_follows_the_port_that_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    ports = []
    for _ in range(2):
        with serving_reports(listen_on(0, "")) as url:
            assert way_in(report_link("kpi_report.html")) == f"{url}kpi_report.html"
            assert way_in("/reports") == way_in("/reports/") == url
            ports.append(url)
    assert way_in("/reports//evil.example/x").startswith("http://127.0.0.1:")
