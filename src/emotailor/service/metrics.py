"""What the service counts, in the form of Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.routing import Route

from emotailor.service.guard import Application, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
COUNTS = (1, 2, 4, 8, 16, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The numbers of one service: in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "emotailor_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "emotailor_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.together = Histogram(
            "emotailor_requests_together",
            "Requests with features that went to the model together.",
            buckets=COUNTS,
            registry=self._registry,
        )
        self.samples = Counter(
            "emotailor_samples",
            "Samples by outcome.",
            ["outcome"],
            registry=self._registry,
        )
        self.videos = Counter(
            "emotailor_videos",
            "Videos by how they ended.",
            ["outcome"],
            registry=self._registry,
        )
        self.upload_bytes = Counter(
            "emotailor_upload_bytes",
            "Bytes of videos that were uploaded whole.",
            registry=self._registry,
        )

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Tell a number that is asked for when somebody looks."""
        Gauge(name, what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all numbers."""
        return generate_latest(self._registry)


class Counted:
    """An application whose requests are counted.

    Args:
        app: the application.
        metrics: which count.
    """

    def __init__(self, app: Application, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        # of a client that goes away first
        status = "none"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = _route_of(scope)
            # a stranger may call a method anything, and would add a number for each
            is_known = route != "other" and scope["method"] in METHODS
            method = scope["method"] if is_known else "other"
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)


def _route_of(scope: Scope) -> str:
    """Return the pattern of the path: a path of a stranger would be a number of its own each."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else "other"
