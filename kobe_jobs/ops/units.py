"""Systemd units for this installation: the templates of kobe_jobs/ops/systemd with this machine's paths filled in.

Names and paths are checked: a line break or a strange user name would become a directive of its own.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from kobe_jobs.ops.backup.make import default_folder
from kobe_resources.errors import UsageError
from kobe_resources.settings.load import PROJECT_ROOT, config_file, kobe_home

NAMES = ("kobe-ui.service", "kobe-health.service", "kobe-backup.service", "kobe-backup.timer")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def rendered_units(user: str) -> dict[str, str]:
    """File name → text of every unit, for the environment that is in force now (data folder, settings file, file of keys)."""
    if not _USER.fullmatch(user):
        raise UsageError(f"{user!r} is no user name", "name the account that is to run Kobe: small letters, digits, - and _")
    home = kobe_home()
    values = {
        "user": user,
        "folder": _escaped(str(PROJECT_ROOT)),
        "kobe": _argument(str(Path(sys.executable).with_name("kobe"))),
        "backups": _argument(str(default_folder(home))),
        "environment": "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in _environment(home)),
    }
    folder = files("kobe_jobs.ops") / "systemd"
    return {name: Template((folder / name).read_text(encoding="utf-8")).substitute(values) for name in NAMES}


def _environment(home: Path) -> list[tuple[str, str]]:
    """The environment of a unit; the file of keys is named there and not read."""
    found = [("KOBE_HOME", str(home))]
    config = config_file()
    if config:
        found.append(("KOBE_CONFIG", str(config)))
    keys = os.environ.get("KOBE_ENV_FILE")
    if keys:
        found.append(("KOBE_ENV_FILE", str(Path(keys).expanduser().resolve())))
    return found


def _escaped(text: str) -> str:
    """Text as a directive's whole value: systemd expands %."""
    if any(ord(character) < 32 for character in text):
        raise UsageError(f"{text!r} cannot stand in a unit", "use a path without control characters")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a directive."""
    return '"' + _escaped(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _argument(text: str) -> str:
    """One word of a command line, where systemd expands $ too."""
    return _quoted(text).replace("$", "$$")
