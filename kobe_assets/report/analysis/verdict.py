"""The verdict in words: per book, per question, and for the page as a whole; also the rows of the terminal's table.

A backtest never earns more than a trial on paper. One gate that failed or could not be measured is enough for a no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kobe_assets.report.analysis.cautions import SYNTHETIC, as_sentence, ended_companies, is_synthetic, most_refused
from kobe_assets.report.analysis.criteria import QUESTIONS, Context, Result, judge
from kobe_assets.report.analysis.cut_trades import describe_cuts, describe_ruin
from kobe_assets.report.analysis.inputs import DATA, ReportInputs
from kobe_assets.report.analysis.metrics_glossary import show, show_range
from kobe_assets.report.analysis.recorded_checks import checks
from kobe_assets.report.analysis.results import Curve, StrategyResult, benchmark_of, books_of, matched_returns, on_sessions

Answer = Literal["yes", "no", "unknown"]

WORTHY = "worth a trial on paper"
UNWORTHY = "does not deserve money"
UNPROVEN = "not enough evidence"
SURVIVORS = "The stocks were chosen knowing which ones lasted: companies that failed are missing, so the past looks too good."
NONE_ENDED = "No stock in these bars ever stopped trading: companies that failed are missing, so the past looks too good."
LEFT_OUT = "Interest and taxes are left out; a live order may fill worse or not at all."
NO_DIVIDENDS = "No dividends are stored for these stocks: neither the account nor holding is paid any, and shorts owe none."
FREE_SHORTS = "Shorts borrow their stock for nothing here (costs.borrow_rate is 0)."
NO_FEES = "Fees that are charged on every sale are switched off (costs.regulatory_fees)."
FEW_STOCKS, MUCH_IDLE = 30, 0.75
"""Below so many stocks, and above such an idle share of the account, the page says so."""
ANSWER_WORDS = {"yes": "Yes", "no": "No", "unknown": "Not shown"}


@dataclass(frozen=True)
class Verdict:
    """A book's judgement. sentence: the reason in plain words. answers: question → yes, no, unknown."""

    book: StrategyResult
    results: list[Result]
    word: str
    sentence: str
    answers: dict[str, Answer]

    @property
    def passed(self) -> int:
        """Gates passed."""
        return sum(result.state == "pass" for result in self.results)

    @property
    def worthy(self) -> bool:
        """Whether every gate passed."""
        return self.passed == len(self.results)

    def of_question(self, question: str) -> list[Result]:
        """The outcomes under one question."""
        return [result for result in self.results if result.gate.question == question]


@dataclass(frozen=True)
class FailedGate:
    """A gate that failed or was not measured: its number and bar as numbers (None where not measured) and in words.

    distance: how far the number is from its bar, above 0. change: what would have to change, or why there is no number.
    """

    gate: str
    question: str
    label: str
    state: str
    value: float | None
    bar: float | None
    distance: float | None
    shown: str
    needs: str
    short: str
    change: str


@dataclass(frozen=True)
class VerdictRow:
    """A line of the terminal's verdict table; ratios and fractions as in rules section 6, None where null."""

    strategy: str
    mode: str
    sharpe: float | None
    sharpe_lo: float | None
    sharpe_hi: float | None
    cagr: float | None
    max_drawdown: float | None
    trades: int
    gates_passed: int
    gates: int
    verdict: str
    failed: list[FailedGate] = field(default_factory=list)


def context_of(inputs: ReportInputs) -> Context:
    """What the gates look at beside a book."""
    doctor = inputs.evidence.get(DATA, {}).get("doctor") or {}
    return Context(inputs.settings, benchmark_of(inputs), tuple(doctor.get("traded_over", ())))


def verdict_of(book: StrategyResult, context: Context) -> Verdict:
    """Judge one book."""
    results = judge(book, context)
    answers = {question: _answer([r for r in results if r.gate.question == question]) for question in QUESTIONS}
    if all(answer == "yes" for answer in answers.values()):
        word = WORTHY
    elif any(result.state == "fail" for result in results):
        word = UNWORTHY
    else:
        word = UNPROVEN
    return Verdict(book, results, word, _because(book, answers, results), answers)


def verdict_rows(inputs: ReportInputs, books: Sequence[StrategyResult] | None = None) -> list[VerdictRow]:
    """The verdict table, one row a book. books: those of the inputs, where the caller has them."""
    context = context_of(inputs)
    return [_row(verdict_of(book, context)) for book in (books_of(inputs) if books is None else books)]


