"""The AWS side: MiniStack with what it lacks put in its place, on one loopback port."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
from ministack import app

from local.cloud import functions, processes


def main() -> None:
    """Serves until SIGTERM, then ends Lambda processes and steps and lets MiniStack persist its state."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud.server")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--jars", type=Path, required=True)
    args = parser.parse_args()
    processes.die_with_parent()
    # A container engine on this machine is none of the local cloud's business: never look for one.
    app._docker_socket_present = lambda: False
    functions.install(args.home)
    asyncio.run(_serve(args.port))


async def _serve(port: int) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    await hypercorn.asyncio.serve(app.app, config, shutdown_trigger=stopped.wait)


if __name__ == "__main__":
    main()
