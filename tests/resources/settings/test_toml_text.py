"""Texts of settings come back from TOML as they were."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobe_resources.settings.toml_text import toml_text


@pytest.mark.parametrize(
    "text", ["", "bars 📈", "\x7f", 'a "real" one', "why\\not", "two\nlines\r\n\t", "\x00\x1f\x80", "é\u2028"]
)
def test_a_text_comes_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"{toml_text(text)} = {toml_text(text)}") == {text: text}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"text = {toml_text(text)}") == {"text": text}


def test_a_name_in_no_encoding_can_still_be_written() -> None:
    assert toml_text("caf\udce9") == '"caf\\udce9"'