NAMED = 2
"""So many that are worth a trial are named in the headline, which must stay a line or two."""


def headline(verdicts: Sequence[Verdict]) -> str:
    """The whole page in one sentence."""
    count, worthy = len(verdicts), [verdict for verdict in verdicts if verdict.worthy]
    if not count:
        return "Nothing has been tested yet."
    if not worthy:
        if all(verdict.word == UNPROVEN for verdict in verdicts):
            whom = "any of these strategies" if count > 1 else "this strategy"
            return f"There is not enough evidence to trust {whom} with money."
        return "None of these strategies deserves money." if count > 1 else "This strategy does not deserve money."
    names = ", ".join(verdict.book.title for verdict in worthy)
    if len(worthy) == count:
        return (
            "This strategy is worth a trial on paper."
            if count == 1
            else "Every one of these strategies is worth a trial on paper."
        )
    if len(worthy) > NAMED:
        return f"{len(worthy)} of {count} strategies and modes are worth a trial on paper."
    others, do = ("others", "do") if count - len(worthy) > 1 else ("other", "does")
    if all(verdict.worthy or verdict.word == UNPROVEN for verdict in verdicts):
        return f"Worth a trial on paper: {names}. There is not enough evidence for the {others}."
    return f"Worth a trial on paper: {names}. The {others} {do} not deserve money."


def story(book: StrategyResult, benchmark: Curve | None, initial_cash: float, chosen: tuple[str, Curve] | None = None) -> str:
    """What happened on unseen sessions, in dollars, for a reader who knows no figure.

    chosen: name and growth of one more thing to hold.
    """
    if book.curve.empty:
        return "This strategy has no out-of-sample sessions, so nothing can be said about it."
    first, last = (str(day)[:10] for day in (book.curve["session"].iloc[0], book.curve["session"].iloc[-1]))
    end = float(book.curve["growth"].iloc[-1]) * initial_cash
    trades = "trade" if len(book.trades) == 1 else "trades"
    unit = "cents" if show(end, "money") == show(initial_cash, "money") else "money"
    text = (
        f"On {show(book.years, 'years')} of sessions it had never seen ({first} to {last}) it turned "
        f"{show(initial_cash, 'money')} into {show(end, unit)} after costs, in {len(book.trades):,} {trades}."
    )
    if book.trades.empty:
        text = (
            f"On {show(book.years, 'years')} of sessions it had never seen ({first} to {last}) it made no trade: "
            f"{show(initial_cash, 'money')} stayed {show(initial_cash, 'money')}."
        )
    held = on_sessions(benchmark, book.curve["session"].to_numpy())[-1] if benchmark else float("nan")
    if held == held:
        bought = show(float(held) * initial_cash, "money")
        text += f" The same stocks, bought in equal parts at its start and held, would have made it {bought}"
        matched = matched_returns(book, benchmark)
        at_work = book.figure("exposure")
        if matched is not None and at_work:
            grown = show(float(np.prod(1.0 + matched)) * initial_cash, "money")
            text += f"; held with no more money at work than the strategy had ({show(at_work, 'percent')} of it), {grown}"
        text += "."
    if chosen is not None:
        alone = on_sessions(chosen[1], book.curve["session"].to_numpy())[-1]
        if alone == alone:
            text += f" {chosen[0]}, held, would have made it {show(float(alone) * initial_cash, 'money')}."
    if book.trades.empty:
        return text
    return f"{text} Its worst fall from a peak was {show(-float(book.curve['drawdown'].min()), 'percent')}."


def caveats(book: StrategyResult, inputs: ReportInputs) -> list[str]:
    """What a reader must know before believing any number of the book."""
    found = []
    if is_synthetic(inputs.settings):
        found.append(as_sentence(SYNTHETIC))
    elif inputs.settings.universe.membership == "static":
        ended = ended_companies(inputs.universe)
        found.append(f"{SURVIVORS.rstrip('.')}, though {ended:,} that stopped trading are among them." if ended else SURVIVORS)
    elif not ended_companies(inputs.universe):
        found.append(NONE_ENDED)
    selected = int(inputs.universe["selected"].sum()) if len(inputs.universe) else 0
    if selected < FEW_STOCKS:
        stand = "stock stands" if selected == 1 else "stocks stand"
        found.append(f"Only {selected} {stand} behind this: too few to speak of the market.")
    at_work, ruin = book.figure("exposure"), describe_ruin(book)
    # What was lost does not lie idle.
    if at_work is not None and 1 - at_work > MUCH_IDLE and not ruin:
        idle, what = show(1 - at_work, "percent"), "growth" if (book.figure("net_pnl") or 0.0) >= 0 else "a loss"
        found.append(f"On an average day {idle} of the account lay idle and earned nothing, so {what} a year looks small.")
    refused = most_refused([book], inputs.settings)
    if refused:
        found.append(as_sentence(refused))
    found += ruin + describe_cuts(book)
    failed = (check for check in checks(inputs) if check.state != "pass")
    found += [f"The check {check.name} did not pass: {check.description.rstrip('.')}." for check in failed]
    return [*found, *_unpaid(inputs), LEFT_OUT]


