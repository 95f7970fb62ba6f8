"""The commented kobe.toml: only what differs from the defaults, each line with its reason."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from kobe_jobs.cli.first_settings.market_look import MarketLook
from kobe_jobs.cli.first_settings.sizing import FittingSizes, fitting_sizes
from kobe_jobs.cli.first_settings.vendor_look import FREE_YEARS, VendorLook
from kobe_resources.settings.toml_text import toml_text

FIRST_STEP, FIRST_SESSION = 75, 75
"""Dollars of an order, and of a session's entries, with which a broker's account is begun."""
STAGES_WITH_MONEY = ("paper", "live")
YEARS = (10.0, 7.0, 5.0, 3.0, 2.0, 1.0, 0.5)
MOST = 0.8
"""The share of the symbols that should have the years that are asked for."""
EXPECTED = MarketLook(950, 2500, dt.date.min, dt.date.max, 0, 0, (10.0,) * 950, (5.0, 400.0, 790.0), 45, 110)
"""What the 950 most liquid stocks ask for in a usual session: nothing is loaded yet that could be counted."""


@dataclass(frozen=True)
class Wanted:
    """What a person answered. vendor: as in data.vendor. path: of own files, as it is to be written."""

    vendor: str
    cash: float
    stage: str
    path: Path | None = None


def settings_text(wanted: Wanted, files: MarketLook | None, vendor: VendorLook | None) -> str:
    """The whole file. files: the look at own bars; vendor: the look at a vendor's plan."""
    if wanted.vendor == "sample":
        parts = [_head("the embedded sample: five stocks from 2000 to 2013, no key"), _sample(wanted), _broker(wanted)]
        return "\n".join(parts)
    look = files or EXPECTED
    sizes = fitting_sizes(wanted.cash, look.prices[1], look.prices[2], look.signals, look.positions)
    data = _files(wanted, look) if files else _polygon(vendor) if wanted.vendor == "polygon" else _alpaca(vendor)
    parts = [_head({"files": "own bars"}.get(wanted.vendor, wanted.vendor.capitalize())), data]
    parts += [_account(wanted), _sizing(wanted, sizes, look), _policy(wanted, sizes), _windows(look, vendor), _broker(wanted)]
    return "\n".join(part for part in parts if part)


def _head(source: str) -> str:
    return (
        f"# Kobe on {source}. Written by `kobe init`; yours from here on.\n"
        "# What is not named here has its default: `kobe config show` prints all in force, docs/settings.md explains it.\n"
    )


def _sample(wanted: Wanted) -> str:
    return (
        '[data]\nvendor = "sample"\n\n'
        f"[simulation]\ninitial_cash = {wanted.cash:.15g}    # dollars at the start of every fold\n\n"
        f"[sizing]\norder_notional = {FIRST_STEP}    # dollars an order aims at\nwhole_shares = false\n"
    )


def _files(wanted: Wanted, look: MarketLook) -> str:
    years = next((years for years in YEARS if _with(look, years) >= MOST * look.symbols), 0.0)
    enough = _with(look, years)
    return (
        f"# {look.symbols:,} symbols, {look.bars:,} bars, {look.sessions:,} sessions from {look.first} to {look.last}\n"
        f'[data]\nvendor = "files"\nfiles.path = {toml_text(str(wanted.path))}\n\n'
        f"[universe]\nmin_years = {years:g}    # {enough:,} of {look.symbols:,} symbols have as many\n"
        f"min_symbols = {max(1, int(MOST * enough))}    # `kobe universe validate` fails below\n"
    )


def _with(look: MarketLook, years: float) -> int:
    return sum(has >= years for has in look.years)


def _alpaca(vendor: VendorLook | None) -> str:
    host = f"assets_url = {toml_text(vendor.assets_url)}    # the keys' own host\n" if vendor and vendor.assets_url else ""
    return (
        '# Ten years of raw consolidated bars, splits and dividends; nothing lies before 2016.\n[data]\nvendor = "alpaca"\n\n'
        f"[data.alpaca]\ncalls_per_minute = 150    # the free plan has 200; the account's orders need some of them\n{host}\n"
        + _liquid(10)
    )


