"""Lambda: the environment that a function's process sees."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ministack.services import lambda_svc

# What a function may see of the server's own environment; all else would leak this machine into it.
_INHERITED = frozenset({"PATH", "LANG", "TZ", "AWS_ENDPOINT_URL"})


def install(home: Path) -> None:
    """Gives functions a clean environment and the way to Google's addresses through the local front."""
    stock = lambda_svc._provided_worker_env

    def environment(config: dict[str, Any], code_dir: str, port: int) -> dict[str, str]:
        env: dict[str, str] = stock(config, code_dir, port)
        inherited = {name for name, value in os.environ.items() if env.get(name) == value}
        clean = {name: value for name, value in env.items() if name in _INHERITED or name not in inherited}
        return clean | _google(home)

    lambda_svc._provided_worker_env = environment


def _google(home: Path) -> dict[str, str]:
    """The proxy and the certificates that bring `*.googleapis.com` to the local front, once it runs."""
    try:
        cloud = json.loads((home / "cloud.json").read_text())
        return {"HTTPS_PROXY": cloud["endpoints"]["google"], "SSL_CERT_FILE": cloud["ca"]}
    except (OSError, KeyError, ValueError):
        return {}
