"""What waivers cover, and what they do not."""

from pathlib import Path

import judges
import pytest
import scan
from judges import Finding
from scan import Waiver

LOGS = Finding("checkov", "CKV_1", "prod/aws_s3_bucket.us-logs", "")
LANDING = Finding("checkov", "CKV_1", "prod/aws_s3_bucket.us-landing", "")


def test_a_waiver_covers_its_check_in_its_places_only() -> None:
    other = Finding("checkov", "CKV_2", "prod/aws_s3_bucket.us-logs", "")
    sifted = scan.sift([LOGS, LANDING, other], [Waiver("CKV_1", ("*/aws_s3_bucket.*-logs",), "")])
    assert sifted == ([LANDING, other], {"checkov": 1}, [])


def test_a_pattern_that_covers_nothing_is_told() -> None:
    _, _, unused = scan.sift([LOGS], [Waiver("CKV_1", ("*-logs", "*-gone"), "")])
    assert unused == ["CKV_1 on *-gone"]


def test_a_waiver_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_text("- {check: CKV_1, where: ['*'], reason: because}\n")
    with pytest.raises(ValueError, match="a reason of a few words"):
        scan.read_waivers(path)


def test_a_star_is_everything_in_a_role_and_the_key_in_a_key() -> None:
    star = '{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow",%s"Action":"%s","Resource":"*"}]}'
    role, key = star % ("", "s3:GetObject"), star % ('"Principal":{"Service":"sns.amazonaws.com"},', "kms:Decrypt")
    verdict = judges.judge_policies({"role": role, "key": key})
    assert [(f.where, f.check) for f in verdict.findings] == [("role", "RESOURCE_STAR")]
    assert verdict.passed == 1
