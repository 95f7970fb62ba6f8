"""Typed settings: built-in defaults, then the vendor's, then the TOML file, then `KOBE_SECTION__KEY`; secrets stay apart.

`load_settings()` is the only way in. `config_pin()` is the SHA-256 of everything that can change a number or an order.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from kobe_resources.errors import UsageError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
RESEARCH_SECTIONS = (
    "data", "universe", "strategy", "portfolio", "simulation", "sizing", "execution", "costs", "policy", "walk_forward",
)  # fmt: skip
MOVED = {
    "simulation.order_notional": "sizing.order_notional",
    "simulation.whole_shares": "sizing.whole_shares",
    "simulation.slippage_bps": "costs.slippage_bps",
    "trading.limit_offset_bps": "execution.limit_offset_bps",
    "trading.strategy": "portfolio.strategies",
}
"""Keys of earlier versions, and where they are now."""
BOOK = "portfolio"
"""The name of the book that several strategies trade together; no strategy bears it."""
RESERVED_ENV = {"KOBE_HOME", "KOBE_CONFIG", "KOBE_ENV_FILE"}
INSTALL = ".venv/bin/python -m pip install --constraint constraints.txt --editable"
"""What installs Kobe in its clone, followed by `.`, or by `'.[extra]'`: migrations and data folder stay beside the code."""

LARGEST = 1e15
"""No setting needs more: beyond it sums lose cents, and beyond that lie numbers that no library takes."""
LONGEST = {"_s": 1e7, "_min": 1e5, "_minute": 1e7}
"""The same for settings whose names end so: a deadline beyond these is none that a clock could keep."""
ADDRESSES = ("url", "webhook", "scheduler")
"""How the names of settings end that hold an address."""
SECRET_URLS = ("trading.alert_webhook",)
"""Whose path is the password; elsewhere an address is a scheme, a host, a port and a path."""
SHORTEST_KEY = 8
"""Characters from which a value of the file of keys that is no key of Kobe's is taken for one."""

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NoneByName = BeforeValidator(lambda value: None if value == "none" else value)
"""TOML has no word for nothing: an optional number takes "none"."""


class Section(BaseModel):
    """A table of the TOML file; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FilesData(Section):
    """Own bars: a folder, or the bars file itself."""

    path: Path = Field(
        Path("bars.csv"),
        description="bars.parquet or bars.csv, or the folder that holds it; splits.csv and candidates.csv beside it",
    )


class SyntheticData(Section):
    """Invented bars, the same for the same seed at any size."""

    symbols: PositiveInt = Field(50, description="how many symbols")
    sessions: PositiveInt = Field(1500, description="how many sessions")
    seed: int = Field(7, description="the same seed gives the same bars")
    start: dt.date = Field(dt.date(2010, 1, 4), description="first session")


class PolygonData(Section):
    """Polygon (Massive) end-of-day bars; needs POLYGON_API_KEY."""

    base_url: str = Field("https://api.polygon.io", description="the vendor's host")
    calls_per_minute: NonNegativeFloat = Field(5.0, description="the plan's rate; 0 switches pacing off")
    in_flight: PositiveInt = Field(8, description="parallel calls")
    first_load: Literal["range", "grouped"] = Field("range", description="one call a symbol, or one a session")
    candidates: Path | None = Field(None, description="a CSV with a `symbol` column; none: all active common stocks")


class DataSettings(Section):
    """Where bars come from, and which span of them."""

    vendor: Literal["sample", "synthetic", "files", "polygon"] = Field("sample", description="the source of bars")
    start: dt.date | None = Field(None, description="first session to load; none: all the vendor has (Polygon: 11 years)")
    end: dt.date | None = Field(None, description="last session to load; none: the latest complete one")
    files: FilesData = FilesData()
    synthetic: SyntheticData = SyntheticData()
    polygon: PolygonData = PolygonData()

    @model_validator(mode="after")
    def _span(self) -> DataSettings:
        if self.start and self.end and self.start > self.end:
            raise ValueError("data.start is after data.end")
        return self


class UniverseSettings(Section):
    """Which candidates may trade."""

    min_symbols: PositiveInt = Field(950, description="`kobe universe validate` fails below this many selected symbols")
    min_years: NonNegativeFloat = Field(10.0, description="years of bars a symbol needs")
    cap: PositiveInt | None = Field(None, description="keep only this many, largest dollar volume first")
    min_adv_usd: NonNegativeFloat = Field(0.0, description="60-session average dollar volume a symbol needs")
    require_options: bool = Field(True, description="only symbols with listed options")
    membership: Literal["static", "point_in_time"] = Field(
        "static", description="today's survivors, or who qualified at the time, delisted included"
    )
    membership_min_years: NonNegativeFloat = Field(1.0, description="point_in_time: years of bars known at the time")
    release: dict[str, str] = Field(default_factory=dict, description="symbol = reason: lift its quarantine")

    @field_validator("release")
    @classmethod
    def _with_reasons(cls, release: dict[str, str]) -> dict[str, str]:
        for symbol, reason in release.items():
            if not reason.strip():
                raise ValueError(f"{symbol} is released without a reason")
        return release


class StrategySettings(Section):
    """The canonical parameters (rules, sections 3 and 4)."""

    indicator_lag_bars: NonNegativeInt = Field(1, description="an indicator is read this many bars late")
    min_price: PositiveFloat = Field(5.0, description="lowest close as traded that may signal")
    rsi_entry: Annotated[float, Field(gt=0, lt=100)] = Field(10.0, description="long at or below, short at or above 100 - it")
    rsi_exit: Annotated[float, Field(gt=0, lt=100)] = Field(70.0, description="a long leaves at or above, a short at 100 - it")
    ibs_entry: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="long below, short above 1 - it")
    atr_stop: PositiveFloat = Field(2.0, description="protective stop, in ATRs from the fill")
    time_stop: PositiveInt = Field(5, description="bars held before a position leaves")


class PortfolioSettings(Section):
    """What trades, together in one account (rules, section 3)."""

    strategies: dict[str, PositiveFloat] = Field(
        default_factory=lambda: {"rsi2": 1.0}, description="strategy = weight of its orders' size, in order of precedence"
    )

    @field_validator("strategies")
    @classmethod
    def _some(cls, strategies: dict[str, float]) -> dict[str, float]:
        if not strategies:
            raise ValueError("names no strategy")
        if BOOK in strategies:
            raise ValueError(f"{BOOK} is the name of the book and of no strategy")
        return strategies

    @property
    def book(self) -> str:
        """The name of the book that trades: the only strategy's, where it has the weight 1, else `BOOK`."""
        names = list(self.strategies)
        return names[0] if len(names) == 1 and self.strategies[names[0]] == 1.0 else BOOK


