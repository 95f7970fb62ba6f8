"""Typed settings: a table of the TOML file a class; what a key means, its default, and what values it takes."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

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
SECRET_URLS = ("trading.alert_webhook", "alerts.urls")
"""Whose path is the password; elsewhere an address is a scheme, a host, a port and a path."""
AlertKind = Literal["failed", "halted", "run", "kill", "unprotected", "difference", "orders"]
"""What an alert tells of."""
DEFAULT_ALERTS: tuple[AlertKind, ...] = ("failed", "halted", "run", "kill", "unprotected", "difference")

VendorName = Literal["sample", "synthetic", "files", "polygon", "alpaca"]
VENDORS: tuple[VendorName, ...] = get_args(VendorName)
"""The sources of bars; without a setting it is the first."""

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NoneByName = BeforeValidator(lambda value: None if value == "none" else value)
"""TOML has no word for nothing: an optional number takes "none"."""


def _named(given: Any) -> Any:
    """The path as given; an empty text would mean the current folder."""
    if isinstance(given, str) and not given.strip():
        raise ValueError("names no file or folder; leave the setting out where there is none")
    return given


NamedPath = Annotated[Path, BeforeValidator(_named)]


def split_addresses(given: Any) -> Any:
    """The addresses of a text, as an environment variable holds them: a JSON list, or one beside the other."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except ValueError:
            # The text is a secret: what is wrong with it is said without it.
            raise ValueError("is no list of addresses") from None
    return [part for part in re.split(r"\s+|,\s*(?=[\w.+-]+://)", given) if part]


class Section(BaseModel):
    """A table of the TOML file; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FilesData(Section):
    """Own bars: a folder, or the bars file itself."""

    path: NamedPath = Field(
        Path("bars.csv"),
        description="bars.parquet or bars.csv, or its folder; splits.csv, dividends.csv, candidates.csv beside it",
    )
    max_bad_rows: float = Field(
        0.01, ge=0, lt=1, description="share of bad rows, which are set aside, above which the whole file is refused"
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
    candidates: NamedPath | None = Field(None, description="a CSV with a `symbol` column; none: all active common stocks")


class AlpacaData(Section):
    """Alpaca end-of-day bars since 2016, free; needs ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY."""

    base_url: str = Field("https://data.alpaca.markets", description="the host of bars and corporate actions")
    assets_url: str = Field(
        "https://paper-api.alpaca.markets", description="the host that lists assets: the one that the keys trade on"
    )
    calls_per_minute: NonNegativeInt = Field(150, description="calls for bars in any minute; 0 switches pacing off")
    candidates: NamedPath | None = Field(
        None, description='a CSV with a `symbol` column; none: active assets whose name says "common stock"'
    )


class DataSettings(Section):
    """Where bars come from, and which span of them."""

    vendor: VendorName = Field("sample", description="the source of bars")
    start: dt.date | None = Field(None, description="first session to load; none: all the vendor has (Polygon: 11 years)")
    end: dt.date | None = Field(None, description="last session to load; none: the latest complete one")
    files: FilesData = FilesData()
    synthetic: SyntheticData = SyntheticData()
    polygon: PolygonData = PolygonData()
    alpaca: AlpacaData = AlpacaData()

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
    folder: NamedPath | None = Field(None, description="own strategies: every Strategy of its *.py; none: those of Kobe only")
    parameters: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="[strategy.parameters.<strategy>] parameter = value, over the strategy's own"
    )


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
    strategies: Annotated[list[str] | None, NoneByName] = Field(
        None, min_length=1, description="names of those that are studied; none: all that are registered"
    )
    grid: dict[str, dict[str, list[float]]] = Field(
        default_factory=dict,
        description="[walk_forward.grid.<strategy>] parameter = [values]; none: the strategy's own",
    )


class ReportSettings(Section):
    """What the report measures beside the folds, and how many stay."""

    benchmark: Annotated[str | None, NoneByName] = Field(
        None, description="a symbol whose holding stands beside that of the universe, where its bars are stored"
    )
    resamples: NonNegativeInt = Field(2000, description="histories drawn from the trades by entry session; 0: none")
    permutations: NonNegativeInt = Field(
        100, description="runs of as many entries drawn from all that could have been traded; 0: none"
    )
    keep: PositiveInt = Field(10, description="copies of earlier reports that stay; older ones are removed")


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


class AlertSettings(Section):
    """A word on the phone; the addresses are secrets, and may stand in the environment or in KOBE_ENV_FILE instead."""

    urls: Annotated[list[SecretStr], NoDecode, BeforeValidator(split_addresses)] = Field(
        default_factory=list, description="Apprise addresses: mail, Slack, Telegram, Discord and a hundred others"
    )
    on: list[AlertKind] = Field(
        default_factory=lambda: list(DEFAULT_ALERTS),
        description="what is sent: run is a line for each that went well, orders those of the evening",
    )


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
    # A factory, because strategies that are given replace the default ones, and are not laid over them.
    portfolio: PortfolioSettings = Field(default_factory=PortfolioSettings)
    simulation: SimulationSettings = SimulationSettings()
    sizing: SizingSettings = SizingSettings()
    execution: ExecutionSettings = ExecutionSettings()
    costs: CostsSettings = CostsSettings()
    policy: PolicySettings = PolicySettings()
    walk_forward: WalkForwardSettings = WalkForwardSettings()
    report: ReportSettings = ReportSettings()
    broker: BrokerSettings = BrokerSettings()
    trading: TradingSettings = TradingSettings()
    alerts: AlertSettings = AlertSettings()
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="after")
    def check_together(self) -> Settings:
        """Itself, or a ValueError where settings of different sections contradict each other."""
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
