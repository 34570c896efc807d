"""Measures the program and its previews by the number of countries, and builds after a change. Writes bench/countries.md.

Run by `make bench`, with the local cloud of $SLUICE_HOME up. Memory is the sum over all processes of a command, sampled.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTRIES = (1, 5, 20)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children: list[int] = []
    for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):  # each thread has those that it started
        try:
            children += map(int, thread.read_text().split())
        except OSError:  # it has ended
            continue
    return [pid, *(below for child in children for below in tree(child))]


def resident(pid: int) -> int:
    """A process's own memory in bytes; what it shares with others is counted in part."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def measure(*command: str, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds and gigabytes that a command takes with everything that it starts."""
    peak = 0
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )

        def watch() -> None:
            nonlocal peak
            while process.poll() is None:
                peak = max(peak, sum(resident(pid) for pid in tree(process.pid)))
                time.sleep(0.1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        took = time.monotonic() - started
        watcher.join()
        if code:
            output.seek(0)
            sys.exit(f"{' '.join(command)}: exit {code}\n{output.read().decode()[-4000:]}")
    return took, peak / 1e9


def previews(folder: pathlib.Path) -> list[str]:
    """Previews of new stacks with the local stack's settings and more and more countries."""
    text = (ROOT / "Pulumi.local.yaml").read_text()
    # Without people: how many countries one of them may see is limited by IAM.
    before = text[: text.index("  sluice:access:")]
    lines = ["| countries | preview, s | memory, GB |", "|---|---|---|"]
    for n in COUNTRIES:
        codes = [f"a{chr(97 + i)}" for i in range(n)]
        countries = "".join(
            f"    - {{code: {code}, cidr: 10.{i}.0.0/16, feeds: [airlines, airports, planes, weather, flights]}}\n"
            for i, code in enumerate(codes)
        )
        file = folder / f"Pulumi.{n}.yaml"
        file.write_text(before + "  sluice:countries:\n" + countries)
        seconds, memory = measure("bin/pulumi", "preview", "--stack", "local", "--config-file", str(file))
        lines.append(f"| {n} | {seconds:.1f} | {memory:.2f} |")
        print(lines[-1], flush=True)
    return lines


def builds(folder: pathlib.Path) -> list[str]:
    """Builds after one changed line, of the program as Pulumi's language host does it, and of every function as the program does."""
    functions = (
        "-trimpath",
        "-buildvcs=false",
        "-gcflags",
        "all=-l",
        "-tags",
        "lambda.norpc,nethttpomithttp2",
        "-ldflags",
        "-s -w -buildid=",
    )
    lines = ["| changed | built | s | memory, GB |", "|---|---|---|---|"]
    for changed, built, flags, packages, env in (
        ("infra/infra.go", "the program", (), "./stacks", {}),
        ("internal/driver/driver.go", "the functions", functions, "./lambdas/...", {"CGO_ENABLED": "0"}),
    ):
        out = folder / built.replace(" ", "-")
        out.mkdir()
        command = ("go", "build", *flags, "-o", f"{out}/", packages)
        measure(*command, env=env)  # so that all else is compiled
        # An overlay changes the file for the compiler alone.
        copy = folder / "changed.go"
        copy.write_text((ROOT / changed).read_text() + f"\nvar changed = {time.time_ns()}\n")
        overlay = folder / "overlay.json"
        overlay.write_text(f'{{"Replace": {{"{ROOT / changed}": "{copy}"}}}}')
        seconds, memory = measure(*command[:2], "-overlay", str(overlay), *command[2:], env=env)
        lines.append(f"| one line of {changed} | {built} | {seconds:.1f} | {memory:.2f} |")
        print(lines[-1], flush=True)
        if seconds > 10 or memory > 2:
            print("more than 10 s or 2 GB", file=sys.stderr)
    return lines


def main() -> None:
    """Measures everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        table = folder / "program.md"
        subprocess.run(
            ["go", "test", "-tags", "bench", "-count", "1", "-run", "TestProgramTimeGrows", "./stacks"],
            cwd=ROOT, check=True, env={**os.environ, "BENCH_OUT": str(table)},
        )  # fmt: skip
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        sections = [
            "# By the number of countries",
            f"Measured by `make bench` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {memory:.0f} GiB of memory.",
            "## The program alone\n\nAgainst a recorder instead of an engine; "
            "at most 25 ms a resource, and a slope of at most 1.1, or the test fails.",
            table.read_text().strip(),
            "## A preview through the engine\n\nOf a new stack on the local cloud, from the command to its end: "
            "build, program, engine, plugins, the AWS provider's planner.",
            "\n".join(previews(folder)),
            "## A build after one changed line\n\nAt most 10 s and 2 GB. "
            "The program as Pulumi's language host builds it, the functions as the program does; all else was compiled before.",
            "\n".join(builds(folder)),
        ]
        (ROOT / "bench" / "countries.md").write_text("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    main()