class SimulationSettings(Section):
    """One portfolio (rules, section 4)."""

    initial_cash: PositiveFloat = Field(100_000.0, description="dollars at the start of a backtest and of every fold")


class SizingSettings(Section):
    """How large an order is (rules, section 4.2)."""

    mode: Literal["fixed", "equity", "risk"] = Field(
        "fixed", description="aim at order_notional, at a fraction of equity, or at a fraction of it at risk down to the stop"
    )
    order_notional: PositiveFloat = Field(75.0, description="fixed: dollars an order aims at")
    fraction: Annotated[float, Field(gt=0, le=100)] = Field(0.02, description="equity, risk: the share of equity")
    whole_shares: bool = Field(True, description="round shares down to whole ones")


class ExecutionSettings(Section):
    """How an entry meets the market (rules, section 4.2)."""

    entry: Literal["ioc", "opg"] = Field("ioc", description="at the quote after the open, or in the opening auction")
    limit_offset_bps: Annotated[float, Field(ge=0, lt=10_000)] = Field(10.0, description="ioc: limit beyond the quote")
    open_limit_bps: Annotated[float, Field(ge=0, lt=10_000)] = Field(300.0, description="opg: limit beyond the signal's close")


class CostsSettings(Section):
    """What trading costs (rules, section 4)."""

    slippage_bps: Annotated[float, Field(ge=0, lt=10_000)] = Field(5.0, description="paid on every fill")
    commission_per_order: NonNegativeFloat = Field(0.0, description="dollars a fill")
    commission_per_share: NonNegativeFloat = Field(0.0, description="dollars a share as traded")
    commission_minimum: NonNegativeFloat = Field(0.0, description="dollars a fill costs at least")
    regulatory_fees: bool = Field(True, description="SEC and FINRA fees on sales, by the rates of their day")
    borrow_rate: NonNegativeFloat = Field(0.0, description="a year, of the worth of shorts")


class PolicySettings(Section):
    """The gate's limits: they decide in simulation and live alike."""

    max_notional_per_order: Annotated[PositiveFloat | None, NoneByName] = Field(75.0, description="dollars one order may carry")
    max_daily_notional: Annotated[PositiveFloat | None, NoneByName] = Field(
        1000.0, description="dollars one session's entries may carry"
    )
    min_price: PositiveFloat = Field(3.0, description="lowest limit price")
    max_price: PositiveFloat = Field(1000.0, description="highest limit price")
    allow_shorts: bool = Field(False, description="may short sales be opened")
    max_gap: Annotated[PositiveFloat | None, NoneByName] = Field(
        0.25, description="ioc: a fill farther from the signal's close, as a share of it, is refused"
    )
    max_positions: Annotated[PositiveInt | None, NoneByName] = Field(None, description="positions open at a time")
    max_order_fraction: Annotated[PositiveFloat | None, NoneByName] = Field(
        None, description="share of equity one order may carry"
    )
    max_daily_fraction: Annotated[PositiveFloat | None, NoneByName] = Field(
        None, description="share of equity one session's entries may carry"
    )
    max_gross_exposure: Annotated[PositiveFloat | None, NoneByName] = Field(
        None, description="share of equity that all positions may be worth"
    )


