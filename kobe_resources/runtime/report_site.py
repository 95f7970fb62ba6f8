"""The reports over HTTP on loopback, because a browser follows no file:// link from the Dagster UI.

Serves what lies in the folders `reports` and `backtests` of KOBE_HOME and nothing else, to this machine alone. File names are
not trusted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kobe_resources.errors import KobeError
from kobe_resources.runtime.report_index import BACKTESTS, comparison_page, index_page
from kobe_resources.settings.load import kobe_home

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import BaseRoute

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 3070
REPORTS_PATH = "/reports/"
"""Under this path of the Dagster UI lie the reports, wherever they are served."""
PORT_FILE = "report_site.json"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    # A page may run its own scripts (plotly compiles some) and reach nothing but this server.
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'self'"
    ),
}


class PortBusy(KobeError):
    """Another program listens on the port."""


def report_url(name: str = "") -> str:
    """Where `kobe ui` serves the report `name` (a path inside the reports folder), on the port last used for this KOBE_HOME."""
    return f"http://{LOOPBACK}:{recorded_port()}/{quote(name)}"


def report_link(name: str = "") -> str:
    """The report `name` as a link for a page of the Dagster UI, which follows the port that serves."""
    return f"{REPORTS_PATH}{quote(name)}"


def recorded_port() -> int:
    """The port last used, or the default one."""
    try:
        port = json.loads((kobe_home() / PORT_FILE).read_text(encoding="utf-8"))["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_PORT
    return port if isinstance(port, int) and 0 < port < 65536 else DEFAULT_PORT


def listen_on(port: int, hint: str, host: str = LOOPBACK) -> socket.socket:
    """A listening socket, on loopback unless `host` says otherwise (port 0: a free one). Raises PortBusy with `hint`."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortBusy(f"port {port} of {host} cannot be used ({error.strerror})", hint) from None
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
    """The files of `folder`, listed at `/`, two beside each other at `/compare`, and the `pages`; this machine's names only.

    Beside them the backtests of the folder next to it.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    # Plain functions: Starlette reads the files in a thread, so that no page waits for another.
    def index(request: Request) -> HTMLResponse:
        return HTMLResponse(index_page(folder, request.query_params.get("sort", "")))

    def compare(request: Request) -> HTMLResponse:
        first, second = (request.query_params.get(name, "") for name in ("first", "second"))
        return HTMLResponse(comparison_page(folder, first, second))

    return Starlette(
        routes=[
            Route("/", index),
            Route("/compare", compare),
            *pages,
            # Links that lead out of the folder are refused by StaticFiles.
            Mount(f"/{BACKTESTS}", StaticFiles(directory=folder.with_name(BACKTESTS), check_dir=False, follow_symlink=False)),
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
