"""Where settings come from: defaults, then the vendor's, then the TOML file, then `KOBE_SECTION__KEY`.

`load_settings()` is the only way in.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from kobe_resources.errors import UsageError, did_you_mean
from kobe_resources.settings.models import (
    MOVED,
    SAMPLE_DEFAULTS,
    SECRET_URLS,
    SYNTHETIC_DEFAULTS,
    VENDORS,
    DataSettings,
    Settings,
)

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DATA_FOLDERS = PROJECT_ROOT / "warehouse" / "data"
"""Where the data folders of the vendors lie while KOBE_HOME names none."""
RESERVED_ENV = {"KOBE_HOME", "KOBE_CONFIG", "KOBE_ENV_FILE"}
INSTALL = ".venv/bin/python -m pip install --constraint constraints.txt --editable"
"""What installs Kobe in its clone, followed by `.`, or by `'.[extra]'`: migrations and data folder stay beside the code."""

LARGEST = 1e15
"""The largest number that a setting takes: beyond it sums in floats lose cents."""
LONGEST = {"_s": 1e7, "_min": 1e5, "_minute": 1e7}
"""The same for settings whose names end so: a deadline beyond these is none that a clock could keep."""
ADDRESSES = ("url", "webhook", "scheduler")
"""How the names of settings end that hold an address."""


def require_clone() -> None:
    """Raise UsageError where this Kobe is a copy outside its clone: without migrations, and with another data folder."""
    if not (PROJECT_ROOT / "warehouse" / "schema").is_dir():
        raise UsageError(f"Kobe runs from {PROJECT_ROOT}, which is not its clone", f"in the clone run {INSTALL} .")


def kobe_home() -> Path:
    """The data folder: KOBE_HOME, or that of the vendor in warehouse/data of the clone.

    The sample, invented bars and one's own so never share a warehouse, a record of tries, an account or reports. Raises
    UsageError without either, where the settings cannot say which vendor it is, or where an earlier Kobe left its data in
    warehouse/data itself.
    """
    named = os.environ.get("KOBE_HOME")
    if named:
        return Path(named).expanduser().resolve()
    require_clone()
    vendor = _vendor_in_force(config_file(), os.environ.get("KOBE_DATA__VENDOR"))
    left = next((name for name in ("orders.sqlite", "kobe.duckdb") if (DATA_FOLDERS / name).exists()), None)
    if left is not None:
        raise UsageError(
            f"{DATA_FOLDERS / left} is of a Kobe that kept all vendors in one folder",
            f"stop `kobe ui` and move all that lies there into {DATA_FOLDERS}/VENDOR, or set KOBE_HOME={DATA_FOLDERS}",
        )
    return DATA_FOLDERS / vendor


def data_folders() -> list[Path]:
    """Every data folder of the clone that holds something, those of other vendors too; none where KOBE_HOME names one."""
    if os.environ.get("KOBE_HOME") or not DATA_FOLDERS.is_dir():
        return []
    found = [DATA_FOLDERS, *(DATA_FOLDERS / vendor for vendor in VENDORS)]
    return [folder for folder in found if (folder / "orders.sqlite").exists() or (folder / "kobe.duckdb").exists()]


@cache
def _vendor_in_force(path: Path | None, named: str | None) -> str:
    """The vendor by the environment, else by the settings file; looked up once: a data folder moves under no process."""
    given: object = named or None
    if given is None and path is not None:
        data = read_toml(path).get("data", {})
        given = data.get("vendor") if isinstance(data, dict) else None
    vendor = VENDORS[0] if given is None else given
    if vendor not in VENDORS:
        raise UsageError(f"settings: data.vendor is {vendor!r}, which is no vendor", f"there are {', '.join(VENDORS)}")
    return str(vendor)


def config_file() -> Path | None:
    """The TOML file in force: KOBE_CONFIG, else ./kobe.toml, else none."""
    named = os.environ.get("KOBE_CONFIG")
    if named:
        path = Path(named).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"KOBE_CONFIG names {path}, which is not a file", "create it or unset KOBE_CONFIG")
        return path
    local = Path.cwd() / "kobe.toml"
    if not local.is_file() and (local.exists() or local.is_symlink()):
        # With the defaults a command would trade, or report, by other rules than are meant.
        raise UsageError(f"{local} is there and is no file", "make it a file, or move it away")
    return local if local.is_file() else None


def load_settings() -> Settings:
    """Read and check the effective settings.

    Raises UsageError (one line: the key, what is wrong) on unknown keys, wrong types or an unreadable file.
    """
    path = config_file()
    given = _without_replaced(read_toml(path)) if path else {}
    _refuse_unknown_environment()
    try:
        # The vendor decides some defaults, and may itself come from the file or the environment: read it first.
        plain = _anchor_paths(Settings(**given), path)
        settings = _anchor_paths(Settings(**_with_vendor_defaults(given, plain.data)), path)
    except RecursionError:
        raise UsageError("settings: a table in the environment is nested too deep", "see `kobe config docs`") from None
    except ValidationError as error:
        raise UsageError(_first_problem(error), f"see `kobe config docs`; {_set_where(error, path)}") from None
    except SettingsError as error:
        raise UsageError(f"settings: {error}", 'write a table as JSON: KOBE_UNIVERSE__RELEASE={"SYMBOL": "reason"}') from None
    _refuse_beyond_reason(settings)
    _refuse_credentials(settings)
    return settings


def _without_replaced(given: dict[str, Any]) -> dict[str, Any]:
    """The file's tables without those that a variable of the environment holds whole, since its names would be mixed with the
    file's: `{ rsi2 = 1.0 }` there and {"ibs": 1.0} here are no book of two."""
    for variable in os.environ:
        if not variable.startswith("KOBE_") or "__" not in variable:
            continue
        *above, last = variable.removeprefix("KOBE_").lower().split("__")
        table: Any = given
        for name in above:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(table.get(last), dict) and not _is_section([*above, last]):
            del table[last]
    return given