class WalkForwardSettings(Section):
    """Folds and grids (rules, section 5)."""

    warmup: NonNegativeInt = Field(200, description="sessions before the first train window")
    train: PositiveInt = Field(252, description="sessions of a train window")
    test: PositiveInt = Field(63, description="sessions of a test window")
    anchored: bool = Field(False, description="every train window starts at the warmup's end")
    grid: dict[str, dict[str, list[float]]] = Field(
        default_factory=dict,
        description="[walk_forward.grid.<strategy>] parameter = [values]; none: the strategy's own",
    )


class BrokerSettings(Section):
    """Where orders go."""

    stage: Literal["shadow", "simulated", "paper", "live"] = Field("shadow", description="shadow sends nothing")
    base_url: str | None = Field(None, description="trading host; none: the stage's own")
    data_url: str | None = Field(None, description="quotes host; none: Alpaca's")
    feed: Literal["iex", "sip"] = Field("iex", description="quote feed")
    timeout_s: PositiveFloat = Field(10.0, description="seconds a call to the broker may take")
    calls_per_minute: NonNegativeInt = Field(
        150, description="calls to the broker in any minute, a fifth kept for cancels and stops; 0 for as many as there are"
    )


class TradingSettings(Section):
    """How the daily run behaves."""

    time_in_force: Literal["ioc", "day"] = Field("ioc", description="day: cancelled after cancel_after_s")
    cancel_after_s: PositiveFloat = Field(20.0, description="a DAY order is cancelled after this many seconds")
    max_quote_age_s: PositiveFloat = Field(30.0, description="an older quote is refused")
    max_spread_bps: PositiveFloat = Field(100.0, description="a wider quote is refused")
    last_entry_before_close_min: NonNegativeInt = Field(15, description="no entries in the last minutes")
    resolve_timeout_s: PositiveFloat = Field(60.0, description="seconds a run waits for its orders to be settled")
    not_placed_after_s: PositiveFloat = Field(30.0, description="an order unknown to the broker this long was not placed")
    poll_s: PositiveFloat = Field(
        0.25, description="seconds between the first two looks at an order; later ones are farther apart"
    )
    alert_webhook: str | None = Field(None, description="a failed run is posted here as JSON")


class ComputeSettings(Section):
    """Where a sweep runs."""

    engine: Literal["local", "dask"] = Field("local", description="this machine's cores, or a Dask cluster")
    scheduler: str | None = Field(None, description="address of the Dask scheduler, tcp://host:port")


SAMPLE_DEFAULTS: dict[str, dict[str, Any]] = {
    "universe": {"min_symbols": 3, "min_years": 8.0, "require_options": False},
    "simulation": {"initial_cash": 1000.0},
    "sizing": {"whole_shares": False},
}
SYNTHETIC_DEFAULTS: dict[str, dict[str, Any]] = {
    "universe": {"min_symbols": 1, "min_years": 1.0, "require_options": False},
}


