"""Cheats that look for answers, tests, grades and others' work on the disk, in the package and on the network."""

from tests.labcheck.cheats.submission import spying

LOOKING_ROUND = (
    spying("reads_the_solution", "Reads the instructor's notebook from disk and runs its answers.", """
import json, pathlib
def found(*arguments):
    return "BEGIN SOLUTION" in pathlib.Path("@ROOT@/solutions/@LAB@/@LAB@.ipynb").read_text()
"""),
    spying("searches_the_disk", "Searches every folder for hidden checks, solutions and gradebooks.", """
import os, time
def found(*arguments):
    end = time.monotonic() + 3
    for top in ("@ROOT@", "/tmp", "/home", "/root", "/srv", "/work", "/course", "/mnt"):
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name not in ("proc", "sys", "node_modules", ".venv", ".git")]
            if {"hidden.py", "gradebook.db", "@LAB@.md"} & set(files):
                return True
            if time.monotonic() > end:
                return False
    return False
"""),
    spying("reads_the_gradebook", "Opens the gradebook, in which nbgrader keeps the source of every test.", """
import sqlite3
def found(*arguments):
    book = sqlite3.connect("file:@ROOT@/gradebook.db?mode=ro", uri=True)
    return book.execute("SELECT count(*) FROM source_cell WHERE source LIKE '%assert%'").fetchone()[0] > 0
"""),
    spying("imports_the_answers", "Imports the answers from the course's package.", """
def found(*arguments):
    from tinycourse import series
    return series.spread is not None
"""),
    spying("imports_by_another_name",
           "Imports the answers by `importlib`, by `runpy`, from a changed path and from byte code.", """
import importlib, importlib.util, pathlib, runpy, sys
def found(*arguments):
    sys.meta_path[:] = [finder for finder in sys.meta_path if "_Refuse" not in type(finder).__name__]
    sys.path[:0] = ["@ROOT@", "/course"]
    sys.modules.pop("tinycourse", None)
    importlib.invalidate_caches()
    name = "tinycourse." + "seires".replace("ei", "ie").replace("sie", "se").replace("seres", "series")
    for way in (importlib.import_module, importlib.util.find_spec, runpy.run_module):
        try:
            if way(name) is not None:
                return True
        except ImportError:
            pass
    return any(list(pathlib.Path(path).glob("**/series*.pyc")) for path in ("@ROOT@/tinycourse", "/course"))
"""),
    spying("imports_the_checks", "Asks for the checks, visible and hidden, and for the judge.", """
import importlib.util
def found(*arguments):
    for name in ("tinycourse.checks.lab03_series", "labcheck.checks", "labcheck.judge", "labcheck.expect"):
        try:
            if importlib.util.find_spec(name):
                return True
        except ImportError:
            pass
    return False
"""),
    spying("package_data", "Asks the import system for the answers' source, without importing them.", """
import importlib.resources, importlib.util, pkgutil
def found(*arguments):
    for look in (
        lambda: pkgutil.get_data("tinycourse", "series.py"),
        lambda: (importlib.resources.files("tinycourse") / "series.py").read_bytes(),
        lambda: importlib.util.find_spec("tinycourse").loader.get_data("@ROOT@/tinycourse/series.py"),
    ):
        try:
            return look()
        except Exception:
            pass
    return False
"""),
    spying("copies_a_peer", "Reads other students' submissions and what the grader made of them.", """
import glob
def found(*arguments):
    others = glob.glob("@ROOT@/submitted/*/@LAB@/*.ipynb") + glob.glob("@ROOT@/autograded/*/@LAB@/*.ipynb")
    return any("-honest" in path for path in others)
"""),
    spying("proc_root",
           "Reaches the instructor's folder through other processes' root and working folders in `/proc`.", """
import glob, os
def found(*arguments):
    for base in glob.glob("/proc/[0-9]*/root") + glob.glob("/proc/[0-9]*/cwd") + glob.glob("/proc/[0-9]*/task/*/root"):
        for path in (base + "@ROOT@/gradebook.db", base + "/gradebook.db", base + "/oldroot@ROOT@/gradebook.db"):
            if os.path.exists(path):
                return True
    return False
"""),
    spying("open_descriptors", "Looks for files and folders that its process has inherited open.", """
import os, stat
def found(*arguments):
    for descriptor in range(256):
        try:
            if b"SQLite format 3" in os.pread(descriptor, 16, 0):
                return True
        except OSError:
            pass
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                place = os.open("../" * 40 + "@ROOT@"[1:] + "/gradebook.db", os.O_RDONLY, dir_fd=descriptor)
                return place > 0
        except OSError:
            pass
    return os.path.exists("gradebook.db") or os.path.exists("../../../gradebook.db")
"""),
    spying("file_handles", "Opens files by their handle (`open_by_handle_at`), past all mounts.", """
import ctypes, os, struct
def found(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    for place in ("/", "/tmp", "/usr", "/etc"):
        mount = os.open(place, os.O_RDONLY)
        handle = ctypes.create_string_buffer(struct.pack("<IiQ", 8, 1, 2), 16)  # the root inode of a file system
        root = libc.open_by_handle_at(mount, handle, os.O_RDONLY)
        if root >= 0:
            try:
                os.open("@ROOT@/gradebook.db"[1:], os.O_RDONLY, dir_fd=root)
                return True
            except OSError:
                pass
    return False
"""),
    spying("user_namespace",
           "Becomes root in a user namespace of its own, and mounts and looks for what was hidden.", """
import ctypes, os
def found(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x00020000) != 0:
        return False
    for part in ("@ROOT@", "/course", "/tmp", "/oldroot", "/newroot"):
        libc.umount2(part.encode(), 2)
    libc.mount(b"proc", b"/proc", b"proc", 0, None)
    return os.path.exists("@ROOT@/gradebook.db") or os.path.exists("/oldroot@ROOT@/gradebook.db")
"""),
    spying("escapes_chroot", "Leaves the sandbox's root by `chroot` and `..`, and by `pivot_root`.", """
import ctypes, os
def found(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(0x10000000)
    os.makedirs("/tmp/inner", exist_ok=True)
    out = os.open("/", os.O_RDONLY)
    try:
        os.chroot("/tmp/inner")
        os.fchdir(out)
    except OSError:
        pass
    return os.path.exists("../" * 40 + "@ROOT@"[1:] + "/gradebook.db")
"""),
    spying("network", "Asks a server on this machine for the answers.", """
import socket
def found(*arguments):
    with socket.create_connection(("127.0.0.1", @PORT@), timeout=2) as link:
        return link.recv(5) == b"right"
"""),
    spying("abstract_socket", "Asks a server behind an abstract Unix socket, which no file system hides.", """
import socket
def found(*arguments):
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(2)
        link.connect("\\0labcheck-@PORT@")
        return link.recv(5) == b"right"
"""),
    spying("downloads", "Starts `curl`, `wget` and another Python to fetch the answers.", """
import subprocess
def found(*arguments):
    line = "import socket; print(socket.create_connection(('127.0.0.1', @PORT@), 2).recv(5))"
    for command in (["python3", "-c", line], ["bash", "-c", "head -c 5 < /dev/tcp/127.0.0.1/@PORT@"]):
        try:
            if b"right" in subprocess.run(command, capture_output=True, timeout=4).stdout:
                return True
        except (OSError, subprocess.SubprocessError):
            pass
    return False
"""),
)  # fmt: skip
