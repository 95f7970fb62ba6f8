"""Keys, from the environment or the file named by KOBE_ENV_FILE; they stay apart from settings, pins and logs."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator

from kobe_resources.errors import UsageError
from kobe_resources.settings.load import config_file, read_toml
from kobe_resources.settings.models import SECRET_URLS

SHORTEST_KEY = 8
"""Characters from which a value of the file of keys that is no key of Kobe's is taken for one."""


class Secrets(BaseModel):
    """Keys, from the environment or the file named by KOBE_ENV_FILE; never part of settings, pins or logs."""

    model_config = ConfigDict(frozen=True)

    polygon_api_key: SecretStr | None = None
    alpaca_api_key_id: SecretStr | None = None
    alpaca_api_secret_key: SecretStr | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        # A trailing newline of a key file would end up in an exception's text.
        text = value.strip() if isinstance(value, str) else value
        return text or None


def _setting(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


_known_key_files: dict[str, dict[str, str]] = {}


def secret_texts() -> frozenset[str]:
    """What no log may show, as far as it can be told before anything is loaded: keys, and addresses that are passwords.

    Raises nothing: what cannot be read adds nothing.
    """
    found = {os.environ.get(name.upper(), "") for name in Secrets.model_fields}
    named = os.environ.get("KOBE_ENV_FILE", "")
    with contextlib.suppress(UsageError):
        _known_key_files[named] = _env_file_values()
    # A file that went away, or is being replaced, still has its keys in memory.
    values = _known_key_files.get(named, {})
    keys = {name.upper() for name in Secrets.model_fields}
    found |= {value for name, value in values.items() if name.upper() in keys or len(value) >= SHORTEST_KEY}
    for key in SECRET_URLS:
        name = "KOBE_" + key.replace(".", "__").upper()
        found |= {os.environ.get(name, ""), values.get(name, ""), str(_setting(_file_tables(), key) or "")}
    return frozenset(text for value in found for text in (value, value.strip()) if text)


def _file_tables() -> Mapping[str, Any]:
    """The settings file for those who must not fail: empty where it cannot be read, read anew where it changed."""
    try:
        path = config_file()
        found = path.stat() if path else None
        return _tables_of(path, found.st_mtime_ns, found.st_size) if path and found else {}
    except (OSError, UsageError):
        return {}


@lru_cache(maxsize=4)
def _tables_of(path: Path, _changed: int, _size: int) -> Mapping[str, Any]:
    return read_toml(path)


def load_secrets() -> Secrets:
    """Keys from KOBE_ENV_FILE (KEY=VALUE lines) and the environment; the environment wins."""
    names = tuple(Secrets.model_fields)
    values = _env_file_values()
    return Secrets.model_validate({name: os.environ.get(name.upper()) or values.get(name.upper()) for name in names})


def key_file_is_open() -> bool:
    """True when others than the owner can read the file named by KOBE_ENV_FILE."""
    named = os.environ.get("KOBE_ENV_FILE")
    if not named or not Path(named).is_file():
        return False
    return bool(Path(named).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _env_file_values() -> dict[str, str]:
    named = os.environ.get("KOBE_ENV_FILE")
    if not named:
        return {}
    from dotenv import dotenv_values

    if not Path(named).is_file():
        raise UsageError(f"KOBE_ENV_FILE names {named}, which is not a file", "create it or unset KOBE_ENV_FILE")
    try:
        return {key: value for key, value in dotenv_values(named, interpolate=False).items() if value}
    except OSError as error:
        raise UsageError(
            f"KOBE_ENV_FILE names {named}, which cannot be read ({error.strerror})", "mend its permissions"
        ) from None
    except (UnicodeDecodeError, RecursionError):
        raise UsageError(f"KOBE_ENV_FILE names {named}, which is no text", "write a line KEY=VALUE a key, in UTF-8") from None
