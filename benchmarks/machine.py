"""What the tables of this folder have in common: the machine they were measured on, and how they are written."""

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch


def machine(packages: Iterable[str] = ()) -> str:
    """One line: processor, cores, threads, accelerator if one is used, and the versions of what was measured."""
    parts = [
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
    ]
    if torch.cuda.is_available():
        parts.insert(1, torch.cuda.get_device_name())
    return "; ".join([*parts, *(f"{package} {version(package)}" for package in packages)])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, whose first column is text and whose others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(title: str, paragraphs: Iterable[str], output: Path | None) -> None:
    """Print the report, and write it to `output` if that is given."""
    text = "\n\n".join([f"# {title}", *paragraphs]) + "\n"
    print(text)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
