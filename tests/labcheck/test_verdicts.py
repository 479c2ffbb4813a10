"""Kept verdicts: whole or not at all, found again by all that decides them, with seeds that nobody can guess."""

import os
import stat
from dataclasses import replace

import pytest

from labcheck.checks import CheckResult
from labcheck.inside.loading import Cell, Problem
from labcheck.judge import Limits, Verdict
from labcheck.verdicts import Verdicts, secret_of, seed_for

LAB = "lab01_numbers"
CELLS = [Cell("double", "def double(x):\n    return x + x", True), Cell("more", "FACTOR = 2", False)]
SAME = {
    "student": "amy", "cells": CELLS, "seed": 5, "versions": {"torch": "2", "checks": "ab"}, "limits": Limits(),
    "walls": True,
}  # fmt: skip


@pytest.fixture
def verdict():
    passed = CheckResult("double", "doubles_a_vector", False, 2.0, 2.0, "passed", "", "Doubles.")
    failed = replace(passed, check="keeps_the_dtype", hidden=True, score=0.0, status="failed", message="off by 1 – α")
    return Verdict(LAB, 2**62 + 1, True, [passed, failed], [Problem("more", 3, "is \udc80 not text")], {"torch": "2"})


def test_a_verdict_comes_back_as_it_was(tmp_path, verdict):
    Verdicts(tmp_path, LAB).put("amy", "a key", verdict)
    assert Verdicts(tmp_path, LAB).get("amy", "a key") == verdict


def test_there_is_none_of_another_key_student_or_lab(tmp_path, verdict):
    Verdicts(tmp_path, LAB).put("amy", "a key", verdict)
    assert Verdicts(tmp_path, LAB).get("amy", "another key") is None
    assert Verdicts(tmp_path, LAB).get("ben", "a key") is None
    assert Verdicts(tmp_path, "lab02_makers").get("amy", "a key") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"key": "a key"}', '{"key": "a key", "verdict": {"lab": 1}}'])
def test_a_file_that_is_no_verdict_is_as_good_as_none(tmp_path, verdict, text):
    verdicts = Verdicts(tmp_path, LAB)
    verdicts.put("amy", "a key", verdict)
    (verdicts.folder / "amy.json").write_text(text)
    assert verdicts.get("amy", "a key") is None


def test_what_ends_the_writing_leaves_the_old_verdict_and_nothing_else(tmp_path, verdict, monkeypatch):
    verdicts = Verdicts(tmp_path, LAB)
    verdicts.put("amy", "old", verdict)
    monkeypatch.setattr(os, "fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        verdicts.put("amy", "new", verdict)
    assert [path.name for path in verdicts.folder.iterdir()] == ["amy.json"]
    assert verdicts.get("amy", "old") == verdict


@pytest.mark.parametrize(
    "change",
    [
        {"student": "ben"},
        {"cells": CELLS[:1]},
        {"cells": CELLS[::-1]},
        {"cells": [CELLS[0], replace(CELLS[1], source="FACTOR = 3")]},
        {"seed": 6},
        {"versions": {"torch": "2", "checks": "ac"}},
        {"limits": Limits(seconds=1.0)},
        {"walls": False},
    ],
)
def test_the_key_tells_apart_all_that_decides_a_verdict(tmp_path, change):
    verdicts = Verdicts(tmp_path, LAB)
    assert verdicts.key(**SAME) == verdicts.key(**{**SAME, "versions": {"checks": "ab", "torch": "2"}})
    assert verdicts.key(**SAME) != verdicts.key(**{**SAME, **change})


def test_a_working_folder_has_one_secret_for_its_owner_alone(tmp_path):
    secret = secret_of(tmp_path)
    path = tmp_path / ".labcheck" / "secret"
    written = path.stat().st_mtime_ns
    assert secret_of(tmp_path) == secret and len(secret) == 32
    assert path.stat().st_mtime_ns == written
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]
    assert [p.name for p in path.parent.iterdir()] == ["secret"]
    (tmp_path / "other").mkdir()
    assert secret_of(tmp_path / "other") != secret


def test_of_two_processes_that_make_the_secret_one_does(tmp_path, monkeypatch):
    link = os.link

    def late(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert len(secret_of(tmp_path)) == 32
    assert [path.name for path in (tmp_path / ".labcheck").iterdir()] == ["secret"]


def test_seeds_belong_to_a_secret_a_lab_a_student_and_a_submission():
    same = (b"secret", LAB, "amy", CELLS)
    others = [
        (b"Secret", *same[1:]), (b"secret", "lab02_makers", "amy", CELLS), (b"secret", LAB, "ben", CELLS),
        (b"secret", LAB, "amy", CELLS[:1]), (b"secret", LAB, "amy", [CELLS[0], replace(CELLS[1], answer=True)]),
    ]  # fmt: skip
    assert seed_for(*same) == seed_for(*same)
    assert len({seed_for(*same), *(seed_for(*other) for other in others)}) == 1 + len(others)
    assert all(0 <= seed_for(b"secret", LAB, str(n), []) < 2**63 for n in range(50))
