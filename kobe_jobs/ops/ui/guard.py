"""The Dagster webserver behind a door that lets no foreign web page in: `python -m kobe_jobs.ops.ui.guard OPTIONS`.

Dagster runs mutations from a plain GET, answers to any host name and takes WebSockets from any origin. On a machine with
a browser, any page could so start a trading run at 127.0.0.1. A program on this machine (no Origin) may still ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from kobe_resources.runtime.report_site import LOOPBACK, REPORTS_PATH, report_url

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OWN_NAMES = {LOOPBACK, "localhost"}
GROUPS = ("market_data", "research", "evidence", "trading")
FIRST_PAGE = "/asset-groups?expanded=" + quote(",".join(f"global@global:{group}" for group in GROUPS), safe="")
"""The lineage with its groups open; Dagster's own first page is a timeline of the last hours, which is empty on most days."""


class OwnPagesOnly:
    """ASGI middleware: 403 for what a page of another origin, or of a name that merely resolves to us, could have sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not problem:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(f"kobe: {problem}", status_code=403)(scope, receive, send)


class WaysIn:
    """ASGI middleware: the first page is the lineage, and `/reports/…` leads to the port that serves the reports now.

    A link that names the port itself would be dead once `kobe ui` serves the reports on another one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = way_in(scope["path"]) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else ""
        if not target:
            await self._app(scope, receive, send)
            return
        from starlette.responses import RedirectResponse

        # Not for good: a browser would remember the port.
        await RedirectResponse(target, status_code=307, headers={"Cache-Control": "no-store"})(scope, receive, send)


def way_in(path: str) -> str:
    """Where a request for `path` is sent on to; '' where it stays."""
    if path == "/":
        return FIRST_PAGE
    if path == REPORTS_PATH.rstrip("/") or path.startswith(REPORTS_PATH):
        return report_url(path.removeprefix(REPORTS_PATH.rstrip("/")).lstrip("/"))
    return ""


def refusal(scope: Scope) -> str:
    """Why the request is refused; '' where it is not."""
    from starlette.datastructures import Headers

    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if _name_of(host) not in OWN_NAMES:
        return "this address is served under its own name only"
    # Browsers send Origin with every request of another origin but the plainest GET, and with every WebSocket.
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "pages of another origin are not served"
    if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/graphql"):
        return _graphql_refusal(scope["method"], scope["query_string"], headers.get("content-type", ""))
    return ""


def _graphql_refusal(method: str, query: bytes, content_type: str) -> str:
    """Why a request to /graphql is refused; empty where it is not.

    A browser sends a GET or a form to another origin without asking that origin first; JSON it does not.
    """
    if method in ("GET", "HEAD"):
        return "queries come by POST" if query else ""
    return "" if content_type.partition(";")[0].strip().lower() == "application/json" else "queries are sent as JSON"


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def main() -> None:
    """Run `dagster-webserver` with the door in front."""
    from dagster_webserver import app
    from dagster_webserver.cli import main as serve
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.middleware import Middleware

    class Guarded(DagsterWebserver[Any, Any]):
        def build_middleware(self) -> list[Middleware]:
            return [Middleware(OwnPagesOnly), Middleware(WaysIn), *super().build_middleware()]

    # What the command line builds its application from: a name that it imports for itself alone, of no declared type.
    command_line: Any = app
    command_line.DagsterWebserver = Guarded
    serve()


if __name__ == "__main__":
    main()
