"""One EMR step as a process on this machine: the command, its environment and its logs."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
import pyspark

from local.cloud import holds, processes

SPARK_HOME = Path(pyspark.__file__).parent
# Flags that suit a short job on two cores: the quick compiler only, no parallel collector, classes from an archive.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off"
_CORES = 2
_DRIVER_MEMORY = "1g"
_INTERRUPT_SECONDS = 10
# Jars that an EMR host has in these places, and what stands for them in the folder of jars.
_HOST_JARS = {"/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar": "iceberg-spark-runtime-*.jar"}
# Options that size a job for EMR's machines; this one has its own.
_HOST_OPTIONS = frozenset(
    {
        "--master",
        "--deploy-mode",
        "--driver-memory",
        "--driver-cores",
        "--executor-memory",
        "--executor-cores",
        "--num-executors",
    }
)
# Settings that do the same.
_HOST_SETTINGS = re.compile(r"spark\.(driver|executor)\.(cores|memory|instances)=|spark\.dynamicAllocation\.")
_S3_REGION = "spark.hadoop.fs.s3a.endpoint.region"


@dataclass
class Result:
    """How a step ended."""

    code: int
    tail: str
    """The last lines of its standard error."""
    log_file: str | None
    """Where its standard error went, when the cluster keeps logs."""


@dataclass
class Step:
    """A step's process, from its command to its logs in S3."""

    args: Sequence[str]
    folder: Path
    """Where it works and writes its logs."""
    jars: Path
    defaults: Mapping[str, str]
    """What its engine has in `spark-defaults`: `engine_defaults`."""
    env: Mapping[str, str]
    """Credentials, endpoint and region."""
    logs: str | None
    """The S3 address under which the logs are kept."""
    logs_key: str | None = None
    """The key that the logs are encrypted with; the bucket's own by default."""
    log_names: Sequence[str] = ("controller", "stdout", "stderr")
    """The logs that are kept there."""
    _process: subprocess.Popen[bytes] | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Result:
        """Runs the step to its end and brings its logs to S3."""
        self.folder.mkdir(parents=True, exist_ok=True)
        controller = [f"{_now()} INFO command: {' '.join(self.args)}"]
        try:
            code = self._execute(controller)
        except OSError as error:
            (self.folder / "stderr").write_text(f'Cannot run program "{self.args[0]}": {error.strerror}\n')
            code = 127
        controller.append(f"{_now()} INFO exit code {code}")
        tail = _tail(self.folder / "stderr")
        problem = self._keep_logs(controller)
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        return Result(code, f"{tail}\n{problem}".strip(), f"{self.logs}/stderr.gz" if self.logs else None)

    @property
    def session(self) -> int | None:
        """The session that all processes of the step are in, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def cancel(self, terminate: bool) -> None:
        """Interrupts the step's processes, or kills them; what ignores the interrupt is killed later. A step that is held never starts."""
        self._cancelled.set()
        holds.wake()
        process = self._process
        if process is None or process.poll() is not None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL if terminate else signal.SIGINT)
        except ProcessLookupError:
            return
        timer = threading.Timer(_INTERRUPT_SECONDS, processes.kill_group, [process.pid])
        timer.daemon = True
        timer.start()

    def _execute(self, controller: list[str]) -> int:
        if not holds.step(" ".join(self.args), self._cancelled.is_set):
            controller.append(f"{_now()} INFO cancelled before its process started")
            return -signal.SIGTERM
        if not self._bring():
            return 1
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        conf = write_conf(work, self.jars, self.env, self.defaults)
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            self._process = subprocess.Popen(
                command(self.args, self.jars, conf),
                env=environment(work, conf, self.env, _java_options(self.jars)),
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: processes.die_with_parent(signal.SIGKILL),
            )
            controller.append(f"{_now()} INFO process {self._process.pid} started")
            if self._cancelled.is_set():
                self.cancel(terminate=True)
            code = self._process.wait()
            # A Spark driver that died may leave its Python process behind.
            processes.kill_group(self._process.pid)
            return code

    def _bring(self) -> bool:
        """Brings what the engine reads from S3 by itself, before Spark does; False where something is missing, which the log says."""
        return True

    def _keep_logs(self, controller: list[str]) -> str:
        """Puts the logs where the cluster keeps them, with the cluster's own rights; says what went wrong."""
        (self.folder / "controller").write_text("\n".join(controller) + "\n")
        if not self.logs:
            return ""
        address = urlsplit(self.logs)
        s3 = boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=self.env["AWS_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.env["AWS_SESSION_TOKEN"],
        )
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.logs_key} if self.logs_key else {}
        try:
            for name in self.log_names:
                path = self.folder / name
                body = gzip.compress(path.read_bytes() if path.exists() else b"")
                s3.put_object(
                    Bucket=address.netloc, Key=f"{address.path.lstrip('/')}/{name}.gz", Body=body, **encryption
                )
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            return f"logs not kept in {self.logs}: {error}"
        return ""


def command(args: Sequence[str], jars: Path, conf: Path) -> list[str]:
    """The command on this machine for one that was written for an EMR host."""
    if args[0] != "spark-submit":
        return list(args)
    return [
        os.fspath(SPARK_HOME / "bin/spark-submit"),
        f"--master=local[{_CORES}]",
        f"--driver-memory={_DRIVER_MEMORY}",
        f"--properties-file={conf / 'spark-defaults.conf'}",
        *(_local_paths(arg, jars) for arg in _without_host_options(args[1:])),
    ]


