"""Lets independent judges look at what would be deployed and at the code, and holds what they find against the waivers.

Exit code 1: something was found that no waiver covers, or a waiver covers nothing.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import judges
import yaml
from judges import Finding, Verdict

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Waiver:
    """A rule of a judge that does not hold somewhere, and why."""

    check: str
    where: tuple[str, ...]  # patterns of places, as in Finding.where
    reason: str

    def covering(self, finding: Finding) -> str | None:
        """The pattern that covers a finding; None when none does."""
        if finding.check != self.check:
            return None
        return next((pattern for pattern in self.where if fnmatch.fnmatchcase(finding.where, pattern)), None)


def read_waivers(path: Path) -> list[Waiver]:
    """Reads the waivers; one without a reason is refused."""
    waivers = []
    for entry in yaml.safe_load(path.read_text()):
        if set(entry) != {"check", "where", "reason"} or not entry["where"] or len(str(entry["reason"]).split()) < 4:
            raise ValueError(f"{path}: a waiver has check, where and a reason of a few words, not {entry}")
        waivers.append(Waiver(entry["check"], tuple(entry["where"]), entry["reason"]))
    return waivers


def sift(findings: Iterable[Finding], waivers: list[Waiver]) -> tuple[list[Finding], Counter[str], list[str]]:
    """Splits findings into those that stand and, by judge, how many are waived; the last are the patterns that cover nothing."""
    standing: list[Finding] = []
    waived: Counter[str] = Counter()
    unused = {(w.check, pattern) for w in waivers for pattern in w.where}
    for finding in findings:
        covering = [(w.check, pattern) for w in waivers if (pattern := w.covering(finding))]
        unused.difference_update(covering)
        if covering:
            waived[finding.judge] += 1
        else:
            standing.append(finding)
    return standing, waived, [f"{check} on {pattern}" for check, pattern in sorted(unused)]


def judge_all(root: Path, plans: dict[str, Path]) -> list[Verdict]:
    """Everything that there is, before every judge."""
    programs = root / "bin/scan"
    return [
        judges.checkov(plans),
        judges.judge_policies(judges.policies_of(root, plans)),
        judges.gosec(root, programs),
        judges.gitleaks(root, programs),
        judges.actionlint(root, programs),
    ]


def main() -> int:
    """Prints what every judge says, and what of it stands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE.parent.parent)
    parser.add_argument("plans", type=Path, nargs="+", help="plans in Terraform's JSON, named <stack>.json")
    args = parser.parse_args()
    root = args.root.resolve()
    waivers = read_waivers(HERE / "waivers.yaml")
    verdicts = judge_all(root, {p.stem: p for p in args.plans})
    standing, waived, unused = sift((f for v in verdicts for f in v.findings), waivers)
    failed = Counter(f.judge for f in standing)
    print(f"{'judge':<12}{'looked at':<18}{'passed':>8}{'failed':>8}{'waived':>8}")
    for v in verdicts:
        print(f"{v.judge:<12}{v.looked:<18}{v.passed:>8}{failed[v.judge]:>8}{waived[v.judge]:>8}")
    for finding in standing:
        print(f"FAILED {finding.judge} {finding.check} {finding.where}: {finding.text}")
    for waiver in unused:
        print(f"UNUSED waiver: {waiver}")
    if standing or unused:
        print("fix what is found, or give a reason in tools/scan/waivers.yaml; remove waivers that cover nothing")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