def _is_section(names: Sequence[str]) -> bool:
    section: type[BaseModel] = Settings
    for name in names:
        kind = section.model_fields[name].annotation if name in section.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return False
        section = kind
    return True


def changed_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some changed, by dotted name: {"costs.slippage_bps": 10}. Raises UsageError like `load_settings`.

    A change holds over file and environment, from which `settings` came.
    """
    for key, value in changes.items():
        try:
            settings = _with_value(settings, key.split("."), value)
        except ValidationError as error:
            why = _in_words(error.errors(include_url=False, include_input=False)[0])
            raise UsageError(f"settings: {key} = {value!r}: {why}", "see `kobe config docs`") from None
        except ValueError as error:
            raise UsageError(f"settings: {key} {error}", "see `kobe config docs`") from None
    try:
        settings.check_together()  # type: ignore[operator]
    except ValueError as error:
        raise UsageError(f"settings: {error}", "mend one of them") from None
    _refuse_beyond_reason(settings)
    _refuse_credentials(settings)
    return settings


def _with_value(section: Any, names: Sequence[str], value: Any) -> Any:
    """A copy of a section, or of all settings, with one value inside it changed and checked. Raises ValueError."""
    name, rest, known = names[0], names[1:], type(section).model_fields
    if name not in known:
        raise ValueError(f"is no setting{did_you_mean(name, known)}")
    inner = getattr(section, name)
    if rest and isinstance(inner, BaseModel):
        return section.model_copy(update={name: _with_value(inner, rest, value)})
    if rest or isinstance(inner, BaseModel):
        raise ValueError("names no single setting")
    return type(section).model_validate({**dict(section), name: value})


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a settings file. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise UsageError(f"{path} cannot be read as TOML (it is nested too deep)", "mend the file") from None
    except (OSError, ValueError) as error:
        # Python itself refuses to read numbers of thousands of digits, and its words do not say so to a person.
        why = "a number in it is too long" if "digits" in str(error) else str(error)
        raise UsageError(f"{path} cannot be read as TOML ({why})", "mend the file") from error


def _refuse_beyond_reason(settings: Settings) -> None:
    for key, value in _numbers(settings.model_dump(), ""):
        ending = next((ending for ending in LONGEST if key.endswith(ending)), "")
        largest = LONGEST.get(ending, LARGEST)
        if not math.isfinite(value) or abs(value) > largest:
            raise UsageError(f"settings: {key} is no number of at most {largest:g}", "see `kobe config docs`")


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """(dotted key, number) of every number in nested tables and lists."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int | float):
        # A whole number of hundreds of digits is no float.
        yield key, float(value) if abs(value) <= LARGEST else math.inf


def _refuse_credentials(settings: Settings) -> None:
    """An address stands in pins, answers and messages: it may hold no password. The refusal does not say what it holds."""
    for key, text in _texts(settings.model_dump(), ""):
        is_address = key.endswith(ADDRESSES)
        if not is_address and "://" not in text:
            continue
        # Without its slashes `user:password@host` is read as a path.
        if "@" in _authority(key, text) or (is_address and key not in SECRET_URLS and "@" in text):
            raise UsageError(f"settings: {key} holds a user or a password", "take it out: keys belong into KOBE_ENV_FILE")
        if is_address and key not in SECRET_URLS and ("?" in text or "#" in text):
            raise UsageError(
                f"settings: {key} holds a query", "name scheme, host and path only: keys belong into KOBE_ENV_FILE"
            )


