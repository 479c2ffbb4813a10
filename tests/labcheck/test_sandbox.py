"""A sandbox starts, serves one submission after the other, refuses where it cannot be had, and leaves nothing."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from labcheck import bubblewrap
from labcheck import sandbox as sandbox_module
from labcheck.bubblewrap import SandboxUnavailable, require_bubblewrap
from labcheck.inside.wire import pack
from labcheck.sandbox import Sandbox, SandboxBroken
from tests.labcheck.submitting import LAB, Submission, run

RIGHT = "def f():\n    return 5"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def room(monkeypatch, tmp_path):
    """A folder for temporary files of this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.grading
@pytest.mark.parametrize(("options", "walls"), [({}, "own"), ({"nested": False}, "shared"), ({"walls": False}, "none")])
def test_each_kind_of_walls_serves_one_submission_after_the_other(room, options, walls):
    with Sandbox(LAB, packages=["tinycourse"], **options) as sandbox:
        assert sandbox.config["walls"] == walls
        assert (sandbox.own_namespaces, sandbox.walls) == (walls == "own", walls != "none")
        first = sandbox.process
        for number in range(2):
            assert run(sandbox, f"def f():\n    return {number}") == number
        assert (sandbox.process is first) == (walls != "shared"), "bubblewrap for each, where there is no other way"
        with Submission(sandbox, "def g():\n    return 5") as submission:
            assert submission.run(lambda answer: answer.g()) == 5
        assert len(list(room.iterdir())) == 1
    assert sandbox.process.poll() is not None
    assert not list(room.iterdir())


@pytest.mark.grading
def test_where_a_fork_may_have_no_namespaces_each_submission_gets_a_sandbox(monkeypatch):
    own = bubblewrap.walls
    monkeypatch.setattr(bubblewrap, "walls", lambda innermost: own(innermost=True))
    with Sandbox(LAB, packages=["tinycourse"]) as sandbox:
        assert sandbox.config["walls"] == "shared"
        assert [run(sandbox, RIGHT), run(sandbox, RIGHT)] == [5, 5]


@pytest.mark.grading
def test_a_submission_that_was_left_in_the_middle_does_not_touch_the_next():
    with Sandbox(LAB, packages=["tinycourse"]) as sandbox:
        process = sandbox.process
        with Submission(sandbox, RIGHT):
            sandbox.send(pack({"op": "begin", "seed": 2, "patience": 5.0}), 5)  # and no end
        assert run(sandbox, RIGHT) == 5 and sandbox.process is process
        with Submission(sandbox, "import time\ndef f():\n    time.sleep(3)\n    return 1") as submission:
            sandbox.send(pack({"op": "begin", "seed": 2, "patience": 5.0}), 5)
            with pytest.raises(SandboxBroken, match="deadline"):
                sandbox.request({"op": "call", "target": "f", "args": [], "kwargs": {}}, 0.2)
            assert submission.loaded == {"loaded": []}
        assert run(sandbox, RIGHT) == 5 and sandbox.process is not process, "a late reply would be the next one's"


@pytest.mark.grading
def test_a_driver_that_is_gone_is_a_broken_sandbox_and_can_be_started_again():
    with Sandbox(LAB, walls=False) as sandbox:
        sandbox.process.kill()
        sandbox.process.wait()
        with pytest.raises(SandboxBroken):
            run(sandbox, RIGHT)
        sandbox.restart()
        assert run(sandbox, RIGHT) == 5


@pytest.mark.grading
def test_a_driver_that_does_not_go_is_ended(monkeypatch, room):
    monkeypatch.setattr(sandbox_module, "_STOP_SECONDS", 0.2)
    with Sandbox(LAB, walls=False) as sandbox:
        os.kill(sandbox.process.pid, 19)
    assert sandbox.process.poll() == -9
    assert not list(room.iterdir())


@pytest.mark.grading
def test_an_environment_below_tmp_is_there_when_a_check_imports_of_it():
    program = """
import sys
from labcheck.sandbox import Sandbox
from tests.labcheck.submitting import LAB, run
source = "def f():\\n    import threadpoolctl\\n    return threadpoolctl.__file__"
with Sandbox(LAB) as sandbox:
    print(sys.prefix, sandbox.config["walls"], run(sandbox, source))
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as elsewhere:
        moved = ["bwrap", "--dev-bind", "/", "/", "--bind", sys.prefix, elsewhere]
        python = f"{elsewhere}/{Path(sys.executable).relative_to(sys.prefix)}"
        told = subprocess.run([*moved, python, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    prefix, walls, imported = told.stdout.split() or [told.stderr, "", ""]
    assert (prefix, walls) == (elsewhere, "own")
    assert imported.startswith("/python/"), imported


def test_a_python_that_the_sandbox_would_cover_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", "/tmp/python")
    with pytest.raises(SandboxUnavailable, match=r"^Python is installed in /tmp/python, .* --no-sandbox.*$"):
        require_bubblewrap()


def test_no_bubblewrap_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"^bubblewrap is not installed: install it .* --no-sandbox.*$"):
        Sandbox(LAB).__enter__()


def test_a_bubblewrap_that_may_not_work_is_one_clear_line(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text(
        "#!/bin/sh\necho first line >&2\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = r"^bubblewrap cannot make a sandbox here \(bwrap: No permissions to create new namespace\): allow user .*$"
    with pytest.raises(SandboxUnavailable, match=reason):
        require_bubblewrap()


def test_a_missing_filter_library_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(SandboxUnavailable, match="install what grading needs"):
        Sandbox(LAB).__enter__()


def test_a_package_that_is_not_installed_is_named_and_leaves_nothing(room):
    with pytest.raises(ModuleNotFoundError, match="'nowhere_at_all' is not installed"):
        Sandbox(LAB, packages=["nowhere_at_all"], walls=False).__enter__()
    assert not list(room.iterdir())


def test_a_driver_that_does_not_start_is_a_broken_sandbox(monkeypatch, room):
    sandbox = Sandbox(LAB, walls=False)
    monkeypatch.setattr(sandbox, "_command", lambda room: [sys.executable, "-c", "pass"])
    with pytest.raises(SandboxBroken):
        sandbox.__enter__()
    assert sandbox.process.poll() is not None
    assert not list(room.iterdir())


def test_a_driver_that_starts_with_another_word_is_a_broken_sandbox(monkeypatch, room):
    says = "import socket; s = socket.socket(fileno=0); s.sendall({0!r})"
    replies = [{"possible": True}, {"ready": False}]
    data = b"".join(len(pack(reply)).to_bytes(8, "big") + pack(reply) for reply in replies)
    sandbox = Sandbox(LAB, walls=False)
    monkeypatch.setattr(sandbox, "_command", lambda room: [sys.executable, "-c", says.format(data)])
    with pytest.raises(SandboxBroken, match=r"did not start|closed|reset|[Pp]ipe"):
        sandbox.__enter__()
    assert not list(room.iterdir())
