"""Files that students hand in: every editor's notebooks are read, and what is none costs nothing else."""

import json
import os
import socket

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labcheck import submissions
from labcheck.inside.loading import run
from labcheck.notebooks import NotebookError, code_cells, grade_id, reanchor
from labcheck.submissions import NOTICE, read_submission, receive

LAB = "lab01_numbers"


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


# How editors write a notebook: each takes the solved one as JSON.
def as_lines(tree):
    for cell in tree["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)


def by_colab(tree):
    """Colab: no minor version, ids and settings of its own in the metadata, no cell ids, nbgrader's metadata kept."""
    as_lines(tree)
    tree |= {"nbformat_minor": 0}
    tree["metadata"] |= {"colab": {"provenance": []}, "accelerator": "GPU"}
    for cell in tree["cells"]:
        cell["metadata"] |= {"id": cell.pop("id"), "colab": {"base_uri": "https://localhost:8080/"}, "outputId": "a"}


def by_colab_without_metadata(tree):
    by_colab(tree)
    for number, cell in enumerate(tree["cells"]):
        cell["metadata"] = {"id": f"Qx{number}_-", "colab_type": "code" if cell["cell_type"] == "code" else "text"}


def by_vs_code(tree):
    tree["metadata"] |= {"language_info": {"name": "python"}, "orig_nbformat": 4}
    for number, cell in enumerate(tree["cells"]):
        cell |= {"id": f"{number:08x}", "metadata": {**cell["metadata"], "vscode": {"languageId": "python"}}}


def by_classic_notebook(tree):
    tree["nbformat_minor"] = 1
    for cell in tree["cells"]:
        del cell["id"]
        cell["metadata"] |= {"collapsed": True, "scrolled": False}


def by_a_script(tree):
    """Only what a notebook cannot do without."""
    for key in ("metadata", "nbformat_minor", "nbformat"):
        del tree[key]
    tree["cells"] = [{key: cell[key] for key in ("cell_type", "source")} for cell in tree["cells"]]


def on_windows(tree):
    for cell in tree["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def in_version_3(tree):
    cells = tree.pop("cells")
    for cell in cells:
        del cell["id"]
        if cell["cell_type"] == "code":
            cell |= {"input": cell.pop("source"), "language": "python", "collapsed": False, "prompt_number": 1}
        elif cell["source"].startswith("# "):
            cell |= {"cell_type": "heading", "level": 1, "source": cell["source"][2:]}
    tree |= {"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells, "metadata": {}}]}


def with_outputs_that_make_no_sense(tree):
    for cell in tree["cells"]:
        cell["outputs"] = [5, {"output_type": "nothing"}, {"data": []}]
        cell["attachments"] = [cell["cell_type"]]


def with_cells_that_are_none(tree):
    tree["cells"] = [
        5,
        None,
        {},
        {"cell_type": 7},
        {"cell_type": "code"},
        *tree["cells"],
        {"cell_type": "sql", "source": {}},
    ]


EDITORS = [
    as_lines, by_colab, by_colab_without_metadata, by_vs_code, by_classic_notebook, by_a_script, on_windows,
    in_version_3, with_outputs_that_make_no_sense, with_cells_that_are_none,
]  # fmt: skip


@pytest.mark.parametrize("write", EDITORS, ids=lambda write: write.__name__)
def test_a_notebook_saved_by_any_editor_keeps_its_answers(write, solved, released, tmp_path):
    tree = json.loads(json.dumps(solved))
    write(tree)
    path = written(tmp_path / "lab.ipynb", tree)
    submitted = read_submission(path)
    nbformat.validate(submitted)
    assert read_submission(path) == submitted, "ids that are missing are not drawn at random"
    rebuilt = reanchor(submitted, released)
    names = {}
    assert run(code_cells(rebuilt, released), names, wanted=("FACTOR",)) == []
    assert names["double"](3) == 6 and names["apply_twice"](lambda x: x + 1, 0) == 2 and names["FACTOR"] == 2
    assert [cell.source for cell in rebuilt.cells if grade_id(cell) == "open-question"] == ["Because it is."]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_notebook_in_another_encoding_of_unicode_is_read(encoding, solved, tmp_path):
    path = written(tmp_path / "lab.ipynb", json.dumps(solved).encode(encoding))
    assert [cell.source for cell in read_submission(path).cells] == [cell.source for cell in solved.cells]


def test_text_that_is_no_unicode_can_be_written_again(solved, tmp_path):
    solved.cells[0].source = "a\ud800b"
    path = written(tmp_path / "lab.ipynb", json.dumps(solved).encode())
    assert read_submission(path).cells[0].source == "a?b"


def test_only_images_are_kept_of_attachments(solved, tmp_path):
    tree = json.loads(json.dumps(solved))
    tree["cells"][0]["attachments"] = {"a": {"image/png": "AAAA", "text/html": "<b>"}, "b": 5, "c": {"image/png": 5}}
    found = read_submission(written(tmp_path / "lab.ipynb", tree)).cells[0].attachments
    assert found == {"a": {"image/png": "AAAA"}, "c": {}}


def test_a_cell_longer_than_any_answer_costs_that_cell_only(solved, released, tmp_path):
    solved.cells[2].source = "x = 1\n" * submissions.MAX_CODE
    rebuilt = reanchor(read_submission(written(tmp_path / "lab.ipynb", solved)), released)
    names = {}
    run(code_cells(rebuilt, released), names, wanted=("x",))
    assert "x" not in names and names["apply_twice"](lambda x: x + 1, 0) == 2


NO_NOTEBOOKS = [
    (b"", "the file is empty."),
    (b" \n", "the file is empty."),
    (b"just text", "it is not valid JSON at line 1, column 1"),
    (b'{"cells": [\n{"cell_type": ', "it is not valid JSON at line 2, column 15"),
    (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "it is not valid JSON"),
    (b"\xff\xff", "it is not valid JSON"),
    (b"9" * 10_000, "it is not valid JSON"),
    (b"[" * 100_000 + b"]" * 100_000, "its brackets are nested too deeply"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "its brackets are nested too deeply"),
    (b"[1, 2]", "or one without cells."),
    (b"null", "or one without cells."),
    (b'{"cells": 5}', "or one without cells."),
    (b'{"cells": []}', "or one without cells."),
    (b'{"cells": [{}, 7]}', "or one without cells."),
    (b'{"worksheets": [{"cells": {}}, 3]}', "or one without cells."),
    (b"[" + b"[]," * submissions.MAX_VALUES + b"[]]", "holds more than 2,000,000 values; clear the outputs"),
    (b'{"cells": [' + b"1," * 6000 + b"1]}", "has 6,001 cells"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), NO_NOTEBOOKS, ids=[reason for _, reason in NO_NOTEBOOKS])
def test_a_file_that_is_no_notebook_is_refused_in_one_sentence(content, reason, tmp_path):
    with pytest.raises(NotebookError) as caught:
        read_submission(written(tmp_path / "lab.ipynb", content))
    message = str(caught.value)
    assert reason in message and len(message) < 120 and "\n" not in message and str(tmp_path) not in message


def test_more_code_than_can_be_parsed_in_time_is_refused(solved, tmp_path):
    cell = {"cell_type": "code", "source": "x = 1\n" * (submissions.MAX_CODE // 6)}
    with pytest.raises(NotebookError, match="code of the notebook is longer than"):
        read_submission(written(tmp_path / "lab.ipynb", {"cells": [cell] * 5}))


def test_a_huge_file_is_never_read(tmp_path):
    path = tmp_path / "lab.ipynb"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse: it takes no room, and could not be read into memory
    with pytest.raises(NotebookError, match="larger than 100 MB; clear the outputs of all cells"):
        read_submission(path)


def test_links_pipes_sockets_devices_and_folders_are_no_files(solved, tmp_path, monkeypatch):
    written(tmp_path / "peer.ipynb", solved)
    (tmp_path / "link.ipynb").symlink_to("peer.ipynb")
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    monkeypatch.chdir(tmp_path)  # the address of a socket may have no more than 100 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.ipynb")
    kinds = {"link": "a symbolic link", "pipe": "a pipe", "folder": "a folder", "socket": "a socket"}
    for name, kind in kinds.items():
        with pytest.raises(NotebookError, match=f"`{name}.ipynb` is {kind}, not a file"):
            read_submission(tmp_path / f"{name}.ipynb")
    with pytest.raises(NotebookError, match="`null` is a device, not a file"):
        read_submission(type(tmp_path)("/dev/null"))


JSON = st.recursive(
    st.none() | st.floats() | st.integers() | st.text(max_size=5) | st.sampled_from(["code", "markdown", "heading"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["cell_type", "source", "id", "metadata", "nbgrader", "grade_id", "attachments", "level"]),
        inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.fixed_dictionaries({"cells": st.lists(st.fixed_dictionaries({"cell_type": JSON}, optional={
    "source": JSON, "id": JSON, "metadata": JSON, "attachments": JSON, "level": JSON})) | JSON}))  # fmt: skip
def test_any_json_is_refused_or_takes_the_released_shape(released, tmp_path, tree):
    path = written(tmp_path / "lab.ipynb", tree)
    try:
        submitted = read_submission(path)
    except NotebookError:
        return
    nbformat.validate(submitted)
    rebuilt = reanchor(submitted, released)
    nbformat.validate(rebuilt)
    assert [grade_id(cell) for cell in rebuilt.cells if grade_id(cell)] == [
        grade_id(cell) for cell in released.cells if grade_id(cell)
    ]
    nbformat.writes(rebuilt).encode()


@pytest.fixture
def folder(tmp_path):
    """A student's folder of a lab, empty."""
    folder = tmp_path / "submitted" / "ada" / LAB
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def handed_in(folder, released):
    """``handed_in()``: the submission in the folder."""
    return lambda **options: receive(folder, LAB, released, root=folder.parents[1], **options)


def test_a_proper_submission_is_taken_as_it_is(folder, handed_in, solved):
    written(folder / f"{LAB}.ipynb", solved)
    written(folder / "pictures" / "a.png", b"picture")
    written(folder / "timestamp.txt", b"2030-01-01 10:00:00 UTC")
    submission = handed_in()
    assert submission.notice == "" and sorted(map(str, submission.files)) == ["pictures/a.png", "timestamp.txt"]
    assert [cell.source for cell in submission.notebook.cells] == [cell.source for cell in solved.cells]


def test_what_cannot_be_read_is_the_blank_release_under_a_notice(folder, handed_in, released):
    path = written(folder / f"{LAB}.ipynb", b"no JSON")
    submission = handed_in()
    assert path.read_bytes() == b"no JSON"
    notice, *cells = submission.notebook.cells
    assert cells == released.cells
    assert notice.id == NOTICE and notice.cell_type == "markdown" and notice.source == submission.notice
    assert "could not be graded:** the file is no Jupyter notebook (it is not valid JSON at line 1" in notice.source
    assert (
        "It was graded as if nothing had been written. Open it in JupyterLab, save it and hand it in" in notice.source
    )
    rebuilt = reanchor(submission.notebook, released)
    assert rebuilt.cells[0].source == notice.source and rebuilt.cells[0].metadata == {}
    assert rebuilt.cells[1:] == released.cells


def test_a_notebook_that_is_missing_is_the_blank_release(folder, handed_in, released):
    written(folder / "answers.pdf", b"%PDF")
    submission = handed_in()
    assert submission.notebook.cells[1:] == released.cells and list(map(str, submission.files)) == ["answers.pdf"]
    assert f"there is no `{LAB}.ipynb`." in submission.notice


@pytest.mark.parametrize("name", [f"{LAB} (1).ipynb", f"Kopie von {LAB}.ipynb", "a `b`<i>.ipynb"])
def test_the_only_notebook_counts_under_another_name(name, folder, handed_in, solved):
    written(folder / name, solved)
    written(folder / f"._{LAB}.ipynb", b"what macOS leaves in archives")
    (folder / "link.ipynb").symlink_to(folder / name)
    submission = handed_in()
    assert [cell.source for cell in submission.notebook.cells[1:]] == [cell.source for cell in solved.cells]
    assert f"was handed in as `{name.replace('`', '_')}` instead of `{LAB}.ipynb`; it counts." in submission.notice


def test_of_several_notebooks_under_other_names_none_is_guessed(folder, handed_in, solved, released):
    for name in ("a.ipynb", "b.ipynb"):
        written(folder / name, solved)
    submission = handed_in()
    assert submission.notebook.cells[1:] == released.cells and "but 2 other notebooks" in submission.notice


def test_the_notebook_with_the_labs_name_counts_and_others_do_not(folder, handed_in, solved):
    written(folder / f"{LAB}.ipynb", solved)
    written(folder / "old.ipynb", b"{}")
    assert handed_in().notice == "" and handed_in().files == []


@pytest.mark.parametrize("link", ["folder", "student", "notebook"])
def test_a_link_never_leads_to_a_peers_notebook(link, folder, handed_in, solved, released):
    peer = written(folder.parents[1] / "bob" / LAB / f"{LAB}.ipynb", solved)
    written(peer.with_name("note.txt"), b"mine")
    if link == "notebook":
        (folder / f"{LAB}.ipynb").symlink_to(peer)
    elif link == "folder":
        folder.rmdir()
        folder.symlink_to(peer.parent)
    else:
        folder.rmdir()
        folder.parent.rmdir()
        folder.parent.symlink_to(peer.parents[1])
    submission = handed_in()
    assert submission.notebook.cells[1:] == released.cells and submission.files == []
    assert "is a symbolic link" in submission.notice


def test_the_folder_of_all_submissions_may_be_a_link(folder, released, solved, tmp_path):
    written(folder / f"{LAB}.ipynb", solved)
    (tmp_path / "elsewhere").symlink_to(folder.parents[1])
    submission = receive(tmp_path / "elsewhere" / "ada" / LAB, LAB, released, root=tmp_path / "elsewhere")
    assert submission.notice == ""


def test_a_file_in_place_of_the_folder_is_told(folder, handed_in, released):
    folder.rmdir()
    folder.write_text("no folder")
    assert f"`{LAB}` is no folder" in handed_in().notice


def test_further_files_that_are_no_files_are_left_out_by_name(folder, handed_in, solved, tmp_path):
    written(folder / f"{LAB}.ipynb", solved)
    written(folder / "picture.png", b"picture")
    written(tmp_path / "secret", b"secret")
    (folder / "secret.txt").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    (folder / ".git").mkdir()
    written(folder / ".git" / "config", b"")
    with open(folder / "huge.bin", "wb") as file:
        file.truncate(2**40)
    deep = folder / "/".join("abcdefghijkl")
    written(deep / "deep.txt", b"deep")
    submission = handed_in()
    assert list(map(str, submission.files)) == ["picture.png"]
    for said in ("`secret.txt` (a symbolic link)", "`loop` (a symbolic link)", "`pipe` (a pipe)", "`huge.bin` (larger"):
        assert said in submission.notice
    assert "`h` (a folder)" in submission.notice, "eight folders deep"
    assert [cell.source for cell in submission.notebook.cells[1:]] == [cell.source for cell in solved.cells]


def test_no_more_files_are_kept_than_can_be_copied_in_time(folder, handed_in, solved):
    written(folder / f"{LAB}.ipynb", solved)
    for number in range(submissions.MAX_FILES + 50):
        (folder / f"{number:03}.txt").touch()
    submission = handed_in()
    assert len(submission.files) == submissions.MAX_FILES and "all but the first 200 files" in submission.notice


def test_further_files_have_a_size_in_all(folder, handed_in, solved):
    written(folder / f"{LAB}.ipynb", solved)
    for name in ("a.bin", "b.bin", "c.txt"):
        written(folder / name, bytes(600_000 if name.endswith("bin") else 10))
    submission = handed_in(max_size=1_000_000)
    assert list(map(str, submission.files)) == ["a.bin", "c.txt"]
    assert "`b.bin` (larger than the 1 MB that are kept)" in submission.notice


def test_a_notice_stays_short_and_a_flood_of_links_takes_no_time(folder, handed_in, solved):
    written(folder / f"{LAB}.ipynb", solved)
    for number in range(2000):
        (folder / f"{number:04}").symlink_to("/dev/zero")
    submission = handed_in()
    assert submission.files == [] and len(submission.notice) < 1000
    assert submission.notice.endswith("`0019` (a symbolic link); and further ones.")


def test_what_may_not_be_read_is_left_out_by_name(folder, handed_in, solved, monkeypatch):
    """The tests may run as root, who may read everything."""
    written(folder / f"{LAB}.ipynb", solved)
    written(folder / "closed.txt", b"")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    submission = handed_in()
    assert submission.files == [] and "`closed.txt` (may not be read)" in submission.notice
