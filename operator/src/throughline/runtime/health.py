"""/healthz and /readyz for the kubelet, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from throughline.runtime.metrics import Metrics

Check = "Callable[[], str | None]"
HEARTBEAT_SECONDS = 1.0
STALLED_SECONDS = 30.0


@dataclass(slots=True)
class Health:
    """Named checks; each returns what is wrong, or None."""

    alive: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    ready: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _beat: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._beat = self.clock()
        self.alive["event-loop"] = self._stalled

    async def beat(self) -> None:
        """Show that the event loop turns, until cancelled."""
        while True:
            self._beat = self.clock()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _stalled(self) -> str | None:
        age = self.clock() - self._beat
        return f"no turn for {age:.0f} s" if age > STALLED_SECONDS else None

    def report(self, *, ready: bool) -> tuple[int, str]:
        """Status code, and one line per check."""
        checks = {**self.alive, **self.ready} if ready else self.alive
        lines, status = [], 200
        for name, check in checks.items():
            wrong = check()
            lines.append(f"[{'+' if wrong is None else '-'}] {name}" + (f": {wrong}" if wrong else " ok"))
            status = status if wrong is None else 503
        return status, "\n".join(lines) + "\n"


async def serve(health: Health, metrics: Metrics, *, health_port: int, metrics_port: int) -> list[web.AppRunner]:
    """Start both servers; the caller cleans the runners up."""

    async def healthz(_: web.Request) -> web.Response:
        status, text = health.report(ready=False)
        return web.Response(status=status, text=text)

    async def readyz(_: web.Request) -> web.Response:
        status, text = health.report(ready=True)
        return web.Response(status=status, text=text)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        await _start(health_port, {"/healthz": healthz, "/livez": healthz, "/readyz": readyz}),
        await _start(metrics_port, {"/metrics": scrape}),
    ]


async def _start(port: int, routes: dict[str, Callable[[web.Request], object]]) -> web.AppRunner:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    # All addresses, both families: the kubelet and Prometheus come to the pod's address.
    await web.TCPSite(runner, None, port).start()
    return runner
