"""Events of AWS's own services on the default EventBridge bus, in the order in which they happened."""

from __future__ import annotations

import json
import logging
import queue
import threading
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import eventbridge

_log = logging.getLogger(__name__)
_waiting: queue.Queue[tuple[str, str, dict[str, Any]]] = queue.Queue()


def publish(source: str, detail_type: str, detail: dict[str, Any]) -> None:
    """Hands an event to the bus of the current account and region, without waiting for its targets."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
    _waiting.put((get_account_id(), get_region(), entry))


def start() -> None:
    """Starts the thread that delivers."""
    threading.Thread(target=_deliver, name="aws-events", daemon=True).start()


def _deliver() -> None:
    while True:
        account, region, entry = _waiting.get()
        with request_scope(account, region):
            try:
                eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
            except Exception:
                _log.exception("event not delivered: %s", entry)
