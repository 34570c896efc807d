"""The judges: each looks at one kind of thing and says what it finds wrong. None of them is ours, but for the checks in checks/."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# checkov logs at import time, and would ask its maker's service for more if it had a key.
os.environ.setdefault("LOG_LEVEL", "ERROR")
os.environ.setdefault("BC_SKIP_DOWNLOAD", "true")

import parliament
from checkov.runner_filter import RunnerFilter
from checkov.terraform import plan_parser
from checkov.terraform.plan_runner import Runner

HERE = Path(__file__).parent

# Checks of EMR security configurations read the document; in a plan it is text, which the parser opens for the types named here only.
plan_parser.RESOURCE_TYPES_JSONIFY["aws_emr_security_configuration"] = "configuration"


@dataclass(frozen=True)
class Finding:
    """Something that a judge holds against us."""

    judge: str
    check: str  # the judge's id of the rule
    where: str  # "<stack>/<resource>" for what is deployed, a path from the root for what is in a file
    text: str = field(compare=False)


@dataclass
class Verdict:
    """What a judge says of all that it looked at."""

    judge: str
    looked: str  # at what, in words, with a count
    passed: int
    findings: list[Finding]


def checkov(plans: dict[str, Path]) -> Verdict:
    """Judges the planned resources of each stack, with checkov's checks and those of ours."""
    verdict = Verdict("checkov", "", 0, [])
    resources = 0
    for stack, path in plans.items():
        report = Runner().run(
            root_folder=None,
            files=[str(path)],
            external_checks_dir=[str(HERE / "checks")],
            runner_filter=RunnerFilter(framework=["terraform_plan"]),
        )
        if report.parsing_errors or not report.resources:
            raise ValueError(f"checkov read nothing in {path}: {report.parsing_errors}")
        resources += len(report.resources)
        verdict.passed += len(report.passed_checks)
        for record in report.failed_checks:
            verdict.findings.append(
                Finding("checkov", record.check_id, f"{stack}/{record.resource}", record.check_name)
            )
    verdict.looked = f"{resources} resources"
    return verdict


def policies_of(root: Path, plans: dict[str, Path]) -> dict[str, str]:
    """Every policy: the goldens, and whatever a planned resource holds that reads like one, by where it is."""
    documents = {
        f"policies/testdata/{p.name}": p.read_text() for p in sorted((root / "policies/testdata").glob("*.json"))
    }
    for stack, path in plans.items():
        for resource in json.loads(path.read_text())["planned_values"]["root_module"]["resources"]:
            for attribute, text in texts(resource["values"]):
                if '"Statement"' in text and text.lstrip().startswith("{"):
                    documents[f"{stack}/{resource['address']}.{attribute}"] = text
    return documents


def texts(value: Any, attribute: str = "") -> Iterator[tuple[str, str]]:
    """All texts within a value, each with the name of the attribute that it stands under."""
    if isinstance(value, str):
        yield attribute, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, attribute)


def judge_policies(documents: dict[str, str]) -> Verdict:
    """Judges policies with parliament: unknown actions, resources that an action cannot have, wrong conditions, stars."""
    verdict = Verdict("parliament", f"{len(documents)} policies", 0, [])
    for where, text in documents.items():
        findings = parliament.analyze_policy_string(json.dumps(said_out(json.loads(text)))).findings
        verdict.passed += not findings
        for finding in findings:
            detail = str(finding.detail or finding.title or "")[:200]
            verdict.findings.append(
                Finding("parliament", finding.issue, where, f"{detail} {finding.location.get('line', '')}".strip())
            )
    return verdict


def said_out(document: dict[str, Any]) -> dict[str, Any]:
    """Says what AWS implies by where a policy hangs: parliament knows policies of identities only.

    A trust policy has no resource, because it is about its role; a key policy's star is the key.
    """
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    for statement in statements:
        actions = statement.get("Action", [])
        of_keys = all(a.startswith("kms:") for a in ([actions] if isinstance(actions, str) else actions))
        if "Principal" in statement and "Resource" not in statement:
            statement["Resource"] = "arn:aws:iam::111122223333:role/this"
        elif (
            statement.get("Principal", "*") not in ("*", {"AWS": "*"})
            and statement["Resource"] == "*"
            and actions
            and of_keys
        ):
            statement["Resource"] = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000000"
    return document | {"Statement": statements}


def gosec(root: Path, bin: Path) -> Verdict:
    """Judges the Go code, without tests, module by module."""
    verdict = Verdict("gosec", "", 0, [])
    files = 0
    for module in sorted(p.parent for p in [root / "go.mod", *root.glob("local/*/go.mod")] if p.exists()):
        inner = [f"-exclude-dir={p.parent.relative_to(module)}" for p in module.glob("*/*/go.mod")]
        said = run([bin / "gosec", "-quiet", "-fmt=json", "-tags=engine", *inner, "./..."], module, ok=(0, 1))
        report = json.loads(said)
        if report["Golang errors"]:
            raise ValueError(f"gosec could not read {module}: {report['Golang errors']}")
        files += report["Stats"]["files"]
        for issue in report["Issues"]:
            path = str(Path(issue["file"]).relative_to(root))
            verdict.findings.append(
                Finding("gosec", issue["rule_id"], path, f"{issue['details']} (line {issue['line']})")
            )
    verdict.looked, verdict.passed = f"{files} files", files - len({f.where for f in verdict.findings})
    return verdict


def gitleaks(root: Path, bin: Path) -> Verdict:
    """Looks for secrets: in all commits and in what is not committed; in the files where there is no repository."""
    modes = [["git"], ["git", "--pre-commit"]] if (root / ".git").exists() else [["dir"]]
    found: set[Finding] = set()
    for mode in modes:
        said = run(
            [
                bin / "gitleaks",
                *mode,
                ".",
                "--no-banner",
                "--log-level=error",
                "--report-format=json",
                "--report-path=-",
                "--exit-code=0",
            ],
            root,
        )
        for leak in json.loads(said or "[]"):
            found.add(
                Finding(
                    "gitleaks",
                    leak["RuleID"],
                    leak["File"],
                    f"{leak['Description']} (line {leak['StartLine']} {leak['Commit'][:8]})",
                )
            )
    in_git = (root / ".git").exists()
    looked, what = (int(run(["git", "rev-list", "--count", "HEAD"], root)), "commits") if in_git else (1, "folder")
    return Verdict("gitleaks", f"{looked} {what}", looked - len(found), sorted(found, key=lambda f: f.where))


def actionlint(root: Path, bin: Path) -> Verdict:
    """Judges the workflows of GitHub."""
    files = sorted((root / ".github/workflows").glob("*.y*ml"))
    said = run([bin / "actionlint", "-shellcheck=", "-pyflakes=", "-format={{json .}}", *files], root, ok=(0, 1))
    findings = [
        Finding("actionlint", f["kind"], str(Path(f["filepath"])), f"{f['message']} (line {f['line']})")
        for f in json.loads(said or "[]")
    ]
    return Verdict("actionlint", f"{len(files)} workflows", len(files) - len({f.where for f in findings}), findings)


def run(command: list[Any], folder: Path, ok: tuple[int, ...] = (0,)) -> str:
    """Runs a judge that is a program, and returns what it printed."""
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise RuntimeError(f"{Path(str(command[0])).name} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


logging.getLogger().setLevel(logging.ERROR)
