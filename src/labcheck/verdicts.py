"""Verdicts that are kept: an interrupted run goes on where it was, and a regrade repeats its arguments.

A course's working folder has a secret. The seed of a submission's checks comes of this secret, the
student's name and the submitted cells: nobody can guess it, and the same submission gets the same
arguments whenever and wherever it is graded.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from labcheck.checks import CheckResult
from labcheck.inside.loading import Cell, Problem
from labcheck.judge import Limits, Verdict

_FOLDER = ".labcheck"
_SECRET_BYTES = 32


def secret_of(root: Path) -> bytes:
    """The secret of a working folder; made when it is first asked for, readable by its owner alone."""
    path = root / _FOLDER / "secret"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        with contextlib.suppress(FileExistsError), _complete(path) as part:
            part.write(secrets.token_bytes(_SECRET_BYTES))
    return path.read_bytes()


def seed_for(secret: bytes, lab: str, student: str, cells: list[Cell]) -> int:
    """The seed of one submission's checks, of 63 bits (HMAC, RFC 2104)."""
    text = json.dumps([lab, student, [asdict(cell) for cell in cells]]).encode()
    return int.from_bytes(hmac.digest(secret, text, "sha256")[:8], "big") >> 1


class Verdicts:
    """The kept verdicts of one lab, one file a student.

    Args:
        root: the course's working folder.
        lab: the lab's name.
    """

    def __init__(self, root: Path, lab: str) -> None:
        self.folder = root / _FOLDER / lab

    def key(
        self, student: str, cells: list[Cell], seed: int, versions: dict[str, str], limits: Limits, walls: bool
    ) -> str:
        """A digest of all that decides a verdict."""
        parts = [student, [asdict(cell) for cell in cells], seed, versions, asdict(limits), walls]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def get(self, student: str, key: str) -> Verdict | None:
        """The verdict that was kept under this key, if there is one."""
        try:
            kept = json.loads((self.folder / f"{student}.json").read_text())
            return _verdict(kept["verdict"]) if kept["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or of another version of this file's format
            return None

    def put(self, student: str, key: str, verdict: Verdict) -> None:
        """Keep a verdict in place of the student's last one; a run killed meanwhile leaves the old or the new."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{student}.json"
        with _complete(path, replace=True) as part:
            part.write(json.dumps({"key": key, "verdict": asdict(verdict)}).encode())


def _verdict(kept: dict[str, Any]) -> Verdict:
    checks = [CheckResult(**check) for check in kept.pop("checks")]
    problems = [Problem(**problem) for problem in kept.pop("problems")]
    return Verdict(**kept, checks=checks, problems=problems)


@contextlib.contextmanager
def _complete(path: Path, replace: bool = False) -> Iterator[IO[bytes]]:
    """Write a file that is there whole or not at all.

    Raises:
        FileExistsError: it is there, and is not to be replaced.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        try:
            yield part
            part.flush()
            os.fsync(part.fileno())
            (os.replace if replace else os.link)(part.name, path)
        finally:
            Path(part.name).unlink(missing_ok=True)
