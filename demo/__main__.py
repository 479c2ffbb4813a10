"""``make demo``: grade the example class, draw what the course builds up to, build the book, serve it all."""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from demo import latents
from demo.example_class import CLASS, LAB, hand_in, working_folder
from labcheck.bubblewrap import SandboxUnavailable
from labcheck.course import Course, CourseError
from labcheck.grading import grade_class
from labcheck.judge import Limits
from labcheck.notebooks import NotebookError
from labcheck.report import Picture, write_report

_ROOM = Path("_build/demo")  # an instructor's working folder
_SITE = Path("_build/site")


def main() -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-serve", action="store_true", help="check that book and report answer, then end")
    args = parser.parse_args()
    try:
        server = _listen(args.port)
    except (OSError, OverflowError) as error:
        print(f"demo: port {args.port} cannot be used ({error}); choose another: make demo PORT=8001", file=sys.stderr)
        return 2
    with server:
        try:
            good = _grade()
            subprocess.run(["make", "--no-print-directory", "book"], check=True)
            _link()
        except (CourseError, NotebookError, SandboxUnavailable, OSError, subprocess.CalledProcessError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        return _serve(server, args.no_serve) if good else 1


def _listen(port):
    handler = functools.partial(_Quiet, directory=str(_SITE))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def _grade() -> bool:
    """Grade the example class in a fresh working folder; whether every submission got what it deserves."""
    home = Course.find()
    shutil.rmtree(_ROOM, ignore_errors=True)
    _ROOM.mkdir(parents=True)
    course = working_folder(home, _ROOM)
    hand_in(home, _ROOM / "submitted")
    graded = grade_class(course, LAB, limits=Limits(seconds=2.0))
    report = _ROOM / "report" / "index.html"
    drawn = Picture(report.parent / "latents.png", latents.ALT, latents.draw(report.parent / "latents.png"))
    write_report(course, LAB, report, notes={s.student: s.note for s in CLASS}, picture=drawn)
    deserved = {submission.student: submission.points(home) for submission in CLASS}
    print(f"\n{LAB}: the example class")
    for result in graded:
        got = result.error or f"{result.score:g} points, deserves {deserved[result.student]:g}"
        print(f"  {result.student:<13} {got}")
    wrong = [result.student for result in graded if result.score != deserved[result.student]]
    if wrong:
        print(f"demo: not graded as deserved: {', '.join(wrong)}", file=sys.stderr)
    return not wrong


def _link() -> None:
    """Put book, report and feedback under one roof."""
    shutil.rmtree(_SITE, ignore_errors=True)
    _SITE.mkdir(parents=True)
    for name, target in (("book", "_build/html"), ("report", _ROOM / "report"), ("feedback", _ROOM / "feedback")):
        (_SITE / name).symlink_to(Path(target).resolve())


def _serve(server, only_check: bool) -> int:
    links = {name: f"http://localhost:{server.server_port}/{name}/index.html" for name in ("book", "report")}
    print(f"\nThe book:         {links['book']}\nThe grade report: {links['report']}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        if only_check:
            for name, link in links.items():
                with urllib.request.urlopen(link, timeout=10) as reply:
                    print(f"{name}: answers with {len(reply.read()):,} bytes")
        else:
            print("Press Ctrl+C to end.")
            with contextlib.suppress(KeyboardInterrupt):
                thread.join()
    finally:
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