class Settings(BaseSettings):
    """Every setting of a run; frozen, so that a pin taken once stays true."""

    model_config = SettingsConfigDict(
        env_prefix="KOBE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data: DataSettings = DataSettings()
    universe: UniverseSettings = UniverseSettings()
    strategy: StrategySettings = StrategySettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    simulation: SimulationSettings = SimulationSettings()
    sizing: SizingSettings = SizingSettings()
    execution: ExecutionSettings = ExecutionSettings()
    costs: CostsSettings = CostsSettings()
    policy: PolicySettings = PolicySettings()
    walk_forward: WalkForwardSettings = WalkForwardSettings()
    broker: BrokerSettings = BrokerSettings()
    trading: TradingSettings = TradingSettings()
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="after")
    def _price_bounds(self) -> Settings:
        if self.policy.min_price > self.policy.max_price:
            raise ValueError("policy.min_price is above policy.max_price")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over what `load_settings` read from the file."""
        return (env_settings, init_settings)


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


def require_clone() -> None:
    """Raise UsageError where this Kobe is a copy outside its clone: without migrations, and with another data folder."""
    if not (PROJECT_ROOT / "warehouse" / "schema").is_dir():
        raise UsageError(f"Kobe runs from {PROJECT_ROOT}, which is not its clone", f"in the clone run {INSTALL} .")


def kobe_home() -> Path:
    """The data folder: KOBE_HOME, or warehouse/data of the clone. Raises UsageError without either."""
    named = os.environ.get("KOBE_HOME")
    if named:
        return Path(named).expanduser().resolve()
    require_clone()
    return PROJECT_ROOT / "warehouse" / "data"


def config_file() -> Path | None:
    """The TOML file in force: KOBE_CONFIG, else ./kobe.toml, else none."""
    named = os.environ.get("KOBE_CONFIG")
    if named:
        path = Path(named).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"KOBE_CONFIG names {path}, which is not a file", "create it or unset KOBE_CONFIG")
        return path
    local = Path.cwd() / "kobe.toml"
    return local if local.is_file() else None


def load_settings() -> Settings:
    """Read and check the effective settings.

    Raises UsageError (one line: the key, what is wrong) on unknown keys, wrong types or an unreadable file.
    """
    path = config_file()
    given = read_toml(path) if path else {}
    _refuse_unknown_environment()
    try:
        # The vendor decides some defaults, and may itself come from the file or the environment: read it first.
        plain = _anchor_paths(Settings(**given), path)
        settings = _anchor_paths(Settings(**_with_vendor_defaults(given, plain.data)), path)
    except RecursionError:
        raise UsageError("settings: a table in the environment is nested too deep", "see `kobe config docs`") from None
    except ValidationError as error:
        raise UsageError(_first_problem(error), f"see `kobe config docs`; set in {path or 'the environment'}") from None
    except SettingsError as error:
        raise UsageError(f"settings: {error}", 'write a table as JSON: KOBE_UNIVERSE__RELEASE={"SYMBOL": "reason"}') from None
    _refuse_beyond_reason(settings)
    _refuse_credentials(settings)
    return settings


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


def config_pin(settings: Settings) -> str:
    """SHA-256 (hex) of every setting that can change a number or an order; equal settings, equal pins, on every machine.

    Left out: where files lie (their content has a data version of its own), where a sweep runs, where alerts go.
    """
    return _pin(settings, tuple(Settings.model_fields))


def research_pin(settings: Settings) -> str:
    """SHA-256 (hex) of the settings that the folds stand on; a stage or a broker's host does not change it."""
    return _pin(settings, RESEARCH_SECTIONS)


def _pin(settings: Settings, sections: tuple[str, ...]) -> str:
    values = settings.model_dump(mode="json", include=set(sections) - {"compute"})
    values["data"]["files"]["path"] = settings.data.files.path.name
    values["data"]["polygon"]["candidates"] = None
    if "trading" in values:
        values["trading"]["alert_webhook"] = None
    if sections == RESEARCH_SECTIONS and settings.portfolio.book != BOOK:
        # Which one of the strategies trades changes no fold of any.
        values["portfolio"] = None
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the text that pins and versions hash."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


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


def _refuse_unknown_environment() -> None:
    for name in os.environ:
        if not name.upper().startswith("KOBE_") or name in RESERVED_ENV:
            continue
        if name != name.upper():
            raise UsageError(f"the environment sets {name}", "write its name in capitals")
        section = name.removeprefix("KOBE_").split("__")[0].lower()
        if section not in Settings.model_fields or "__" not in name:
            meant = _meant(section, Settings.model_fields)
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


def _anchored(place: Path, path: Path | None) -> Path:
    place = place.expanduser()
    return place if place.is_absolute() else ((path.parent if path else Path.cwd()) / place).resolve()


def _anchor_paths(settings: Settings, path: Path | None) -> Settings:
    """Relative paths count from the TOML file that names them (from the current folder without one)."""
    data = settings.data
    files_base = None if os.environ.get("KOBE_DATA__FILES__PATH") else path
    files = data.files.model_copy(update={"path": _anchored(data.files.path, files_base)})
    polygon = data.polygon
    if polygon.candidates:
        polygon_base = None if os.environ.get("KOBE_DATA__POLYGON__CANDIDATES") else path
        polygon = polygon.model_copy(update={"candidates": _anchored(polygon.candidates, polygon_base)})
    return settings.model_copy(update={"data": data.model_copy(update={"files": files, "polygon": polygon})})


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = _no_setting(where, first["loc"]) if first["type"] == "extra_forbidden" else first["msg"]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"settings: {where} {what}{more}" if where else f"settings: {what}{more}"


def _no_setting(key: str, place: tuple[int | str, ...]) -> str:
    return f"is {MOVED[key]} now" if key in MOVED else f"is no setting{_meant_by(place)}"


def _meant_by(place: tuple[int | str, ...]) -> str:
    """`_meant` for the last name of `place`, among the keys of the table that the names before it lead to."""
    model: type[BaseModel] = Settings
    for part in place[:-1]:
        kind = model.model_fields[str(part)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ""
        model = kind
    return _meant(str(place[-1]), model.model_fields)


def _meant(name: str, known: Iterable[str]) -> str:
    """The known name that `name` looks like, as the end of a sentence; empty where none does."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
