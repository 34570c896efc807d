"""The launcher: starts the local cloud's servers as children, tells where they are in `cloud.json`, and ends them."""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from local import java
from local.cloud import ports, processes

ACCOUNT = "000000000000"
REGION = "us-east-1"
CHECKOUT = Path(__file__).resolve().parents[2]
_START_SECONDS = 300  # many times what a busy machine needs; a server that cannot start ends by itself


class Front(Protocol):
    """What the Google side hands back once it runs."""

    @property
    def pids(self) -> dict[str, int]:
        """Its processes by name."""

    @property
    def ca(self) -> Path:
        """The certificates that its clients must trust, in PEM."""

    def stop(self) -> None:
        """Ends the Google side."""


class Stopped(Exception):
    """Somebody asked the launcher to end."""


def main(argv: list[str] | None = None) -> int:
    """Runs the local cloud in the foreground until SIGTERM or SIGINT; 0 after a clean stop, 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder that holds the whole state of one local stack")
    parser.add_argument("--jars", type=Path, default=CHECKOUT / ".jars", help="the jars that Spark needs for S3")
    parser.add_argument(
        "--fake-gcs-server", type=Path, default=CHECKOUT / "bin/fake-gcs-server", help="the Cloud Storage emulator"
    )
    parser.add_argument(
        "--metric-seconds", type=float, default=60, help="how often clusters' metrics come; on AWS every 300 seconds"
    )
    parser.add_argument(
        "--emr-quota",
        type=float,
        nargs=2,
        metavar=("BURST", "RATE"),
        help="how many calls of each of EMR's operations an account has at once, and how many come back in a second; no limit by default",
    )
    parser.add_argument(
        "--emr-list-seconds", type=float, default=0, help="how long a new cluster is missing in EMR's list of clusters"
    )
    parser.add_argument(
        "--role-seconds", type=float, default=0, help="how long a new role is unknown to services; on AWS some seconds"
    )
    parser.add_argument("--aws-only", action="store_true", help="start no Google side")
    args = parser.parse_args(argv)
    home = args.home.resolve()
    (home / "cloud").mkdir(parents=True, exist_ok=True)
    # SIGTERM may come at any moment, also between two starts: it becomes an exception of the main thread.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _stop)
    processes.adopt_orphans()
    lock = (home / "cloud" / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _read(home).get("pid")
        print(f"local cloud: one already runs on {home} (pid {pid}); stop it first", file=sys.stderr)
        return 1
    try:
        java.use()
        _serve(home, args.jars.resolve(), args.fake_gcs_server.resolve(), not args.aws_only, _aws_options(args))
    except Stopped:
        return 0
    except RuntimeError as error:
        print(f"local cloud: {error}", file=sys.stderr)
        return 1
    return 1


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise Stopped


def _serve(home: Path, jars: Path, fake_gcs_server: Path, google: bool, options: list[str]) -> None:
    """Starts everything, announces it and waits; whatever ends it, all children end before it returns."""
    ports = choose_ports(_read(home).get("endpoints", {}))
    aws = f"http://127.0.0.1:{ports['aws']}"
    server: subprocess.Popen[bytes] | None = None
    front: Front | None = None
    try:
        server = _start_aws(home, ports["aws"], jars, options)
        _wait_for(f"{aws}/_ministack/ready", server, home / "cloud/aws.log")
        announced: dict[str, Any] = {
            "pid": os.getpid(),
            "endpoints": {"aws": aws},
            "pids": {"aws": server.pid},
            "account": ACCOUNT,
            "region": REGION,
        }
        if google and importlib.util.find_spec("local.cloud.google.front"):
            from local.cloud.google import front as google_front

            front = google_front.start(home, aws, ports, fake_gcs_server)
            announced["ca"] = os.fspath(front.ca)
            announced["pids"].update(front.pids)
            announced["endpoints"].update(
                {name: f"http://127.0.0.1:{ports[name]}" for name in ("bigquery", "storage", "google")}
            )
        _write(home, announced)
        warm = [sys.executable, "-m", "local.cloud.warm", "--endpoint", aws, "--jars", jars]
        processes.spawn("warm", warm, _environment(), home / "cloud/warm.log", cwd=CHECKOUT)
        server.wait()
        raise RuntimeError(f"the AWS side ended by itself; see {home / 'cloud/aws.log'}")
    finally:
        # From here on nothing may interrupt: a second SIGTERM would leave children behind.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        if front is not None:
            front.stop()
        if server is not None:
            processes.stop(server)
        processes.kill_children()
        if state := _read(home):
            _write(home, {**state, "pid": None, "pids": {}})


def _aws_options(args: argparse.Namespace) -> list[str]:
    """What the AWS side is started with, besides where it is."""
    options = ["--metric-seconds", str(args.metric_seconds), "--emr-list-seconds", str(args.emr_list_seconds)]
    options += ["--role-seconds", str(args.role_seconds)]
    return options + (["--emr-quota", *map(str, args.emr_quota)] if args.emr_quota else [])


def _start_aws(home: Path, port: int, jars: Path, options: list[str]) -> subprocess.Popen[bytes]:
    cloud = home / "cloud"
    env = _environment() | {
        "AUTH": "true",
        "PERSIST_STATE": "1",
        "STATE_DIR": os.fspath(cloud / "aws"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": os.fspath(cloud / "s3"),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    argv = [sys.executable, "-m", "local.cloud.server", "--home", home, "--port", str(port), "--jars", jars]
    argv += options
    return processes.spawn("aws", argv, env, cloud / "aws.log", cwd=CHECKOUT)


def _environment() -> dict[str, str]:
    """What the children see of this machine's environment: nothing that could lead them to a real account."""
    names = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME")
    return {name: os.environ[name] for name in names if name in os.environ} | {"PYTHONPATH": os.fspath(CHECKOUT)}


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the address answers; an error when its server ends or time is up."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer; see {log}")


def choose_ports(endpoints: dict[str, str]) -> dict[str, int]:
    """A free loopback port for each server: the one of an earlier start where it is still free.

    Addresses end up in the deployment's state (queue URLs), so a port that changed would show up as a difference.
    """
    sockets: list[socket.socket] = []
    chosen: dict[str, int] = {}
    try:
        for name in ("aws", "bigquery", "storage", "google"):
            known = int(endpoints[name].rpartition(":")[2]) if name in endpoints else 0
            sock = (ports.bind(known) if known else None) or ports.bind_free()
            sockets.append(sock)
            chosen[name] = sock.getsockname()[1]
    finally:
        for sock in sockets:
            sock.close()
    return chosen


def _read(home: Path) -> dict[str, Any]:
    """The last `cloud.json`, or nothing when there is none or it is no JSON."""
    try:
        state: dict[str, Any] = json.loads((home / "cloud.json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def _write(home: Path, state: dict[str, Any]) -> None:
    """Replaces `cloud.json` in one step, so that a reader sees the old or the new one."""
    part = home / ".cloud.json.part"
    part.write_text(json.dumps(state, indent=2) + "\n")
    part.replace(home / "cloud.json")
