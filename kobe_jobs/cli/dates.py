"""Dates as options take them: YYYY-MM-DD, and a refusal that says so."""

from __future__ import annotations

import datetime as dt

import typer

FORM = "YYYY-MM-DD"


def parse_day(text: str) -> dt.date:
    """The date; refused as a misuse of the command line where it is none."""
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date, write it as {FORM}") from None
