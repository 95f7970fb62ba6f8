"""What a notebook may use, from signatures and docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

DOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kobe_assets", ("backtest", "Backtest", "walk_forward", "WalkForward")),
    ("kobe_resources", ("open_warehouse", "Tables")),
    ("kobe_assets.research.language", ()),
)
"""Module → names that people import; none: those of its `__all__`."""
LONGEST = 110


def python_page() -> str:
    """Every public name with its signature, its methods and what they give."""
    lines = ["`examples/` shows each of these at work."]
    for module, names in DOORS:
        found_in = importlib.import_module(module)
        for name in names or found_in.__all__:
            found = getattr(found_in, name)
            lines += ["", f"## `{module}.{name}`", "", *_signature(name, found), _words(found)]
            lines += [line for method, value in _methods(found) for line in ("", *_signature(method, value), _words(value))]
    return "\n".join(lines)


def _methods(found: Any) -> list[tuple[str, Any]]:
    if not inspect.isclass(found):
        return []
    fields = inspect.signature(found).parameters
    return [
        (name, value)
        for name, value in vars(found).items()
        if inspect.isfunction(value) and not name.startswith("_") and name not in fields
    ]


def _signature(name: str, found: Any) -> list[str]:
    """The call as it is written, an argument a line where it is long."""
    signature = inspect.signature(found)
    arguments = [_plain(str(one)) for one in signature.parameters.values() if one.name != "self"]
    gives = signature.return_annotation
    end = "" if inspect.isclass(found) or gives in (inspect.Signature.empty, None, "None") else f" -> {_plain(str(gives))}"
    text = f"{name}({', '.join(arguments)}){end}"
    if len(text) > LONGEST:
        text = f"{name}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){end}"
    return ["```python", text, "```", ""]


def _plain(text: str) -> str:
    """An argument without quotes around its type, and without where a default lies in memory."""
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text).replace("<factory>", "…")
    kind, equals, default = text.partition(" = ")
    return kind.replace("'", "") + equals + default


def _words(found: Any) -> str:
    """The docstring, its example as code."""
    text, prompt, example = (inspect.getdoc(found) or "").partition(">>> ")
    return f"{text}```python\n{prompt}{example}\n```" if example else text