def _authority(key: str, address: str) -> str:
    """User, host and port. Raises UsageError where there is no telling, or where a part of it could not be seen."""
    try:
        parts = urlsplit(address)
        # A port that is none raises only where it is asked for.
        is_plain = parts.port is None or parts.port >= 0
    except ValueError:
        is_plain = False
    if not is_plain or (key.endswith(ADDRESSES) and not (address.isascii() and address.isprintable() and " " not in address)):
        raise UsageError(f"settings: {key} is no address", "write it as https://host/path")
    return parts.netloc


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """(dotted key, text) of every text in nested tables and lists."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, Path):
        # An address that was taken for a path lost one of its slashes, and stands in the current folder.
        yield key, re.sub(r"^.*?([\w+.-]+):/", r"\1://", str(value), count=1)
    elif isinstance(value, str):
        yield key, value


def _refuse_unknown_environment() -> None:
    for name in os.environ:
        if not name.upper().startswith("KOBE_") or name in RESERVED_ENV:
            continue
        if name != name.upper():
            raise UsageError(f"the environment sets {name}", "write its name in capitals")
        section = name.removeprefix("KOBE_").split("__")[0].lower()
        if section not in Settings.model_fields or "__" not in name:
            meant = did_you_mean(section, Settings.model_fields)
            raise UsageError(f"the environment sets {name}, which is no setting{meant}", "unset it, or see `kobe config docs`")


def _with_vendor_defaults(given: dict[str, Any], data: DataSettings) -> dict[str, Any]:
    """The file's tables laid over the defaults of the vendor."""
    defaults = {"sample": SAMPLE_DEFAULTS, "synthetic": SYNTHETIC_DEFAULTS}.get(data.vendor, {})
    if data.vendor == "files" and not _files_tell_options(data.files.path):
        defaults = {"universe": {"require_options": False}}
    merged = dict(given)
    for section, values in defaults.items():
        own = given.get(section, {})
        merged[section] = {**values, **own} if isinstance(own, dict) else own
    return merged


def _files_tell_options(place: Path) -> bool:
    """Own bars without a `has_options` column in candidates.csv cannot say who has options, so the default does not ask."""
    candidates = (place if place.is_dir() else place.parent) / "candidates.csv"
    try:
        with candidates.open(encoding="utf-8-sig") as file:
            return "has_options" in file.readline().lower()
    except (OSError, UnicodeDecodeError):
        return False


def _anchored(place: Path | None, variable: str, path: Path | None) -> Path | None:
    """An absolute path; a relative one counts from the TOML file, or from the current folder where `variable` gives it."""
    if place is None:
        return None
    base = path.parent if path and not os.environ.get(variable) else Path.cwd()
    place = place.expanduser()
    return place if place.is_absolute() else (base / place).resolve()


def _anchor_paths(settings: Settings, path: Path | None) -> Settings:
    """Relative paths count from the TOML file that names them (from the current folder without one)."""
    data, strategy = settings.data, settings.strategy
    anchored = {
        "files": data.files.model_copy(update={"path": _anchored(data.files.path, "KOBE_DATA__FILES__PATH", path)}),
        "polygon": data.polygon.model_copy(
            update={"candidates": _anchored(data.polygon.candidates, "KOBE_DATA__POLYGON__CANDIDATES", path)}
        ),
        "alpaca": data.alpaca.model_copy(
            update={"candidates": _anchored(data.alpaca.candidates, "KOBE_DATA__ALPACA__CANDIDATES", path)}
        ),
    }
    own = strategy.model_copy(update={"folder": _anchored(strategy.folder, "KOBE_STRATEGY__FOLDER", path)})
    return settings.model_copy(update={"data": data.model_copy(update=anchored), "strategy": own})


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = _no_setting(where, first["loc"]) if first["type"] == "extra_forbidden" else _in_words(first)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"settings: {where} {what}{more}" if where else f"settings: {what}{more}"


def _set_where(error: ValidationError, path: Path | None) -> str:
    """The variable that sets what `_first_problem` names, or the file."""
    names = [str(part).upper() for part in error.errors(include_url=False, include_input=False)[0]["loc"]]
    variables = ("KOBE_" + "__".join(names[: len(names) - cut]) for cut in range(len(names)))
    by = next((variable for variable in variables if variable in os.environ), None)
    return f"set by {by}" if by else f"set in {path or 'the environment'}"


def _in_words(problem: Mapping[str, Any]) -> str:
    """pydantic's words, without those it puts before ours."""
    return str(problem["msg"]).removeprefix("Value error, ")


def _no_setting(key: str, place: tuple[int | str, ...]) -> str:
    return f"is {MOVED[key]} now" if key in MOVED else f"is no setting{_meant_by(place)}"


def _meant_by(place: tuple[int | str, ...]) -> str:
    """`did_you_mean` for the last name of `place`, among the keys of the table that the names before it lead to."""
    model: type[BaseModel] = Settings
    for part in place[:-1]:
        kind = model.model_fields[str(part)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ""
        model = kind
    return did_you_mean(str(place[-1]), model.model_fields)
