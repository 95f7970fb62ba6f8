"""The index of the reports as a page, and two reports beside each other: HTML without a script.

It trusts nothing of the pages but the summary at their beginning, and escapes that.
"""

from __future__ import annotations

import datetime as dt
import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kobe_resources.runtime.report_summary import LATEST, read_summary

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #1d1c1a; --soft: #625e57; --rule: #e3dfd6;
  --one: #1f5fa8; --two: #a05a00; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #131416; --ink: #ebe9e4; --soft: #a5a097; --rule: #303237; --one: #74aaea; --two: #e0a040; }
}
body { margin: 0 auto; max-width: 1160px; padding: 1.5rem clamp(1rem, 3vw, 2rem) 3rem;
  background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2 { font-family: Charter, Georgia, serif; line-height: 1.2; }
h2 { margin: 2rem 0 .4rem; }
a { color: var(--one); }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--rule); }
th { font-weight: 400; }
thead th { color: var(--soft); white-space: nowrap; vertical-align: bottom; }
thead a { color: inherit; display: inline-block; padding: .2rem 0; }
.num { text-align: right; white-space: nowrap; }
td ul { margin: 0; padding: 0; list-style: none; }
input[type=radio] { width: 1.5rem; height: 1.5rem; margin: 0; }
button { font: inherit; margin-top: 1rem; min-height: 2.2rem; padding: .3rem 1rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
path { fill: none; stroke-width: 1.8; }
path.grid { stroke: var(--rule); stroke-width: 1; }
path.one { stroke: var(--one); }
path.two { stroke: var(--two); stroke-dasharray: 6 3; }
.one { color: var(--one); }
.two { color: var(--two); }
@media (max-width: 640px) {
  .num { white-space: normal; }
  svg text { font-size: 24px; }
  .reports, .reports tbody, .reports td { display: block; }
  .reports tr { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: .6rem 0; border-bottom: 1px solid var(--rule); }
  .reports th, .reports td { border: 0; padding: 0; }
  .reports td { flex: 1 1 100%; }
  .reports td.pick { display: flex; flex: 0 1 auto; align-items: center; gap: .4rem; }
  .reports td[data-label]::before { content: attr(data-label); color: var(--soft); margin-right: .5rem; }
  .reports thead .pick { display: none; }
}
"""
WIDTH, HEIGHT, LEFT, LOW = 860, 240, 64, 24
"""The drawing, and the room for figures at its left and for dates under it."""


@dataclass(frozen=True)
class _Report:
    """A page of the folder. twin: the copy with the same content, for the latest. summary: empty where it has none."""

    name: str
    made: float
    summary: Mapping[str, Any]
    twin: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        return dict(self.summary.get("settings") or {})

    @property
    def books(self) -> Sequence[Mapping[str, Any]]:
        return list(self.summary.get("books") or [])

    @property
    def span(self) -> str:
        first, last = self.summary.get("first"), self.summary.get("last")
        return f"{first} to {last}" if first and last else ""

    @property
    def verdict(self) -> str:
        worthy = [str(book.get("title")) for book in self.books if book.get("passed") == book.get("gates")]
        return f"worth a trial: {', '.join(worthy)}" if worthy else str(self.summary.get("headline", ""))


_ORDERS: dict[str, tuple[str, Callable[[_Report], Any], bool]] = {
    "made": ("Report", lambda one: one.made, True),
    "verdict": ("Verdict", lambda one: (not one.verdict.startswith("worth"), one.verdict), False),
    "vendor": ("Vendor", lambda one: str(one.summary.get("vendor", "")), False),
    "span": ("Sessions", lambda one: one.span, False),
    "settings": ("Settings that differ", lambda one: json.dumps(one.settings, sort_keys=True, default=str), False),
}
"""Name in the address → heading, what it sorts by, whether the largest comes first."""


BACKTESTS, RUN_PAGE = "backtests", "backtest.html"
"""The folder of backtests beside that of the reports, and the page of one in its own folder there."""
ACCOUNT = '<p><a href="/account">The account</a></p>'


def index_page(folder: Path, sort: str) -> str:
    """Every report of the folder in one table, and the backtests beside it.

    sort: a name of `_ORDERS`, with a minus for the other way round.
    """
    reports, looks = _reports(folder), _backtests(folder.with_name(BACKTESTS))
    if not reports:
        none = "<p>No report yet: run <code>kobe report</code>.</p>"
        return _page("Kobe reports", f"<h1>Kobe reports</h1>{ACCOUNT}{none}{looks}")
    backward = sort.startswith("-")
    by = sort.lstrip("-") if sort.lstrip("-") in _ORDERS else "made"
    _, key, falling = _ORDERS[by]
    ordered = sorted(reports, key=key, reverse=falling != backward)
    differing = _differing([one for one in reports if one.summary])
    heads = "".join(_head(name, by, backward) for name in _ORDERS)
    chosen = [one.name for one in ordered if one.summary][:2]
    rows = "".join(_row(one, differing, chosen) for one in ordered)
    table = (
        f'{_scroll("Reports")}<table class="reports"><thead><tr><th scope="col" class="pick">First</th>'
        '<th scope="col" class="pick">Second</th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    choose = '<button type="submit">Compare the first with the second</button>' if len(chosen) > 1 else ""
    return _page("Kobe reports", f'<h1>Kobe reports</h1>{ACCOUNT}<form action="/compare">{table}{choose}</form>{looks}')


def comparison_page(folder: Path, first: str, second: str) -> str:
    """Two reports, named by their files: what differs, curves over each other, figures in columns."""
    known = {one.name: one for one in _reports(folder) if one.summary}
    known |= {one.twin: one for one in known.values() if one.twin}
    back = '<p><a href="/">All reports</a></p>'
    if first not in known or second not in known or first == second:
        return _page(
            "Two reports", f"<h1>Two reports</h1><p>Choose two reports that are there, one first and one second.</p>{back}"
        )
    one, two = known[first], known[second]
    heads = "".join(
        f'<li class="{mark}">{word}: <a href="/{quote(report.name)}">{_text(report.name)}</a>, {_text(_made(report))}</li>'
        for mark, word, report in (("one", "First (solid)", one), ("two", "Second (dashed)", two))
    )
    parts = [f"<h1>Two reports</h1>{back}<ul>{heads}</ul>", "<h2>What differs</h2>", _differences(one, two)]
    titles = dict.fromkeys(str(book.get("title")) for report in (one, two) for book in report.books)
    parts += [_book_part(title, one, two) for title in titles]
    return _page("Two reports", "".join(parts))


def _backtests(folder: Path) -> str:
    """A link to the page of every backtest in a folder of its own in `folder`, newest first; empty without one."""
    # Links are not followed here, since the site follows none.
    pages = [
        path for path in folder.glob(f"*/{RUN_PAGE}") if path.is_file() and not (path.is_symlink() or path.parent.is_symlink())
    ]
    rows = "".join(
        f'<li><a href="/{BACKTESTS}/{quote(path.parent.name)}/{RUN_PAGE}">{_text(path.parent.name)}</a> '
        f"made {_moment(path.stat().st_mtime)}</li>"
        for path in sorted(pages, key=lambda path: -path.stat().st_mtime)
    )
    said = "Each is the latest run of <code>kobe backtest</code> in its folder: a look at one window, no evidence."
    return f'<h2>Backtests</h2><p class="soft">{said}</p><ul>{rows}</ul>' if rows else ""


def _reports(folder: Path) -> list[_Report]:
    found = [path for path in folder.glob("*.html") if path.is_file() and not path.is_symlink()] if folder.is_dir() else []
    latest = folder / LATEST
    twin = next((path for path in found if path != latest and _same(path, latest)), None)
    return [
        _Report(path.name, path.stat().st_mtime, read_summary(path) or {}, twin.name if twin and path == latest else "")
        for path in found
        if path != twin
    ]


def _same(path: Path, latest: Path) -> bool:
    """Whether both hold the same page; a report's summary names the minute it was made."""
    if not latest.is_file() or path.stat().st_size != latest.stat().st_size:
        return False
    summary = read_summary(path)
    return summary is not None and summary == read_summary(latest)


def _head(name: str, by: str, backward: bool) -> str:
    label, _, falling = _ORDERS[name]
    if name != by:
        return f'<th scope="col"><a href="/?sort={name}">{label}</a></th>'
    way = "descending" if falling != backward else "ascending"
    mark = "↓" if way == "descending" else "↑"
    return f'<th scope="col" aria-sort="{way}"><a href="/?sort={"" if backward else "-"}{name}">{label} {mark}</a></th>'


def _row(one: _Report, differing: Iterable[str], chosen: Sequence[str]) -> str:
    settings = [f"{name} = {_value(one.settings.get(name))}" for name in differing] if one.summary else []
    shown = "".join(f"<li>{_text(text)}</li>" for text in settings) or "<li>none</li>"
    note = f' <span class="soft">the latest, kept as {_text(one.twin)}</span>' if one.twin else ""
    return (
        f"<tr>{_radio('first', one, chosen[:1])}{_radio('second', one, chosen[1:])}"
        f'<td><a href="/{quote(one.name)}">{_text(one.name)}</a> made {_moment(one.made)}{note}</td>'
        f'<td>{_text(one.verdict)}</td><td data-label="Vendor">{_text(one.summary.get("vendor", ""))}</td>'
        f'<td data-label="Sessions">{_text(one.span)}</td><td data-label="Settings that differ"><ul>{shown}</ul></td></tr>'
    )


def _radio(name: str, one: _Report, chosen: Sequence[str]) -> str:
    if not one.summary:
        return '<td class="pick"></td>'
    checked = " checked" if one.name in chosen else ""
    value = _text(one.name)
    button = f'<input type="radio" name="{name}" value="{value}" aria-label="{name}: {value}" required{checked}>'
    return f'<td class="pick" data-label="{name.capitalize()}">{button}</td>'


def _scroll(label: str) -> str:
    """The beginning of a part that may be wider than the screen: the keyboard reaches it."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(label)}">'


def _differing(reports: Sequence[_Report]) -> list[str]:
    """Settings that are not the same in all reports."""
    names = sorted({name for one in reports for name in one.settings})
    return [name for name in names if len({_value(one.settings.get(name)) for one in reports}) > 1]


def _differences(one: _Report, two: _Report) -> str:
    """Settings and versions that the two do not share, as a table."""
    mine, others = ({**report.settings, **dict(report.summary.get("versions") or {})} for report in (one, two))
    names = [name for name in sorted({*mine, *others}) if _value(mine.get(name)) != _value(others.get(name))]
    if not names:
        return "<p>Settings and versions are the same.</p>"
    return _table("", [(name, _value(mine.get(name)), _value(others.get(name))) for name in names])


def _book_part(title: str, one: _Report, two: _Report) -> str:
    books = [next((book for book in report.books if book.get("title") == title), {}) for report in (one, two)]
    figures = [dict(book.get("figures") or []) for book in books]
    names = dict.fromkeys(name for found in figures for name in found)
    rows: list[Sequence[str]] = [("Verdict", *(str(book.get("verdict", "–")) for book in books))]
    rows += [("Gates passed", *(f"{book['passed']}/{book['gates']}" if book else "–" for book in books))]
    rows += [("Trades", *(f"{book['trades']:,}" if book else "–" for book in books))]
    rows += [(name, *(found.get(name, "–") for found in figures)) for name in names if name != "Trades"]
    return f"<h2>{_text(title)}</h2>{_drawing(title, [book.get('curve') or {} for book in books])}{_table(title, rows)}"


def _table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """rows: name, the first report's, the second's."""
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th>'
        f'<td class="num one">{_text(first)}</td><td class="num two">{_text(second)}</td></tr>'
        for name, first, second in rows
    )
    heads = '<th scope="col" class="num one">First</th><th scope="col" class="num two">Second</th>'
    said = f'<caption class="soft">Figures of {_text(caption)}</caption>' if caption else ""
    head = f'<thead><tr><th scope="col">{"Figure" if caption else "Name"}</th>{heads}</tr></thead>'
    label = f"Figures of {caption}" if caption else "What differs"
    return f"{_scroll(label)}<table>{said}{head}<tbody>{body}</tbody></table></div>"


def _drawing(title: str, curves: Sequence[Mapping[str, Any]]) -> str:
    """Growth of 1 of both curves over one axis of days; nothing where neither has a curve."""
    lines = [
        [
            (dt.date.fromisoformat(day).toordinal(), level)
            for day, level in zip(curve["days"], curve["growth"], strict=False)
            if level
        ]
        if curve.get("days")
        else []
        for curve in curves
    ]
    points = [point for line in lines for point in line]
    if not points:
        return '<p class="soft">No curve.</p>'
    since, until = min(day for day, _ in points), max(day for day, _ in points)
    least, most = min(1.0, *(level for _, level in points)), max(1.0, *(level for _, level in points))

    def place(day: float, level: float) -> str:
        across = LEFT + (WIDTH - LEFT - 8) * (day - since) / max(until - since, 1)
        down = 8 + (HEIGHT - LOW - 16) * (most - level) / max(most - least, 1e-9)
        return f"{across:.1f} {down:.1f}"

    paths = "".join(
        f'<path class="{mark}" d="M{" L".join(place(*point) for point in line)}"/>'
        for mark, line in zip(("one", "two"), lines, strict=True)
        if line
    )
    levels = "".join(
        f'<path class="grid" d="M{place(since, level)} L{place(until, level)}"/>'
        f'<text x="{LEFT - 6}" y="{float(place(since, level).split()[1]) + 4:.1f}" text-anchor="end">{level:.2f}</text>'
        for level in sorted({least, 1.0, most})
        if level in (least, most) or min(level - least, most - level) > 0.12 * (most - least)
    )
    ends = "".join(
        f'<text x="{x}" y="{HEIGHT - 4}" text-anchor="{anchor}">{dt.date.fromordinal(day)}</text>'
        for x, anchor, day in ((LEFT, "start", since), (WIDTH - 8, "end", until))
    )
    label = f"Growth of 1 of {_text(title)}, first and second report"
    drawn = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{levels}{ends}{paths}</svg>'
    return f'<p class="soft">What became of 1 dollar on sessions it had never seen, after costs.</p>{drawn}'


def _page(title: str, body: str) -> str:
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{STYLE}</style>'
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>'


def _made(one: _Report) -> str:
    return f"made {_moment(one.made)}, {one.summary.get('vendor', '')}, {one.span}"


def _moment(timestamp: float) -> str:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _value(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
