"""Which calls bring the store up: everything missing is covered, nothing covered is asked for, and the way is the cheap one."""

from __future__ import annotations

import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from kobe_resources.market_data.polygon.plan import DAY, LoadPlan, RangeCall, Span, merged, plan_calls, usable

FIRST = dt.date(2026, 1, 5)
SESSIONS = [day for index in range(60) if (day := FIRST + dt.timedelta(days=index)).weekday() < 5]
ALL = Span(SESSIONS[0], SESSIONS[-1])
SYMBOLS = [f"S{number}" for number in range(8)]


def covering(plan: LoadPlan, coverage: dict[str, Span], symbols: list[str]) -> dict[str, set[dt.date]]:
    """The sessions each symbol has, covered before or fetched by the plan."""
    had = {symbol: {day for day in SESSIONS if coverage[symbol].first <= day <= coverage[symbol].last} for symbol in coverage}
    for call in plan.ranges:
        had.setdefault(call.symbol, set()).update(day for day in SESSIONS if call.span.first <= day <= call.span.last)
    for symbol in plan.day_symbols:
        had.setdefault(symbol, set()).update(plan.days)
    return {symbol: had.get(symbol, set()) for symbol in symbols}


spans = st.tuples(st.integers(0, len(SESSIONS) - 1), st.integers(0, len(SESSIONS) - 1)).map(
    lambda ends: Span(SESSIONS[min(ends)], SESSIONS[max(ends)])
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(SYMBOLS), spans), spans, st.sampled_from(["range", "grouped"]))
def test_any_span_is_covered_by_the_plan_and_nothing_in_it_twice(coverage: dict[str, Span], span: Span, mode: str) -> None:
    sessions = [day for day in SESSIONS if span.first <= day <= span.last]
    plan = plan_calls(coverage, SYMBOLS, span, sessions, mode)  # type: ignore[arg-type]
    for symbol, had in covering(plan, coverage, SYMBOLS).items():
        assert set(sessions) <= had, symbol
    for call in plan.ranges:
        known = coverage.get(call.symbol)
        assert call.span.first <= call.span.last
        assert known is None or call.span.last < known.first or known.last < call.span.first
    assert len(set(plan.ranges)) == len(plan.ranges)


def test_a_first_load_by_ranges_is_one_call_a_symbol() -> None:
    plan = plan_calls({}, SYMBOLS, ALL, SESSIONS, "range")
    assert plan.ranges == tuple(RangeCall(symbol, ALL) for symbol in SYMBOLS)
    assert plan.days == ()


def test_a_first_load_by_days_is_one_call_a_session() -> None:
    plan = plan_calls({}, SYMBOLS, ALL, SESSIONS, "grouped")
    assert plan.ranges == ()
    assert plan.days == tuple(SESSIONS)
    assert plan.day_symbols == set(SYMBOLS)


def test_a_first_load_by_days_goes_on_by_days() -> None:
    half = dict.fromkeys(SYMBOLS, Span(SESSIONS[0], SESSIONS[20]))
    plan = plan_calls(half, SYMBOLS, ALL, SESSIONS, "grouped")
    assert plan.ranges == ()
    assert plan.days == tuple(SESSIONS[21:])


def test_the_day_after_is_one_call_of_the_market() -> None:
    yesterday = dict.fromkeys(SYMBOLS, Span(SESSIONS[0], SESSIONS[-2]))
    for mode in ("range", "grouped"):
        plan = plan_calls(yesterday, SYMBOLS, ALL, SESSIONS, mode)  # type: ignore[arg-type]
        assert plan == LoadPlan((), (SESSIONS[-1],), frozenset(SYMBOLS))


def test_one_new_symbol_is_one_call_in_both_manners() -> None:
    known = dict.fromkeys(SYMBOLS, ALL)
    for mode in ("range", "grouped"):
        assert plan_calls(known, [*SYMBOLS, "NEW"], ALL, SESSIONS, mode).ranges == (RangeCall("NEW", ALL),)  # type: ignore[arg-type]


def test_few_symbols_that_lag_far_behind_are_called_one_by_one() -> None:
    known = dict.fromkeys(SYMBOLS, Span(SESSIONS[0], SESSIONS[-2])) | {"S0": Span(SESSIONS[0], SESSIONS[5])}
    plan = plan_calls(known, SYMBOLS, ALL, SESSIONS, "range")
    assert plan.ranges == (RangeCall("S0", Span(SESSIONS[5] + DAY, ALL.last)),)
    assert plan.days == (SESSIONS[-1],)


def test_everything_covered_needs_no_call() -> None:
    assert plan_calls(dict.fromkeys(SYMBOLS, ALL), SYMBOLS, ALL, SESSIONS, "range") == LoadPlan((), (), frozenset())


def test_an_earlier_start_asks_for_the_missing_years_only() -> None:
    known = {"S0": Span(SESSIONS[30], ALL.last)}
    assert plan_calls(known, ["S0"], ALL, SESSIONS, "range").ranges == (RangeCall("S0", Span(ALL.first, SESSIONS[30] - DAY)),)


def test_coverage_grows_at_both_ends() -> None:
    assert merged(None, ALL) == ALL
    assert merged(Span(SESSIONS[5], SESSIONS[9]), Span(SESSIONS[0], SESSIONS[5] - DAY)) == Span(SESSIONS[0], SESSIONS[9])


def test_coverage_never_claims_a_gap() -> None:
    early, late = Span(SESSIONS[0], SESSIONS[3]), Span(SESSIONS[20], SESSIONS[30])
    assert merged(early, late) == late
    assert merged(late, early) == early
    assert usable(early, late) is None
    assert usable(early, ALL) == early
    assert plan_calls({"S0": early}, ["S0"], late, SESSIONS[20:31], "range").ranges == (RangeCall("S0", late),)
