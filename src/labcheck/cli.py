"""The command line: ``labcheck build | run | grade | report | similar | mutants``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labcheck.bubblewrap import SandboxUnavailable
from labcheck.course import Course, CourseError
from labcheck.inside.loading import Cell
from labcheck.judge import Limits, Verdict, judge, sandbox_for
from labcheck.notebooks import NotebookError
from labcheck.sandbox import SandboxBroken

_SECONDS = "processor seconds that one check may take"


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit status: 0 done, 1 not as it should be, 2 it could not be done, 130 Ctrl+C."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.command(Course.find(args.course), args)
        return status
    except (CourseError, NotebookError, SandboxUnavailable, SandboxBroken, OSError) as error:
        print(f"labcheck: {error}", file=sys.stderr)
    except KeyError as error:
        print(f"labcheck: {error.args[0]}", file=sys.stderr)
    except KeyboardInterrupt:
        print("labcheck: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="labcheck", description=__doc__)
    parser.add_argument("--course", default=".", help="a folder inside the course (default: this one)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="make notebooks from the text of solutions/ (all labs if none is named)")
    build.add_argument("labs", nargs="*", metavar="LAB")
    build.add_argument("--force", action="store_true", help="execute notebooks whose text has not changed, too")
    build.set_defaults(command=_build)

    run = commands.add_parser("run", help="check a plain Python file of answers")
    run.add_argument("lab", metavar="LAB")
    run.add_argument("answers", metavar="ANSWERS.py", type=Path)
    run.add_argument("--json", action="store_true", help="print the verdict as JSON")
    run.add_argument("--seed", type=int, help="of the checks' arguments (default: a new secret one)")
    run.add_argument("--only", metavar="NAME", help="one task's checks alone")
    run.add_argument(
        "--seconds", type=_positive(float), default=Limits.seconds, help=f"{_SECONDS} (default: %(default)g)"
    )
    _walls(run)
    run.set_defaults(command=_run)

    grade = commands.add_parser("grade", help="autograde every submission of a lab, with feedback")
    grade.add_argument("lab", metavar="LAB")
    grade.add_argument("--jobs", type=_positive(int), default=1, help="processes that judge (default: 1)")
    grade.add_argument(
        "--no-feedback", dest="feedback", action="store_false", help="leave feedback to nbgrader generate_feedback"
    )
    grade.add_argument("--again", action="store_true", help="grade also what is graded and has not changed")
    grade.add_argument("--seed", type=int, help="of the checks' arguments (default: a secret one for each submission)")
    grade.add_argument("--seconds", type=_positive(float), help=f"{_SECONDS} (default: c.Judge.seconds)")
    _walls(grade)
    grade.set_defaults(command=_grade)

    report = commands.add_parser("report", help="a page on what each submission of a lab got, and why")
    report.add_argument("lab", metavar="LAB")
    report.add_argument("--output", type=Path, default=Path("report.html"), metavar="FILE")
    report.set_defaults(command=_report)

    similar = commands.add_parser(
        "similar", help="a page on submissions that resemble each other more than the class does"
    )
    similar.add_argument("lab", metavar="LAB")
    similar.add_argument("--output", type=Path, default=Path("similar.html"), metavar="FILE")
    similar.add_argument("--top", type=_positive(int), default=20, help="how many pairs to show (default: 20)")
    similar.set_defaults(command=_similar)

    mutants = commands.add_parser("mutants", help="the bank of wrong and right answers, as a table")
    mutants.add_argument("lab", metavar="LAB", nargs="?")
    mutants.add_argument("--seeds", type=int, default=20, help="how many seeds each answer is run with (default: 20)")
    mutants.set_defaults(command=_mutants)
    return parser


def _walls(parser: argparse.ArgumentParser) -> None:
    walls = "run student code unprotected on this machine; recorded in the verdict"
    parser.add_argument("--no-sandbox", dest="walls", action="store_false", help=walls)


def _positive(kind: type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not (value := kind(text)) > 0:
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"  # as argparse names it where a value is refused
    return parse


def _build(course: Course, args: argparse.Namespace) -> int:
    from labcheck import pipeline

    for lab in map(course.require, args.labs or course.lab_names()):
        executed = pipeline.build_solution(course, lab, args.force)
        released = pipeline.release(course, lab)
        print(f"{lab}: {'executed' if executed else 'unchanged'}, released as {released.relative_to(course.root)}")
    return 0


def _run(course: Course, args: argparse.Namespace) -> int:
    battery = course.battery(args.lab)
    try:
        source = args.answers.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NotebookError(f"{args.answers}: not a Python file (its text is not UTF-8)") from None
    cells = [Cell(args.answers.name, source, answer=True)]
    unavailable = course.unavailable(args.lab)
    with sandbox_for(battery, packages=[course.package], unavailable=unavailable, walls=args.walls) as sandbox:
        verdict = judge(battery, cells, sandbox, seed=args.seed, only=args.only, limits=Limits(seconds=args.seconds))
    print(json.dumps(verdict.as_dict(), indent=2) if args.json else _as_text(verdict))
    return 0


def _as_text(verdict: Verdict) -> str:
    lines = [
        f"{'✓' if c.status == 'passed' else '✗'} {c.score:g}/{c.points:g} {c.task}: {c.check}"
        f"{' (hidden)' if c.hidden else ''}{'' if c.status == 'passed' else f' [{c.status}] {c.message}'}"
        for c in verdict.checks
    ]
    lines += [f"! {problem}" for problem in verdict.problems]
    return "\n".join([*lines, f"{verdict.lab}: {verdict.score:g} of {verdict.max:g} points (seed {verdict.seed})"])


def _grade(course: Course, args: argparse.Namespace) -> int:
    from labcheck.grading import grade_class
    from labcheck.nbgrader import limits_of

    limits = limits_of(course)
    if args.seconds is not None:
        limits = replace(limits, seconds=args.seconds)
    graded = grade_class(
        course, course.require(args.lab), jobs=args.jobs, walls=args.walls, seed=args.seed, again=args.again,
        feedback=args.feedback, limits=limits,
    )  # fmt: skip
    for g in graded:
        print(f"{g.student}: {g.error or f'{g.score:g} of {g.max_score:g} points'}")
    return 1 if any(g.error for g in graded) else 0


def _report(course: Course, args: argparse.Namespace) -> int:
    from labcheck.report import write_report

    write_report(course, course.require(args.lab), args.output)
    print(f"{args.output} written")
    return 0


def _similar(course: Course, args: argparse.Namespace) -> int:
    from labcheck.similarity import write_similarity

    for pair in write_similarity(course, args.lab, args.output, top=args.top):
        times = f"{pair.times:.1f}×" if math.isfinite(pair.times) else "—"
        tasks = ", ".join(task.task for task in pair.tasks[:3])
        print(f"{times:>6} {pair.overlap:4.0%}  {pair.one} and {pair.other}: {tasks}")
    print(f"{args.output} written; it reports, and decides nothing")
    return 0


def _mutants(course: Course, args: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from labcheck.mutants import survey, table

    good = True
    for lab in [course.require(args.lab)] if args.lab else course.lab_names():
        results = list(tqdm(survey(course, lab, args.seeds), desc=lab, unit="answer"))
        good = good and all(result.as_intended for result in results)
        print(f"\n## {lab}\n\n{table(results)}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
