"""Every setting with its value, source, default and meaning, read off the typed settings; webhooks are shown as set or not."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from kobe_resources.runtime.event_log import redact
from kobe_resources.settings.load import config_file, read_toml
from kobe_resources.settings.models import SAMPLE_DEFAULTS, SECRET_URLS, SYNTHETIC_DEFAULTS, Settings
from kobe_resources.settings.secrets import load_secrets

BOUNDS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


@dataclass(frozen=True, slots=True)
class Effective:
    """A setting in force: `source` is "default", "vendor default", "file" or the name of the variable that sets it."""

    key: str
    value: Any
    source: str

    @property
    def section(self) -> str:
        """The TOML table it stands in."""
        return self.key.rpartition(".")[0]

    @property
    def shown(self) -> str:
        """The value as a person would write it in the file."""
        return written(self.value)


def effective(settings: Settings) -> list[Effective]:
    """Every setting in the order of the file, secrets in URLs masked."""
    path = config_file()
    given = read_toml(path) if path else {}
    return [_effective(settings, given, key, default) for key, _, default in every_setting()]


def every_setting() -> Iterator[tuple[str, FieldInfo, Any]]:
    """(dotted key, field, built-in default) of every leaf of Settings."""
    yield from _leaves(Settings.model_fields, "")


def secrets_present() -> dict[str, bool]:
    """Which keys are set; never their values."""
    return {name.upper(): value is not None for name, value in load_secrets()}


def markdown() -> str:
    """A table a section, each setting with its default, what it accepts and its meaning."""
    lines: list[str] = []
    section = None
    for key, field, default in every_setting():
        table, _, name = key.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"`[{table}]` {_meaning_of(table)}", "", "| key | default | accepts | meaning |", "|---|---|---|---|"]
        cells = (f"`{name}`", f"`{written(default)}`", _accepts(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    lines += ["", _vendor_note("sample", SAMPLE_DEFAULTS), _vendor_note("synthetic", SYNTHETIC_DEFAULTS)]
    return "\n".join(lines).strip()


def written(value: Any) -> str:
    """A value as TOML writes it; `none` where there is none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path | str):
        return f'"{value}"'
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return str(value)


def _effective(settings: Settings, given: Mapping[str, Any], key: str, default: Any) -> Effective:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    source = _source(key, given, value == default)
    if key in SECRET_URLS and value:
        return Effective(key, "(set, not shown)", source)
    # A host may carry a password: https://user:password@proxy.
    return Effective(key, redact(value) if isinstance(value, str) else value, source)


def _source(key: str, given: Mapping[str, Any], is_default: bool) -> str:
    variable = "KOBE_" + key.replace(".", "__").upper()
    for name in os.environ:
        if name.upper() == variable or name.upper().startswith(variable + "__"):
            return name
    found: Any = given
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is not None:
        return "file"
    return "default" if is_default else "vendor default"


def _leaves(fields: Mapping[str, FieldInfo], prefix: str) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Plain keys of a table first, then its sub-tables: TOML reads them in that order."""
    tables = {name: field for name, field in fields.items() if _model_of(field) is not None}
    for name, field in fields.items():
        if name not in tables:
            yield prefix + name, field, field.get_default(call_default_factory=True)
    for name, field in tables.items():
        model = _model_of(field)
        if model is not None:
            yield from _leaves(model.model_fields, f"{prefix}{name}.")


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _meaning_of(table: str) -> str:
    fields: Mapping[str, FieldInfo] = Settings.model_fields
    model: type[BaseModel] | None = None
    for part in table.split("."):
        model = _model_of(fields[part])
        fields = model.model_fields if model else {}
    return ((model.__doc__ or "").strip().splitlines() or [""])[0] if model else ""


def _accepts(field: FieldInfo) -> str:
    return f"{_kind(field.annotation)} {_bounds(field.metadata)}".strip()


def _bounds(rules: Iterable[Any]) -> str:
    plain = [held for rule in rules for held in (rule.metadata if isinstance(rule, FieldInfo) else [rule])]
    return ", ".join(f"{sign} {written(getattr(rule, name))}" for rule in plain for name, sign in BOUNDS if hasattr(rule, name))


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *rules = get_args(annotation)
        return f"{_kind(inner)} {_bounds(rules)}".strip()
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if origin in (Union, UnionType):
        return " or ".join("none" if choice is NoneType else _kind(choice) for choice in get_args(annotation))
    if origin is dict:
        return "table"
    if origin is list:
        return f"list of {_kind(get_args(annotation)[0])}"
    names = {
        bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", dt.date: "date",
        SecretStr: "addresses",
    }  # fmt: skip
    return names.get(annotation, str(annotation))


def _vendor_note(vendor: str, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    changed = ", ".join(
        f"`{section}.{name} = {written(value)}`" for section, values in defaults.items() for name, value in values.items()
    )
    return f'With `data.vendor = "{vendor}"` the defaults are: {changed}.'
