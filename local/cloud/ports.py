"""Loopback ports for servers."""

from __future__ import annotations

import random
import socket

# Below the ports that Linux and macOS give to outgoing connections: one of those could take a port between our choice and its server's start.
SERVERS = range(20000, 32768)


def bind(port: int, again: bool = True) -> socket.socket | None:
    """A socket that holds a loopback port; None if the port is taken. `again` takes one whose connections have just ended, too."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, again)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def bind_free() -> socket.socket:
    """A socket that holds a port that was free, and that nobody else gets meanwhile."""
    for port in random.sample(SERVERS, 1000):
        if sock := bind(port, again=False):
            return sock
    raise RuntimeError(
        f"of 1,000 loopback ports from {SERVERS[0]} to {SERVERS[-1]} none is free; end what listens there"
    )


def free_port() -> int:
    """A loopback port that is free now."""
    with bind_free() as found:
        return int(found.getsockname()[1])
