"""What others wrote is shown as it is: as no markup, no emoji, no control of the terminal."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table

from kobe_jobs.cli import output
from kobe_jobs.cli.output import table_of
from kobe_jobs.cli.screen import Screen, printable, warn_of
from kobe_resources.findings import Finding

JOBS = Path(__file__).parents[3] / "kobe_jobs"
STRANGE = ["[/x]", "[bold]x", "[link=http://evil]x[/link]", "[", ":stop_sign:", "x\\", "[red]a[/blue]"]


@pytest.mark.parametrize("text", STRANGE)
def test_text_is_no_markup_in_lines_tables_and_titles(text: str) -> None:
    screen = Screen(file=io.StringIO(), width=200)
    table = Table("head", title=text)
    table.add_row(text)
    screen.print(table)
    screen.print(text)
    screen.print(text, style="bold")
    assert isinstance(screen.file, io.StringIO)
    assert screen.file.getvalue().count(text) == 4


@pytest.mark.parametrize("text", ["\x1b[2Jx", "\x9b2J", "\ud800", "a\rb", "\u202egpj", "\x07", "\x7f"])
def test_text_steers_no_terminal(text: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    screen = Screen(file=stream, width=200)
    table = Table("head")
    table.add_row(text)
    screen.print(table)
    screen.print(text)
    screen.print_json(json.dumps({"id": text}))
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    said = stream.buffer.getvalue().decode()
    assert printable(text) in said
    assert not set("\x1b\x9b\r\x07\x7f\u202e") & set(said)


def test_orders_of_strangers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("symbol", "side", "state", "reason")
    row = {"client_order_id": "[/x]", "filled_avg_price": None, "filled_qty": 0, "detail": None} | dict.fromkeys(names, "[/y]")
    console = output.output()
    console.print(output.order_table(console, [row], names))
    said = capsys.readouterr().out
    assert "[/x]" in said
    assert said.count("[/y]") == 4


def test_health_tells_a_reason_with_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    from kobe_jobs.cli.commands import ops

    ops._print_checks([Finding("broker", False, "said [/x] \x1b[2J", seconds=0.1)])
    said = capsys.readouterr().out
    assert "[/x]" in said
    assert "\x1b" not in said


def test_kept_texts_hold_no_markup_of_the_kill_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from kobe_jobs.cli.main import app

    monkeypatch.setenv("KOBE_HOME", str(tmp_path))
    (tmp_path / "KILL_SWITCH").write_text("[/x] \x1b[2J")
    result = CliRunner().invoke(app, ["kill", "status"])
    assert "[/x]" in result.output
    assert "\x1b[2J" not in result.output


def test_every_table_and_line_goes_to_a_screen() -> None:
    consoles = [
        f"{path.name}:{node.lineno}"
        for path in JOBS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Console"
        # A progress bar's own, and one that shows no table.
        if SimpleNamespace(**{key.arg or "": True for key in node.keywords}) != SimpleNamespace(stderr=True)
        and not any(key.arg == "markup" for key in node.keywords)
    ]
    assert consoles == []


def test_a_warning_is_one_line_under_the_name_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of("")
    warn_of("[red]the disk[/red]\x1b is nearly full, " + "and more " * 30)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "kobe: warning: [red]the disk[/red]\\x1b is nearly full, " + "and more " * 30 + "\n"


def test_a_number_keeps_its_percent_at_the_end_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(width=20).say("growth a year 22.3 %, worst fall 57.7 %")
    assert capsys.readouterr().out == "growth a year\n  22.3 %, worst fall\n  57.7 %\n"


def test_numbers_of_a_table_stand_to_the_right() -> None:
    assert [column.justify for column in table_of("", "symbol", "shares", "P&L").columns] == ["left", "right", "right"]
