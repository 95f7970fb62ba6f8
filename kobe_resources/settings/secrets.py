"""Keys, from the environment or the file named by KOBE_ENV_FILE; they stay apart from settings, pins and logs."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator

from kobe_resources.errors import UsageError
from kobe_resources.settings.load import config_file, read_toml
from kobe_resources.settings.models import SECRET_URLS, Settings, split_addresses

SHORTEST_KEY = 8
"""Characters from which a value of the file of keys that is no key of Kobe's is taken for one."""
LONG_WORD, SHORTEST_PASSWORD = 16, 4
"""Characters from which a part of an address is taken for a token, and a part before its @ for a password."""


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

    @property
    def has_alpaca_keys(self) -> bool:
        """Whether both keys of a broker account are there."""
        return self.alpaca_api_key_id is not None and self.alpaca_api_secret_key is not None


def _setting(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


_known_key_files: dict[str, dict[str, str]] = {}


def secret_texts() -> frozenset[str]:
    """What no log may show, as far as it is known before anything is loaded: keys, and addresses that are passwords.

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
        for given in (os.environ.get(name, ""), values.get(name, ""), _setting(_file_tables(), key) or ""):
            found |= _addresses(given)
    return frozenset(text for value in found for text in (value, value.strip()) if text)


def alert_addresses(settings: Settings) -> list[str]:
    """Where alerts go: the settings' addresses, else those that KOBE_ENV_FILE names as KOBE_ALERTS__URLS. Raises UsageError."""
    given = [url.get_secret_value() for url in settings.alerts.urls]
    if not given:
        try:
            named = split_addresses(_env_file_values().get("KOBE_ALERTS__URLS", ""))
        except ValueError:
            raise UsageError(
                "KOBE_ALERTS__URLS of KOBE_ENV_FILE is no list of addresses", "write one beside the other"
            ) from None
        given = [str(url) for url in named]
    return list(dict.fromkeys(url.strip() for url in given if url.strip()))


def address_parts(url: str) -> set[str]:
    """What of an address would give it away alone: user and password, and what in it looks like a token."""
    words = {word for word in re.split(r"[/:@?&=#,+]+", url.partition("://")[2]) if word}
    login = url.partition("://")[2].partition("@")[0] if "@" in url else ""
    secret = {word for word in words if len(word) >= (LONG_WORD if re.fullmatch("[a-z-]+", word) else SHORTEST_KEY)}
    # A host and a port are no secret, and stand in other lines of the log.
    plain = {word for word in secret if re.fullmatch(r"[\d.]+|(?:[a-z0-9-]+\.)+[a-z]{2,}", word)}
    return {url} | (secret - plain) | {part for part in login.split(":") if len(part) >= SHORTEST_PASSWORD and "/" not in part}


def _addresses(given: Any) -> set[str]:
    """Every address of a setting with its parts; what cannot be read as addresses is a secret as a whole."""
    whole = {given} if isinstance(given, str) else set()
    try:
        split = split_addresses(given)
    except ValueError:
        return whole
    texts = [str(text) for text in split] if isinstance(split, list) else []
    return whole | {part for text in texts for part in address_parts(text)}


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
    """Whether others than the owner can read the file named by KOBE_ENV_FILE."""
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
