"""Liveness, readiness and metrics over HTTP, on loopback unless another address is given; answers hold no secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kobe_jobs.ops.health.checks import METRICS, Watch
from kobe_resources.findings import Finding, is_ready

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

DEFAULT_PORT = 3071
OF_A_STATE = "orders_"


def health_app(watch: Watch, hosts: Sequence[str], labels: dict[str, str], account: Watch | None = None) -> Starlette:
    """`/liveness` (200), `/readiness` (200 or 503, with reasons), `/metrics` (Prometheus).

    hosts: names that a request may address. labels: what kobe_info says (version, stage, config pin). account: what the metrics
    tell beside the checks.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    registry = _registry(watch, labels, account)

    async def liveness(_request: Request) -> Response:
        return JSONResponse({"alive": True})

    # Plain functions: starlette runs them in a thread, so that a slow question holds up no other.
    def readiness(_request: Request) -> Response:
        checks = watch.look()
        return JSONResponse(as_json(checks), status_code=200 if is_ready(checks) else 503)

    def metrics(_request: Request) -> Response:
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Starlette(
        routes=[Route("/liveness", liveness), Route("/readiness", readiness), Route("/metrics", metrics)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


def as_json(checks: Sequence[Finding]) -> dict[str, Any]:
    """Checks as plain data."""
    return {
        "ready": is_ready(checks),
        "checks": [
            {
                "name": check.name,
                "ok": check.ok,
                "blocking": check.blocks,
                "reason": check.seen,
                "seconds": round(check.seconds, 4),
            }
            for check in checks
        ],
    }


def _registry(watch: Watch, labels: dict[str, str], account: Watch | None) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    class Collector:
        def collect(self) -> Iterator[Metric]:
            checks, measured = watch.look(), account.look() if account else []
            yield InfoMetricFamily("kobe", "What runs here.", value=labels)
            yield GaugeMetricFamily("kobe_ready", "1 when nothing that blocks failed.", value=is_ready(checks))
            ok = GaugeMetricFamily("kobe_check_ok", "1 when the check holds.", labels=["check"])
            seconds = GaugeMetricFamily("kobe_check_seconds", "How long the check took.", labels=["check"])
            for check in checks:
                ok.add_metric([check.name], check.ok)
                seconds.add_metric([check.name], check.seconds)
            yield ok
            yield seconds
            orders = GaugeMetricFamily("kobe_orders", "Orders in this state.", labels=["state"])
            for name, value in (pair for check in [*checks, *measured] for pair in check.metrics.items()):
                if name.startswith(OF_A_STATE):
                    orders.add_metric([name.removeprefix(OF_A_STATE)], float(value))
                else:
                    yield GaugeMetricFamily(f"kobe_{name}", METRICS.get(name, ""), value=float(value))
            yield orders

        def describe(self) -> list[Metric]:
            # Registering must not ask anything yet.
            return []

    registry = CollectorRegistry()
    registry.register(Collector())
    return registry
