"""The AWS side: MiniStack with what it lacks put in its place, on one loopback port."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import hypercorn.config
from ministack import app

from local.cloud import (
    access,
    alarms,
    athena,
    buckets,
    descriptions,
    events,
    functions,
    holds,
    listings,
    machines,
    networks,
    offerings,
    parameters,
    processes,
    roles,
    states,
    trails,
)
from local.cloud.emr import Emr
from local.cloud.glue import Glue
from local.cloud.repeats import Application, Receive, Send, answered_once
from local.cloud.serverless import Serverless

UNSAVED = "cloud/unsaved"  # there while the server runs; still there after it was killed, and its state with it


def main() -> None:
    """Serves until SIGTERM, then ends Lambda processes and steps and lets MiniStack persist its state."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud.server")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--jars", type=Path, required=True)
    parser.add_argument("--metric-seconds", type=float, default=60)
    parser.add_argument("--emr-quota", type=float, nargs=2, metavar=("BURST", "RATE"))
    parser.add_argument("--emr-list-seconds", type=float, default=0)
    parser.add_argument("--role-seconds", type=float, default=0)
    args = parser.parse_args()
    processes.die_with_parent()
    processes.adopt_orphans()
    # A container engine on this machine is none of the local cloud's business: never look for one.
    app._docker_socket_present = lambda: False
    endpoint = f"http://127.0.0.1:{args.port}"
    roles.install(args.role_seconds)
    functions.install(args.home)
    athena.install(endpoint)
    descriptions.install()
    alarms.install()
    trails.install()
    buckets.install()
    listings.install()
    machines.install()
    networks.install()
    offerings.install()
    parameters.install()
    states.install()
    where = (args.home, args.jars, endpoint)
    quota = tuple(args.emr_quota) if args.emr_quota else None
    emr = Emr(*where, args.metric_seconds, quota, args.emr_list_seconds)
    serverless, glue = Serverless(*where), Glue(*where)
    app._loaded_modules |= {"emr": emr, "emr_serverless": serverless, "glue": glue}
    # A service that MiniStack has not heard of.
    app.SERVICE_REGISTRY[Serverless.name] = {"module": "emr_serverless"}
    app.SERVICE_HANDLERS[Serverless.name] = app._lazy_handler("emr_serverless")
    app._state_map["emr_serverless"] = "emr_serverless"
    access.install({"elasticmapreduce": emr.tags, Serverless.name: serverless.tags})
    try:
        asyncio.run(_serve(args.port, [emr, serverless, glue], args.home / UNSAVED))
    finally:
        # Lambda processes may start children of their own; nothing of either may stay.
        processes.kill_children()


async def _serve(port: int, engines: list[Emr | Serverless | Glue], unsaved: Path) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    # Longer than any client keeps an idle connection: who closes first loses the other side's next request.
    config.keep_alive_timeout = 3600
    config.graceful_timeout = 1
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    await hypercorn.asyncio.serve(
        answered_once(holds.keeping(_with_lifetime(engines, unsaved))), config, shutdown_trigger=stopped.wait
    )


def _with_lifetime(engines: list[Emr | Serverless | Glue], unsaved: Path) -> Application:
    """MiniStack's application; the engines' clocks run from when all state is loaded until it is saved.

    Between the two, what MiniStack holds is in memory only, and the file `unsaved` tells so.
    """

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        async def hear() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for engine in engines:
                    engine.stop()
            return message

        async def tell(message: Any) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                unsaved.unlink()
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                unsaved.touch()
                events.start()
                alarms.start()
                for engine in engines:
                    engine.start()

        if scope["type"] == "lifespan":
            await app.app(scope, hear, tell)
        else:
            await app.app(scope, receive, send)

    return application


if __name__ == "__main__":
    main()
