"""What `make demo` says when it cannot begin."""

import socket
import subprocess
import sys

from labcheck.course import Course


def test_a_taken_port_is_one_line_and_nothing_is_written(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "demo", "--port", str(port), "--no-serve"]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(Course.find().root)}, capture_output=True, text=True
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"port {port} cannot be used" in done.stderr
    assert "make demo PORT=" in done.stderr
    assert not list(tmp_path.iterdir())