def _without_host_options(args: Iterable[str]) -> Iterable[str]:
    """Drops the options that size a job; the application and what follows it stay as they are."""
    rest = iter(args)
    for arg in rest:
        if arg in _HOST_OPTIONS:
            next(rest, None)
        elif arg.partition("=")[0] in _HOST_OPTIONS:
            continue
        elif arg.startswith("--") and ("=" in arg or arg in ("--verbose", "--supervise")):
            yield arg
        elif arg.startswith("--"):
            value = next(rest, None)
            if not (arg == "--conf" and value and _HOST_SETTINGS.match(value)):
                yield from (arg, value) if value is not None else (arg,)
        else:
            yield arg
            yield from rest


def _local_paths(arg: str, jars: Path) -> str:
    """Replaces EMR's jars; `local:` tells Spark that every executor has them, so that it copies none."""
    for host, pattern in _HOST_JARS.items():
        if host in arg:
            found = sorted(jars.glob(pattern))
            if not found:
                raise FileNotFoundError(2, f"no {pattern} in {jars}; run local/jars.py", pattern)
            arg = re.sub(rf"(local:|file:/*)?{re.escape(host)}", f"local:{found[0]}", arg)
    return arg


def engine_defaults(version: str, region: str, configurations: Iterable[Mapping[str, Any]] = ()) -> dict[str, str]:
    """What an engine's files say for Spark: its own, then what a cluster or a run is configured with.

    From EMR 7.10 and Glue 5.1 on, s3:// is S3A, which without endpoint and region asks us-east-2 wherever it runs
    (AWS_S3_DEFAULT_REGION in Hadoop's DefaultS3ClientFactory); older versions have EMRFS, which asks the region that it is in.
    https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-s3a-migrate.html
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    s3a = numbers >= ((7, 10) if version.startswith("emr-") else (5, 1))
    settings = {_S3_REGION: "us-east-2" if s3a else region}
    for name, prefix in (("core-site", "spark.hadoop."), ("spark-defaults", "")):
        for configuration in configurations:
            # Clusters and EMR Serverless spell it differently.
            if name == configuration.get("Classification", configuration.get("classification")):
                properties = configuration.get("Properties", configuration.get("properties", {}))
                settings |= {f"{prefix}{key}": value for key, value in properties.items()}
    return settings


def _spark_defaults(jars: Path, endpoint: str) -> dict[str, str]:
    """What stands for an engine's network on this machine: where S3 is, and no more than Spark needs to start."""
    return {
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3n.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.aws.credentials.provider": "com.amazonaws.auth.EnvironmentVariableCredentialsProvider",
    }


def class_archive(jars: Path) -> Path:
    """The file of loaded classes for just this JVM and these jars; `warm` builds it."""
    java = Path(os.environ.get("JAVA_HOME", "/nowhere"), "bin/java")
    found = (java if java.exists() else Path(shutil.which("java") or java)).resolve()
    parts = [SPARK_HOME, found, found.stat().st_mtime_ns if found.exists() else 0]
    parts += sorted((path.name, path.stat().st_mtime_ns) for path in jars.glob("*.jar"))
    return jars / f"classes-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}.jsa"


def environment(work: Path, conf: Path, env: Mapping[str, str], java_options: str) -> dict[str, str]:
    """An EMR host's environment: nothing of this machine but where its programs are."""
    kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": os.fspath(work),
        "TMPDIR": os.fspath(work),
        "SPARK_HOME": os.fspath(SPARK_HOME),
        # Not SPARK_CONF_DIR: that folder would be on the class path, and the class archive allows none there.
        "SPARK_LOCAL_DIRS": os.fspath(work),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": f"{java_options} -Djava.io.tmpdir={work} -Dlog4j2.configurationFile={conf}/log4j2.properties",
        "SPARK_LAUNCHER_OPTS": JAVA_OPTIONS,
        "PYSPARK_PYTHON": os.fspath(conf / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **env,
    }


def _java_options(jars: Path) -> str:
    archive = class_archive(jars)
    return f"{JAVA_OPTIONS} -XX:SharedArchiveFile={archive}" if archive.exists() else JAVA_OPTIONS


def write_conf(work: Path, jars: Path, env: Mapping[str, str], engine: Mapping[str, str]) -> Path:
    """Writes what Spark finds on an engine for one run into a folder and returns it: its configuration, and a Python.

    AWS says of no engine which packages its Python has, so this one has none: the standard library, and PySpark, which spark-submit adds.
    """
    conf = work / "conf"
    conf.mkdir(exist_ok=True)
    settings = {**engine, **_spark_defaults(jars, env["AWS_ENDPOINT_URL"])}
    (conf / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    python = conf / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    (conf / "log4j2.properties").write_text(
        "rootLogger.level = warn\n"
        "rootLogger.appenderRef.stderr.ref = console\n"
        "appender.console.type = Console\n"
        "appender.console.name = console\n"
        "appender.console.target = SYSTEM_ERR\n"
        "appender.console.layout.type = PatternLayout\n"
        "appender.console.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex\n"
    )
    return conf


def _tail(path: Path, size: int = 2000) -> str:
    """The last lines of a log, whole ones where there are several."""
    if not path.exists():
        return ""
    text = path.read_bytes()[-size:].decode(errors="replace")
    return (text.partition("\n")[2] if len(text) == size and "\n" in text else text).strip()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
