"""The gate of the local Google: one loopback port that stands for all of googleapis.com.

A process with HTTPS_PROXY set to it and SSL_CERT_FILE to its bundle talks to the real host names: the gate takes the
CONNECT, ends the TLS and serves the host. Callers need a token that its own STS issued. On the same port, plain HTTP
with the host as the first part of the path (`/bigquery.googleapis.com/bigquery/v2/…`) is for operators, as the AWS
side's root key is. Hosts that it does not know are refused.

    python -m local.cloud.google.gate --folder DIR --port P --aws URL --bigquery URL --storage URL
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from . import certificates
from .access import OPERATOR, Caller, Policies, Tokens
from .data import BIGQUERY, STORAGE, BigQuery, Storage
from .errors import GoogleError, TokenError, answer
from .identity import Identity
from .state import State

# What the operator's requests carry; it guards against a web page that posts to the port, not against the machine's
# users.
OPERATOR_TOKEN = "local"

# Administration is the operator's: no role that the local Google grants reaches these hosts.
OPERATOR_HOSTS = {"iam.googleapis.com", "cloudresourcemanager.googleapis.com"}


class Gate:
    """The hosts, and who may speak to them."""

    def __init__(self, folder: Path, aws: str, bigquery: str, storage: str) -> None:
        state = State(folder / "state.json")
        self.tokens = Tokens(folder / "token.key")
        policies = Policies(state)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)

        def client(url: str) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=url, timeout=None, trust_env=False, limits=limits)

        identity = Identity(state, policies, self.tokens, client(aws))
        routes = {
            **identity.routes(),
            BIGQUERY: BigQuery(state, policies, client(bigquery)).routes(),
            STORAGE: Storage(state, policies, client(storage)).routes(),
        }
        self.hosts: dict[str, ASGIApp] = {
            host: Starlette(routes=r, exception_handlers={GoogleError: answer, TokenError: answer})
            for host, r in routes.items()
        }

    def caller(self, host: str, request: Request) -> Caller:
        """Who sent a request that came through TLS."""
        if host == "sts.googleapis.com":
            return Caller()  # the token in its body speaks for it
        caller = self.tokens.caller(request.headers.get("authorization", ""))
        if host in OPERATOR_HOSTS:
            raise GoogleError(403, f"The local Google leaves {host} to operators.")
        return caller

    async def secure(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What came through CONNECT and TLS: the host is in the header."""
        request = Request(scope, receive)
        host = request.headers.get("host", "").removesuffix(":443")
        await self.serve(host, scope, receive, send)

    async def plain(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What came as plain HTTP: the host is in the path, the caller an operator."""
        host, _, path = scope["raw_path"].decode().lstrip("/").partition("/")
        decoded = scope["path"].lstrip("/").partition("/")[2]
        scope = {**scope, "path": "/" + decoded, "raw_path": b"/" + path.encode()}
        await self.serve(host, scope, receive, send, plain=True)

    async def serve(self, host: str, scope: Scope, receive: Receive, send: Send, plain: bool = False) -> None:
        """Let a host answer a request."""
        if scope["type"] != "http":
            return
        try:
            if host not in self.hosts:
                raise GoogleError(404, f"The local Google has no host {host!r}.")
            request = Request(scope, receive)
            if plain:
                if request.headers.get("authorization") != f"Bearer {OPERATOR_TOKEN}":
                    raise GoogleError(401, f"Operators send the header 'Authorization: Bearer {OPERATOR_TOKEN}'.")
                caller = OPERATOR
            else:
                caller = self.caller(host, request)
            scope = {**scope, "state": {"caller": caller}}
            await self.hosts[host](scope, receive, send)
        except GoogleError as error:
            await error.response()(scope, receive, send)


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction of a connection until it ends."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof() if writer.can_write_eof() else writer.close()


class Port:
    """The public port: gives each connection to the TLS or to the plain server behind it, by its first bytes."""

    def __init__(self, hosts: set[str], secure: int, plain: int) -> None:
        self.hosts = hosts
        self.secure = secure
        self.plain = plain

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            start = await reader.readexactly(8)
            if start == b"CONNECT ":
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 1)[0].decode()
                if target not in {f"{host}:443" for host in self.hosts}:
                    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
                    return
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                start, port = b"", self.secure
            else:
                port = self.plain
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            inner_writer.write(start)
            await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))
            inner_writer.close()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()


def listener() -> socket.socket:
    """A loopback socket on any free port."""
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    return found


def server(application: ASGIApp) -> uvicorn.Server:
    """An HTTP server for an application."""
    config = uvicorn.Config(
        application,
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


async def run(gate: Gate, folder: Path, port: int) -> None:
    """Serve until a signal says to stop."""
    certificates.ensure(folder)
    secure = server(gate.secure)
    secure.config.ssl_certfile = folder / "server.pem"
    secure.config.ssl_keyfile = folder / "server.key"
    plain = server(gate.plain)
    inner = [listener(), listener()]
    port_server = Port(set(gate.hosts), *(s.getsockname()[1] for s in inner))
    async with await asyncio.start_server(port_server.connection, "127.0.0.1", port):
        # Each server takes the signals for itself and passes them on when it ends: nested, both end.
        await asyncio.gather(secure.serve(sockets=[inner[0]]), plain.serve(sockets=[inner[1]]))


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    for name in ("aws", "bigquery", "storage"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    gate = Gate(arguments.folder, arguments.aws, arguments.bigquery, arguments.storage)
    asyncio.run(run(gate, arguments.folder, arguments.port))


if __name__ == "__main__":
    main()
