"""Text as TOML writes it, for the settings files that Kobe writes."""

from __future__ import annotations

import json


def toml_text(text: str) -> str:
    """The text as a basic string of TOML, with its quotes.

    JSON's strings are TOML's but for two things: TOML knows no surrogate pairs, and DEL must be escaped.
    """
    written = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    # A lone surrogate, of a file name in no UTF-8, is no text for TOML: escaped it can be written and read by a person.
    return written.encode("utf-8", "backslashreplace").decode("utf-8")
