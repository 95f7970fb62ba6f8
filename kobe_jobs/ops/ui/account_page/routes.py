"""The account page over HTTP: the page, its data, and the kill switch, which a click turns on and only a command turns off.

It hangs in the site of the reports, which refuses foreign names; what changes anything is refused to pages of other origins.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from kobe_jobs.ops.ui.account_page.data import AccountData
from kobe_jobs.ops.ui.guard import refusal
from kobe_resources.errors import KobeError
from kobe_resources.kill_switch import KillSwitch
from kobe_resources.runtime.event_log import get_logger

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

HERE = Path(__file__).parent
STYLES = ("page.css", "parts.css")
LONGEST_REASON = 500
LARGEST_BODY = 10_000
log = get_logger("account")


def account_routes() -> list[Route]:
    """`/account`, `/account.json` and `/account/kill`."""
    from starlette.routing import Route

    shown = AccountData()

    # Plain functions: starlette runs them in a thread, so that a slow look holds up no other page.
    def page(_request: Request) -> Response:
        from starlette.responses import HTMLResponse

        return HTMLResponse(account_html())

    def state(_request: Request) -> Response:
        from starlette.responses import JSONResponse

        return JSONResponse(shown.get(), headers={"Cache-Control": "no-store"})

    async def kill(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse

        problem, reason = await _asked(request)
        if problem:
            return JSONResponse({"problem": problem}, status_code=403)
        if not reason:
            return JSONResponse({"problem": "say why: it is kept with the switch"}, status_code=400)
        try:
            status = await run_in_threadpool(turn_on, reason)
        except KobeError as error:
            return JSONResponse({"problem": str(error)}, status_code=500)
        shown.forget()
        return JSONResponse(status)

    return [
        Route("/account", page, methods=["GET"]),
        Route("/account.json", state, methods=["GET"]),
        Route("/account/kill", kill, methods=["POST"]),
    ]


async def _asked(request: Request) -> tuple[str, str]:
    """(why a request to the switch is refused, the reason that it gives); one of them is empty."""
    problem = refusal(request.scope)
    if problem:
        return problem, ""
    # A browser sends JSON to another origin only after asking that origin; a form it sends at once.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "the reason is sent as JSON", ""
    body = await request.body()
    try:
        given: Any = json.loads(body) if len(body) <= LARGEST_BODY else None
    except (ValueError, RecursionError):
        given = None
    reason = given.get("reason") if isinstance(given, dict) else None
    return "", " ".join(reason.split())[:LONGEST_REASON] if isinstance(reason, str) else ""


def turn_on(reason: str) -> dict[str, Any]:
    """Turn the switch on, then put it on the chain and into the alerts: what fails of those is logged, the switch is on."""
    from kobe_jobs.trading.reporting.alerts import alert
    from kobe_jobs.trading.switch_record import record_switch
    from kobe_resources.settings.load import load_settings

    status = KillSwitch().turn_on(reason)
    try:
        settings = load_settings()
        what = f"the kill switch is on: {reason}"
        facts = {"key": f"{what}|{status.at}", "by": status.by, "since": status.at}
        # A click is answered at once: an address that hangs would hold it for half a minute.
        threading.Thread(target=alert, args=(settings, what, ("kill",)), kwargs=facts, name="alert", daemon=True).start()
        record_switch(settings, "kill_on", reason=reason, by=status.by, where="the account page")
    except KobeError as error:
        log.error("the kill switch is on, and that could not be recorded", reason=str(error))
    return {"on": status.is_on, "reason": status.reason, "by": status.by, "at": status.at}


@lru_cache(maxsize=1)
def account_html() -> str:
    """The page, with its style and script in it and a policy that lets nothing else run, and nothing else be asked."""
    from importlib.resources import files

    static = files("kobe_assets.report.page.static")
    style = "\n".join((static / name).read_text(encoding="utf-8") for name in STYLES)
    style += (HERE / "account.css").read_text(encoding="utf-8")
    script = (HERE / "account.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'"
    )
    page = Template((HERE / "account.html").read_text(encoding="utf-8"))
    # Files of the package alone: what comes from outside is in the data, and the script writes it as text.
    return page.substitute(policy=policy, style=style, script=script)
