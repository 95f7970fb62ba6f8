"""Where commands print: a text is shown as it is, read as no markup, and steers no terminal, wherever it comes from."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

_UNSHOWN = re.compile(r"\\u(?:00[0189]|007f|d[89a-f]|20[26])", re.IGNORECASE)
"""In JSON as ASCII: characters that `printable` would not let through, and their neighbours."""
PIPED = 140
"""Columns of what is read by no terminal."""
STEERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""They turn the direction of what follows."""


class Screen(Console):
    """A console without markup and without emoji codes; control characters are shown as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)
        if not self.is_terminal and "width" not in options:
            # A file or a pipe has no edge at which something must be cut.
            self.width = max(self.width, PIPED)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as it is, in one style."""
        return super().render_str(printable(text), **options)

    def print_json(self, json: str | None = None, **options: Any) -> None:
        """JSON, in ASCII where a character of it cannot be shown or written."""
        super().print_json(json, ensure_ascii=bool(json and _UNSHOWN.search(json)), **options)


def printable(text: str) -> str:
    """The text with escapes for what steers a terminal or is no character; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    is_plain = character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs") and character not in STEERING)
    return character if is_plain else character.encode("unicode_escape").decode()