def _polygon(vendor: VendorLook | None) -> str:
    if vendor is None or vendor.reaches_ten_years:
        return (
            '[data]\nvendor = "polygon"\n\n'
            "[data.polygon]\ncalls_per_minute = 0    # no pacing, for paid plans; the free one has 5\n\n" + _liquid(10)
        )
    start = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=365 * FREE_YEARS - 7)
    return (
        f'[data]\nvendor = "polygon"\nstart = {start}    # the plan reaches back {FREE_YEARS} years\n\n'
        '[data.polygon]\ncalls_per_minute = 5\nfirst_load = "grouped"    # a call a session: about two hours, resumable\n\n'
        + _liquid(FREE_YEARS - 0.5, options=False)
    )


def _liquid(years: float, options: bool = True) -> str:
    comment = "listed options" if options else "no word on options: at five calls a minute to ask takes a day"
    return (
        f"[universe]\nmin_symbols = 500\ncap = {EXPECTED.symbols}    # the most liquid ones\nmin_years = {years:g}\n"
        f"min_adv_usd = 10_000_000    # dollars traded a day, on average over 60 sessions\n"
        f"require_options = {'true' if options else 'false'}    # {comment}\n"
    )


def _account(wanted: Wanted) -> str:
    return (
        f"[simulation]\ninitial_cash = {wanted.cash:.15g}    # dollars at the start of every fold, and of Kobe's own account\n"
    )


def _sizing(wanted: Wanted, sizes: FittingSizes, look: MarketLook) -> str:
    if wanted.stage in STAGES_WITH_MONEY:
        return (
            f'[sizing]    # first steps with a broker; later: mode = "equity", fraction = {sizes.fraction:g}\n'
            f'mode = "fixed"\norder_notional = {FIRST_STEP}    # dollars; a stock that costs more is not bought\n'
            "whole_shares = true\n"
        )
    order = sizes.fraction * wanted.cash
    parts = "true" if sizes.whole_shares else "false    # a share of the dear symbols costs more than an order"
    return (
        f"# A usual session {look.usual_words};"
        f" nine in ten symbols\n# cost at most ${look.prices[1]:,.2f}.\n"
        f'[sizing]\nmode = "equity"\nfraction = {sizes.fraction:g}    # of the account an order: ${order:,.0f} at first\n'
        f"whole_shares = {parts}\n"
    )


def _policy(wanted: Wanted, sizes: FittingSizes) -> str:
    dearest = f"max_price = {sizes.max_price:.15g}    # dollars a share\n" if sizes.max_price > 1000 else ""
    if wanted.stage in STAGES_WITH_MONEY:
        return (
            f"[policy]    # the gate, for research and orders alike\nmax_notional_per_order = {FIRST_STEP}\n"
            f"max_daily_notional = {FIRST_SESSION}    # one order a session: raise it when OPERATING.md says so\n{dearest}"
        )
    return (
        "[policy]    # the gate, for research and orders alike: shares of the account instead of dollars\n"
        "# Before paper or live, begin small: `kobe init --stage paper --out paper.toml` writes orders of $75.\n"
        'max_notional_per_order = "none"\nmax_daily_notional = "none"\n'
        f"max_order_fraction = {min(1.0, 2 * sizes.fraction):g}\n"
        f"max_daily_fraction = {sizes.daily_fraction:g}    # a session's entries\n"
        f"max_gross_exposure = 1    # all positions together\n{dearest}"
    )


def _windows(look: MarketLook, vendor: VendorLook | None) -> str:
    sessions = look.sessions if vendor is None or vendor.reaches_ten_years else FREE_YEARS * 250
    if sessions >= 200 + 252 + 4 * 63:
        return ""
    return (
        "[walk_forward]    # shorter than usual, because the history is: the figures say little\n"
        "warmup = 200\ntrain = 126\ntest = 42\n"
    )


def _broker(wanted: Wanted) -> str:
    comment = {"shadow": "decides and sends nothing"}.get(wanted.stage, "see OPERATING.md")
    return (
        f'[broker]\nstage = "{wanted.stage}"    # {comment}\n\n'
        "# Strategies of your own: `kobe strategies new my_idea` writes one, and names its folder in here.\n"
    )
