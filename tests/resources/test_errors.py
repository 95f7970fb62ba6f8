"""What reaches a person of an error: one line, in words."""

from __future__ import annotations

import duckdb

from kobe_resources.errors import reason_of


def test_of_an_error_in_a_thread_of_duckdb_the_message_alone_is_shown() -> None:
    inner = r'{"exception_type":"IO","exception_message":"Could not write file \"/d/x\": No space left on device","errno":"28"}'
    error = duckdb.IOException(f"IO Error: Async write failed for range [offset=4, size=215977]: {inner}")
    assert reason_of(error) == 'Could not write file "/d/x": No space left on device'


def test_of_any_other_error_the_first_line_is_shown_or_its_name() -> None:
    assert reason_of(OSError("the disk is full\nand more")) == "the disk is full"
    assert reason_of(ValueError()) == "ValueError()"
