"""The report page in a browser, with everything it complained about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DRAWN = "html[data-drawn=yes]"
WAIT_MS = 60_000
FILLED = ".plot:visible, .filled:visible, .unpacked:visible, .scale:visible"
"""What stands empty until a script fills it."""


class Watched:
    """A page with everything it complained about and asked for."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, theme: str = "light", link: str = "") -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=theme)  # type: ignore[arg-type]
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri() + link)
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector(DRAWN, state="attached", timeout=WAIT_MS)

    def see(self, selector: str) -> None:
        """Bring a part into view, where it is filled."""
        self.page.evaluate(
            """async (selector) => {
                 document.querySelector(selector).scrollIntoView({ behavior: "instant", block: "center" });
                 for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame);
               }""",
            selector,
        )
        self.settle()

    def see_trades(self) -> None:
        """Bring the tables of trades into view."""
        self.page.wait_for_function("document.querySelector('#trade-lists .problem').textContent === ''")
        for table in ("#list-best", "#all-trades"):
            self.see(table)
            self.page.wait_for_function(
                """table => {
                  const place = document.querySelector(table);
                  return place.querySelector("tbody tr") && !("stale" in place.closest(".unpacked").dataset);
                }""",
                arg=table,
            )

    def choose(self, key: str) -> None:
        self.page.evaluate('key => document.querySelector(`[data-choose="${key}"]`).click()', key)
        self.settle()

    def fold(self, fold: int) -> None:
        self.page.select_option("#pick-fold", str(fold))
        self.settle()

    def chart(self, name: str, expression: str) -> Any:
        if name != "trade":
            self.see(f"#chart-{name}")
        return self.page.evaluate(f"(() => {{ const gd = document.getElementById('chart-{name}'); return {expression}; }})()")

    def undrawn(self) -> list[str]:
        """Charts without a drawing and without a reason in their place, once each was in view."""
        for place in self.page.evaluate("[...document.querySelectorAll('main .chart')].map((place) => place.id)"):
            self.see(f"#{place}")
        return list(
            self.page.evaluate(
                """() => [...document.querySelectorAll("main .chart")].filter((place) => {
                     const blank = place.classList.contains("blank");
                     if (blank) return place.textContent.trim().length < 8 || place.querySelector("svg");
                     const plot = place.querySelector("svg.main-svg"), box = plot && plot.getBoundingClientRect();
                     return !plot || box.width < 100 || box.height < 60;
                   }).map((place) => place.id)"""
            )
        )

    def overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
