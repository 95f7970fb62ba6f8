"""Where commands print: a text is shown as it is, read as no markup, and cannot steer the terminal, wherever it comes from."""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
import unicodedata
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

_UNSHOWN = re.compile(r"\\u(?:00[0189]|007f|d[89a-f]|20[26])", re.IGNORECASE)
"""In JSON as ASCII: characters that `printable` would not let through, and their neighbours."""
PIPED = 140
"""Columns of what is read by no terminal, where COLUMNS does not say."""
GLUE = "\ue000"
"""Stands for a blank at which no line may end; of the characters that mean nothing."""
STEERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of the text behind them."""


class Screen(Console):
    """A console without markup and without emoji codes; control characters are shown as escapes; tables are fitted to it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)
        self.has_edge = self.is_terminal or "width" in options or os.environ.get("COLUMNS", "").isdigit()
        if not self.has_edge:
            # A file or a pipe has no edge at which something must be cut.
            self.width = max(self.width, PIPED)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; a table is fitted, so that no word of it is broken or cut off."""
        if any(map(_is_table, objects)):
            objects = tuple(self._fitted(shown) if _is_table(shown) else shown for shown in objects)
            options["crop"] = False
        super().print(*objects, **options)

    def say(self, sentence: str, **options: Any) -> None:
        """Print a sentence, wrapped by word where there is an edge, else in one line; a path or an id stays whole."""
        lines = [_wrapped(line, self.width) for line in sentence.split("\n")] if self.has_edge else [sentence]
        self.print("\n".join(lines), highlight=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as it is, in one style."""
        return super().render_str(printable(text), **options)

    def print_json(self, json: str | None = None, **options: Any) -> None:
        """JSON, in ASCII where a character of it cannot be shown or written."""
        super().print_json(json, ensure_ascii=bool(json and _UNSHOWN.search(json)), **options)

    def _fitted(self, table: Table) -> Table | Text:
        from kobe_jobs.cli.tables import fitted

        return fitted(self, table)


def say_on_stderr(line: str, **options: Any) -> None:
    """Print one line on standard error, under the name of the program."""
    Screen(stderr=True, highlight=False, soft_wrap=True).print(f"kobe: {line}", **options)


def warn_of(what: str) -> None:
    """Print a warning on standard error; nothing for an empty text."""
    if what:
        say_on_stderr(f"warning: {what}", style="yellow")


def print_json(value: Any) -> None:
    """Print one JSON value on standard output; a number that JSON has no word for is null, a date or a path is text."""
    screen, text = Screen(), json.dumps(_plain(value), default=str)
    if screen.is_terminal:
        screen.print_json(text)
        return
    # Without colours rich would only take its time.
    pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=bool(_UNSHOWN.search(text)))
    screen.file.write(f"{pretty}\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_table(shown: Any) -> bool:
    return type(shown).__name__ == "Table" and type(shown).__module__ == "rich.table"


def _wrapped(line: str, width: int) -> str:
    """The line wrapped by word, its indentation kept and the lines after the first two columns in; a number keeps its %."""
    indent = line[: len(line) - len(line.lstrip())]
    wrapped = textwrap.fill(
        line.strip().replace(" %", f"{GLUE}%"),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped.replace(GLUE, " ")


def printable(text: str) -> str:
    """The text with escapes for what steers a terminal or is no character; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    is_plain = character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs") and character not in STEERING)
    return character if is_plain else character.encode("unicode_escape").decode()
