"""The reports over HTTP on loopback, because a browser follows no file:// link from the Dagster UI.

Serves what lies in KOBE_HOME/reports and nothing else, to this machine alone. File names are not trusted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import html
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kobe_resources.errors import KobeError
from kobe_resources.settings.load import kobe_home

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse
    from starlette.routing import BaseRoute

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 3070
PORT_FILE = "report_site.json"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    # A page may run its own scripts (plotly compiles some) and reach nothing but this server.
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'none'"
    ),
}


class PortBusy(KobeError):
    """Another program listens on the port."""


def report_url(name: str = "") -> str:
    """Where `kobe ui` serves the report `name` (a path inside the reports folder), on the port last used for this KOBE_HOME."""
    return f"http://{LOOPBACK}:{recorded_port()}/{quote(name)}"


def recorded_port() -> int:
    """The port last used, or the default one."""
    try:
        port = json.loads((kobe_home() / PORT_FILE).read_text(encoding="utf-8"))["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_PORT
    return port if isinstance(port, int) and 0 < port < 65536 else DEFAULT_PORT


def listen_on(port: int, mend: str, host: str = LOOPBACK) -> socket.socket:
    """A listening socket, on loopback unless told otherwise (port 0: a free one). Raises PortBusy with `mend`."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortBusy(f"port {port} of {host} cannot be used ({error.strerror})", mend) from None
    return listener


@contextlib.contextmanager
def serving_reports(listener: socket.socket, folder: Path | None = None, pages: Sequence[BaseRoute] = ()) -> Iterator[str]:
    """Serve the reports, and `pages` beside them, on `listener` while the block runs, and record its port; the site's URL."""
    from kobe_resources.runtime.atomic_files import private_folder, write_whole

    port = listener.getsockname()[1]
    home = kobe_home()
    private_folder(home)
    write_whole(home / PORT_FILE, json.dumps({"port": port}).encode())
    with serving(report_app(folder or home / "reports", pages), listener):
        yield f"http://{LOOPBACK}:{port}/"


@contextlib.contextmanager
def serving(app: Starlette, listener: socket.socket) -> Iterator[None]:
    """Serve `app` on `listener` in a thread while the block runs."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def report_app(folder: Path, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """The files of `folder`, newest listed first at `/`, and the `pages`; this machine's names only."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    async def index(_request: Request) -> HTMLResponse:
        from starlette.responses import HTMLResponse

        return HTMLResponse(_listing(folder))

    return Starlette(
        routes=[
            Route("/", index),
            *pages,
            # Links that lead out of the folder are refused by StaticFiles.
            Mount("/", StaticFiles(directory=folder, check_dir=False, follow_symlink=False)),
        ],
        middleware=[
            # A foreign page that resolves its own name to 127.0.0.1 still sends its own name as host.
            Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"]),
            Middleware(_Headers),
        ],
    )


class _Headers:
    """ASGI middleware that adds HEADERS to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import MutableHeaders

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _listing(folder: Path) -> str:
    found = folder.glob("*.html") if folder.is_dir() else ()
    pages = sorted(((page.stat().st_mtime, page.name) for page in found), reverse=True)
    items = "".join(f'<li><a href="/{quote(name)}">{html.escape(name)}</a> made {_moment(made)}</li>' for made, name in pages)
    body = f"<ul>{items}</ul>" if items else "<p>No report yet: run <code>kobe report</code>.</p>"
    head = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>Kobe reports</title>'
    return f'{head}<h1>Kobe reports</h1><p><a href="/account">The account</a></p>{body}'


def _moment(timestamp: float) -> str:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
