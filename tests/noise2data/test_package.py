"""The package as a whole: what importing it costs, and that its modules build on each other in the order they state."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import noise2data

ROOT = Path(noise2data.__file__).parent
ORDER = [name for line in re.findall(r"^- (.*?):", noise2data.__doc__, re.M) for name in re.findall(r"``(\w+)``", line)]
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
ON_DEMAND = (
    "accelerate",
    "IPython",
    "ipywidgets",
    "matplotlib",
    "PIL",
    "safetensors",
    "scipy",
    "sklearn",
    "torchvision",
)
ABOVE_ALL = ("plots", "widgets", "checks")  # these may import all


def top(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """The package's own modules that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("noise2data.")}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_packages_docstring_names_every_module():
    assert {top(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_modules_above_it(path):
    if top(path) not in ABOVE_ALL:
        assert imported(path) <= set(ORDER[: ORDER.index(top(path)) + 1])


def test_importing_all_of_it_loads_nothing_but_torch_and_numpy():
    names = [".".join(("noise2data", *path.relative_to(ROOT).with_suffix("").parts)) for path in MODULES]
    names = [name.removesuffix(".__init__") for name in names if ".checks" not in name]
    assert run(f"import sys, {', '.join(names)}; print([m for m in {ON_DEMAND} if m in sys.modules])") == "[]"


def test_importing_the_package_alone_loads_not_even_torch():
    assert run("import sys, noise2data; print('torch' in sys.modules)") == "False"
