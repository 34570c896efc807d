"""AWS Glue: MiniStack's catalog, with jobs that run, crawlers that crawl and triggers that fire in place of its own."""

from __future__ import annotations

import copy
import threading
import time
from pathlib import Path
from typing import Any

from ministack.core.responses import AccountRegionScopedDict
from ministack.services import glue as catalog
from ministack.services import kms

from local.cloud import models
from local.cloud.glue_workflows import Workflows
from local.cloud.services import Data, Refused, now, parse


class Glue(Workflows):
    """The service: MiniStack calls `handle_request` and persists what `get_state` returns."""

    name = "glue"
    invalid = "InvalidInputException"

    def __init__(self, home: Path, jars: Path, endpoint: str) -> None:
        super().__init__(home, jars, endpoint)
        self._security = AccountRegionScopedDict()

    async def handle_request(self, method: str, path: str, headers: Data, body: bytes, query_params: Data) -> Any:
        """Answers our own operations; the catalog's are MiniStack's."""
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if not hasattr(self, f"_do_{operation}"):
            return await catalog.handle_request(method, path, headers, body, query_params)
        try:
            data = parse(body)
        except models.Invalid as error:
            return self._error("SerializationException", str(error))
        return self.answer(operation, data, headers, query_params)

    def get_state(self) -> Data:
        """What outlives a restart."""
        with self._lock:
            return {
                "catalog": catalog.get_state(),
                **{name: copy.deepcopy(store) for name, store in self._stores().items()},
            }

    def load_persisted_state(self, data: Data) -> None:
        """Takes up what an earlier run had; what ran when it ended has failed."""
        catalog.load_persisted_state(data.get("catalog", {}))
        for name, store in self._stores().items():
            store.update(data.get(name, {}))

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self.kill_runs()
            catalog.reset()
            for store in self._stores().values():
                store.clear()

    def _stores(self) -> dict[str, AccountRegionScopedDict]:
        return {
            "jobs": self._jobs,
            "crawlers": self._crawlers,
            "classifiers": self._classifiers,
            "triggers": self._triggers,
            "workflows": self._workflows,
            "security": self._security,
        }

    def start(self) -> None:
        """Starts the clock, once all services are there."""
        threading.Thread(target=self._tick, name="glue-clock", daemon=True).start()

    def stop(self) -> None:
        """Kills every run; their records stay as they are, so that the next start tells what happened."""
        with self._lock:
            self._stopped = True
        self.kill_runs()

    def _tick(self) -> None:
        with self._lock:
            self.fail_lost_runs()
            self.fail_lost_crawls()
        while True:
            with self._lock:
                self.end_late_runs()
                self.fire_schedules()
            time.sleep(0.5)

    # --- security configurations ----------------------------------------------------------------------------------

    def _do_CreateSecurityConfiguration(self, data: Data) -> Data:
        if data["Name"] in self._security:
            raise Refused(f"Security Configuration {data['Name']} already exists", "AlreadyExistsException")
        encryption = data["EncryptionConfiguration"]
        parts = [("S3EncryptionMode", part) for part in encryption.get("S3Encryption", [])]
        parts += [
            (f"{name}Mode", encryption[name])
            for name in ("CloudWatchEncryption", "JobBookmarksEncryption")
            if name in encryption
        ]
        for mode, part in parts:
            if part.get(mode, "DISABLED") in ("SSE-KMS", "CSE-KMS") and not kms._resolve_key(part.get("KmsKeyArn", "")):
                raise Refused(f"{mode} needs the ARN of a KMS key that exists", self.invalid)
        self._security[data["Name"]] = {**data, "CreatedTimeStamp": now()}
        return {"Name": data["Name"], "CreatedTimestamp": now()}

    def _do_GetSecurityConfiguration(self, data: Data) -> Data:
        return {"SecurityConfiguration": self.security_configuration(data["Name"])}

    def _do_GetSecurityConfigurations(self, _data: Data) -> Data:
        return {"SecurityConfigurations": list(self._security.values())}

    def _do_DeleteSecurityConfiguration(self, data: Data) -> None:
        self.security_configuration(data["Name"])
        del self._security[data["Name"]]

    def security_configuration(self, name: str) -> Data:
        """The security configuration of this name; refused when there is none."""
        found: Data | None = self._security.get(name)
        if found is None:
            raise Refused(f"Security Configuration {name} not found", "EntityNotFoundException")
        return found
