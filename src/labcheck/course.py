"""Where a course keeps its labs, their checks and their hidden checks."""

from __future__ import annotations

import importlib
import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from labcheck.checks import Battery


class CourseError(ValueError):
    """The course's folder or one of its labs is not as it should be; the message says how."""


@dataclass(frozen=True)
class Course:
    """The settings of ``[tool.labcheck]`` in the course's pyproject.toml.

    Attributes:
        root: the folder of pyproject.toml.
        package: the name of the course's package.
        checks: dotted name of the package with one module of visible checks a lab.
        solutions, labs: folders of the instructor's and of the students' notebooks.
        overlay: a folder of further hidden checks, ``LAB/hidden.py``, kept out of the public
            repository; it need not exist.
        mutants: the folder with the bank of wrong and right answers.
        repository: the public address.
    """

    root: Path
    package: str
    checks: str
    solutions: Path
    labs: Path
    overlay: Path
    mutants: Path
    repository: str

    @classmethod
    def find(cls, start: Path | str = ".") -> Course:
        """The course that a folder lies in.

        Raises:
            CourseError: no pyproject.toml with ``[tool.labcheck]`` in this folder or above it.
        """
        start = Path(start).resolve()
        for folder in (start, *start.parents):
            path = folder / "pyproject.toml"
            if path.is_file():
                project = tomllib.loads(path.read_text())
                settings = project.get("tool", {}).get("labcheck")
                if settings:
                    return cls._from(folder, settings, project["project"]["urls"]["Repository"])
        raise CourseError(f"{start} lies in no course: no pyproject.toml with [tool.labcheck] here or above")

    @classmethod
    def _from(cls, root: Path, settings: dict[str, Any], repository: str) -> Course:
        folders = {name: root / settings[name] for name in ("solutions", "labs", "overlay", "mutants")}
        return cls(root=root, package=settings["package"], checks=settings["checks"], repository=repository, **folders)

    def lab_names(self) -> list[str]:
        """The names of all labs, in order."""
        return sorted(path.stem for path in self.solutions.glob("lab*/lab*.md") if path.stem == path.parent.name)

    def require(self, lab: str) -> str:
        """The lab's name.

        Raises:
            CourseError: the course has no lab of this name.
        """
        if lab not in self.lab_names():
            raise CourseError(f"no lab is named {lab!r}; the labs are: {', '.join(self.lab_names())}")
        return lab

    def released(self, lab: str) -> Path:
        """The students' notebook of a lab."""
        return self.labs / lab / f"{lab}.ipynb"

    def battery(self, lab: str, hidden: bool = True) -> Battery:
        """A lab's checks: the visible ones, and with ``hidden`` those beside the solution and of the overlay."""
        battery: Battery = importlib.import_module(f"{self.checks}.{self.require(lab)}").lab
        for folder in (self.solutions, self.overlay) if hidden else ():
            path = folder / lab / "hidden.py"
            if path.is_file():
                battery = battery + _load(path, f"hidden_checks_{folder.name}_{lab}").lab
        return battery

    def unavailable(self, lab: str) -> tuple[str, ...]:
        """Dotted names of the modules that a lab's sandbox does not hold: answers and checks, but for fixtures."""
        spec = importlib.util.find_spec(self.checks)
        assert spec is not None and spec.submodule_search_locations is not None, f"{self.checks} is no package"
        folder = Path(next(iter(spec.submodule_search_locations)))
        battery = self.battery(lab, hidden=False)
        checks = (f"{self.checks}.{path.stem}" for path in sorted(folder.glob("[!_]*.py")))
        return (*battery.forbidden, *(name for name in checks if name != battery.fixtures))


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