def _unpaid(inputs: ReportInputs) -> list[str]:
    """What others are paid, or pay, and this account does not, with these bars and settings."""
    costs = inputs.settings.costs
    unpaid = {
        NO_DIVIDENDS: not inputs.evidence.get(DATA, {}).get("dividends"),
        FREE_SHORTS: inputs.settings.policy.allow_shorts and costs.borrow_rate == 0,
        NO_FEES: not costs.regulatory_fees,
    }
    return [text for text, holds in unpaid.items() if holds]


def kpi_markdown(rows: Sequence[VerdictRow]) -> str:
    """The verdict table as Markdown, for the metadata of the asset: one line a row, so that no cell may break."""
    heads = ("strategy", "mode", "verdict", "gates", "Sharpe", "95 % range", "growth a year", "worst fall", "trades")
    lines = [f"| {' | '.join(_unbroken(head) for head in heads)} |", "|---|---|---|:-:|--:|:-:|--:|--:|--:|"]
    for row in rows:
        span = show_range(row.sharpe_lo, row.sharpe_hi, "ratio")
        cells = [
            row.strategy,
            row.mode,
            row.verdict,
            f"{row.gates_passed}/{row.gates}",
            show(row.sharpe, "ratio"),
            span,
            show(row.cagr, "percent"),
            show(row.max_drawdown, "percent"),
            f"{row.trades:,}",
        ]
        names, rest = cells[:2], cells[2:]
        lines.append(f"| {' | '.join([*map(_markdown, names), *(_unbroken(_markdown(cell)) for cell in rest)])} |")
    return "\n".join(lines)


def _row(verdict: Verdict) -> VerdictRow:
    book = verdict.book
    return VerdictRow(
        strategy=book.strategy,
        mode=book.mode,
        sharpe=book.figure("sharpe"),
        sharpe_lo=book.figure("sharpe_lo"),
        sharpe_hi=book.figure("sharpe_hi"),
        cagr=book.figure("cagr"),
        max_drawdown=book.figure("max_drawdown"),
        trades=len(book.trades),
        gates_passed=verdict.passed,
        gates=len(verdict.results),
        verdict=verdict.word,
        failed=[failed_gate(result) for result in verdict.results if result.state != "pass"],
    )


def failed_gate(result: Result) -> FailedGate:
    """What the terminal and `--json` show of a gate that did not pass."""
    gate = result.gate
    change = result.change if result.state == "fail" else as_sentence(result.why or "not measured")
    return FailedGate(
        gate.name, gate.question, gate.label, result.state, result.number, result.bar, result.distance, result.value,
        result.needs, result.short, change,
    )  # fmt: skip


def _answer(results: Sequence[Result]) -> Answer:
    if any(result.state == "fail" for result in results):
        return "no"
    return "unknown" if any(result.state == "unknown" for result in results) else "yes"


def _because(book: StrategyResult, answers: dict[str, Answer], results: Sequence[Result]) -> str:
    if book.trades.empty:
        return "It never traded, so there is nothing to judge."
    failed = [result.gate for result in results if result.state == "fail"]
    if failed and failed[0].name == "profit":
        return "It lost money after costs."
    # The first failure under each question says enough; the cards hold the rest.
    parts = list({gate.question: gate.blame for gate in reversed(failed)}.values())[::-1]
    if parts:
        text = ", and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]}, and {parts[2]}"
        return f"{text[0].upper()}{text[1:]}."
    if all(answer == "yes" for answer in answers.values()):
        return "Every gate passed. That earns a trial with orders on paper, not yet with money."
    return "Nothing failed, but not everything could be measured, and what is not measured has not passed."


def _markdown(text: str) -> str:
    for sign in "\\|<>[]*_`":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return text


def _unbroken(text: str) -> str:
    """Spaces and hyphens where a browser breaks no line."""
    return text.replace(" ", "\u00a0").replace("-", "\u2011")
