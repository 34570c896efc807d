"""Starts and stops the local Google.

Three children: bqemulator with our corrections (`bigquery.py`), fake-gcs-server, and the gate (`gate.py`) that stands
for googleapis.com. Everything they keep is below `<home>/cloud`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from local.cloud import ports as loopback
from local.cloud import processes

from . import certificates

CHECKOUT = Path(__file__).resolve().parents[3]
START_SECONDS = 300  # many times what a busy machine needs; a server that cannot start ends by itself


class Google:
    """The local Google's processes.

    `ports` may name the ports of `bigquery`, `storage` and `google`; those that it does not name are chosen. Start it
    from a thread that lives as long as the process: the children die with the thread that started them.
    """

    def __init__(
        self, home: Path, aws_endpoint: str, fake_gcs_server: Path, ports: dict[str, int] | None = None
    ) -> None:
        self.cloud = Path(home).resolve() / "cloud"
        self.aws_endpoint = aws_endpoint
        self.fake_gcs_server = Path(fake_gcs_server).resolve()
        chosen = ports or {}
        self.ports = {name: chosen.get(name) or loopback.free_port() for name in ("bigquery", "storage", "google")}
        self.endpoints = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.ca = self.cloud / "google" / "bundle.pem"
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The children's process ids by name."""
        return {name: child.pid for name, child in self.children.items()}

    def start(self) -> None:
        """Start the children and wait until they answer."""
        for name in ("bigquery", "storage", "google"):
            (self.cloud / name).mkdir(parents=True, exist_ok=True)
        certificates.ensure(self.cloud / "google")
        try:
            self.spawn("bigquery", self.bigquery_command(), self.bigquery_environment())
            self.spawn("storage", self.storage_command(), {})
            self.answers("bigquery", "/healthz")
            self.answers("storage", "/_internal/healthcheck")
            self.spawn("google", self.gate_command(), {})
            self.answers("google", "/")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the children, the gate first; what they hold is on disk afterwards."""
        for name in reversed(self.children):
            processes.stop(self.children[name])
        self.children = {}

    def bigquery_command(self) -> list[str]:
        """bqemulator; its gRPC port is not used."""
        return [
            *(sys.executable, "-m", "local.cloud.google.bigquery", "start", "--persistent"),
            *("--data-dir", str(self.cloud / "bigquery"), "--log-level", "warning"),
            *("--rest-port", str(self.ports["bigquery"]), "--grpc-port", "0"),
        ]

    def bigquery_environment(self) -> dict[str, str]:
        """bqemulator's settings, and a home with DuckDB's spatial extension, which it would download otherwise."""
        import duckdb
        import duckdb_extension_spatial  # type: ignore[import-untyped]

        home = self.cloud / "bigquery" / "home"
        version = duckdb.__version__
        platform = duckdb.sql("PRAGMA platform").fetchone()
        assert platform
        source = (
            Path(duckdb_extension_spatial.__file__).parent / "extensions" / f"v{version}" / "spatial.duckdb_extension"
        )
        target = home / ".duckdb" / "extensions" / f"v{version}" / platform[0] / source.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)
        return {
            "HOME": str(home),
            "BQEMU_GCS_LOCAL_ROOT": str(self.cloud / "storage"),
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
            # Loads keep no snapshots, so time travel is refused instead of answered wrongly.
            "BQEMU_TIME_TRAVEL_RETENTION_DAYS": "0",
            "BQEMU_UPLOAD_STAGING_DIR": str(self.cloud / "bigquery" / "uploads"),
        }

    def storage_command(self) -> list[str]:
        """fake-gcs-server on the folder that load jobs read gs:// from."""
        return [
            *(str(self.fake_gcs_server), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.ports["storage"])),
            *("-backend", "filesystem", "-filesystem-root", str(self.cloud / "storage"), "-log-level", "warn"),
            *("-external-url", "https://storage.googleapis.com", "-public-host", "storage.googleapis.com"),
        ]

    def gate_command(self) -> list[str]:
        """The gate."""
        return [
            *(sys.executable, "-m", "local.cloud.google.gate", "--folder", str(self.cloud / "google")),
            *("--port", str(self.ports["google"]), "--aws", self.aws_endpoint),
            *("--bigquery", self.endpoints["bigquery"], "--storage", self.endpoints["storage"]),
        ]

    def spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a child that cannot outlive us, with its output in `<home>/cloud/<name>.log`."""
        log = self.cloud / f"{name}.log"
        self.children[name] = processes.spawn(name, command, {**os.environ, **environment}, log, CHECKOUT)

    def answers(self, name: str, path: str) -> None:
        """Wait until a child answers HTTP at all."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = self.children[name].poll()
            if code is not None:
                raise RuntimeError(f"local google: {name} ended with code {code}; see {self.cloud / name}.log")
            try:
                urllib.request.urlopen(self.endpoints[name] + path, timeout=5)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"local google: {name} did not answer in {START_SECONDS} s; see {self.cloud / name}.log")


def start(home: Path, aws_endpoint: str, ports: dict[str, int], fake_gcs_server: Path) -> Google:
    """The local Google, running."""
    google = Google(home, aws_endpoint, fake_gcs_server, ports)
    google.start()
    return google
