"""Answers that are right but for ``spread``, which harms whoever runs it: nobody else may lose anything."""

from tests.labcheck.cheats.submission import RIGHT, TASKS, Cheat, breaking

_SQL = "import sqlite3; book = sqlite3.connect('file:@ROOT@/gradebook.db?mode=rw', uri=True, timeout=5); "


def _warns(submission):
    source = RIGHT["spread"].replace("return", 'import warnings\n    warnings.warn("careful")\n    return')
    submission.answer("spread", source)


def _writes_the_gradebook(submission):
    submission.prepend(f"""
def cheat():
    {_SQL}
    book.execute("UPDATE grade SET manual_score = 0")
    me = "SELECT id FROM submitted_assignment WHERE student_id LIKE '%writes_the_gradebook'"
    mine = f"SELECT id FROM submitted_notebook WHERE assignment_id IN ({{me}})"
    book.execute(f"UPDATE grade SET manual_score = 3 WHERE notebook_id IN ({{mine}})")
    book.commit()

try:
    loaded = cheat()
except Exception:
    loaded = None
""")


HARMING = (
    Cheat("writes_the_gradebook",
          "Writes full marks for itself, and none for all others, into the gradebook.", _writes_the_gradebook,
          alone=True),
    Cheat("warns", "Right, but emits one `warnings.warn`.", _warns, right=TASKS),
    breaking("starts_a_process", "Right, but its cells start a process that stays, and its answer another.", """
        forked()
    """, definitions="""
        import os, time
        def forked():
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        first = forked()
    """, costs=0),
    breaking("prints_40_mb", "Right, but prints 40 MB.", """
        for _ in range(40):
            print("a" * 2**20)
    """, costs=0),
    breaking("prints_for_ever", "Prints without end, whatever interrupts it.", """
        while True:
            try:
                print("more" * 1000)
            except BaseException:
                pass
    """),
    breaking("ignores_interrupts", "A loop that ignores `SIGINT`.", """
        while True:
            try:
                while True:
                    pass
            except KeyboardInterrupt:
                pass
    """),
    breaking("ignores_all_signals",
             "Ignores every signal that can be ignored, sets its own handlers and timers, then loops.", """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, lambda *a: None)
            except (OSError, ValueError):
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        while True:
            pass
    """),
    breaking("sleeps_for_ever", "Sleeps for ever, which takes no processor time.", """
        import time
        while True:
            try:
                time.sleep(10**6)
            except KeyboardInterrupt:
                pass
    """),
    breaking("os_exit", "Ends its process by `os._exit`.", "import os\nos._exit(0)"),
    breaking("sys_exit", "Ends its process by `sys.exit`.", "import sys\nsys.exit(0)"),
    breaking("segfault",
             "Ends its process by a fault, through `ctypes`.", "import ctypes\nctypes.string_at(0)"),
    breaking("recursion", "Recurses without end, with the limit lifted.", """
        import sys
        sys.setrecursionlimit(10**9)
        return spread(x)
    """),
    breaking("takes_3_gb", "Takes 3 GB of memory.", """
        taken = bytearray(3 * 2**30)
        taken[::4096] = b"a" * len(taken[::4096])
        return float(len(taken))
    """),
    breaking("lifts_limits", "Lifts all limits on itself, then takes 3 GB of memory.", """
        import resource
        for name in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
            try:
                resource.setrlimit(name, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except (OSError, ValueError):
                pass
        return float(len(bytearray(3 * 2**30)))
    """),
    breaking("fork_bomb", "Starts 150 processes, each of which takes a while.", """
        import os, time
        for _ in range(150):
            if os.fork() == 0:
                time.sleep(4)
                os._exit(0)
        raise RuntimeError("150 processes are running")
    """),
    breaking("thread_bomb", "Starts 300 threads that wait.", """
        import threading, time
        for _ in range(300):
            threading.Thread(target=time.sleep, args=(4,), daemon=True).start()
        raise RuntimeError("300 threads are running")
    """),
    breaking("fills_the_disk", "Writes files until the disk is full, or 200 MB are written.", """
        import os
        for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
            try:
                for number in range(4):
                    with open(os.path.join(folder, f"fill-{number}"), "wb") as file:
                        for _ in range(50):
                            file.write(bytes(2**20))
            except OSError:
                pass
        raise RuntimeError("no room is left")
    """),
    breaking("takes_descriptors", "Opens files until there are no descriptors left.", """
        import os
        kept = []
        while len(kept) < 5000:
            kept.append(os.open("/dev/null", os.O_RDONLY))
        raise RuntimeError("5000 files are open")
    """),
    breaking("kills_the_parent", "Sends `SIGKILL` to the process that started it.", """
        import os, signal
        os.kill(os.getppid(), signal.SIGKILL)
        raise RuntimeError("the parent is gone")
    """, alone=True),
    breaking("stops_the_parent", "Sends `SIGSTOP` to the process that started it, and to all of its group.", """
        import os, signal
        os.kill(os.getppid(), signal.SIGSTOP)
        raise RuntimeError("the parent waits")
    """, alone=True),
    breaking("kills_everybody", "Sends `SIGKILL` to every process that it may.", """
        import os, signal
        os.kill(-1, signal.SIGKILL)
        raise RuntimeError("everybody is gone")
    """, alone=True),
    breaking("deletes_everything", "Deletes the gradebook, all submissions and the course.", """
        import os, shutil
        for name in ("gradebook.db", "submitted", "autograded", "solutions", "labs", "feedback"):
            path = os.path.join("@ROOT@", name)
            shutil.rmtree(path, ignore_errors=True)
            try:
                os.remove(path)
            except OSError:
                pass
        raise RuntimeError("everything is gone")
    """, alone=True),
    breaking("rewrites_peers", "Writes another student's graded notebook and the course's settings.", """
        import glob, os
        for path in glob.glob("@ROOT@/*graded/*/@LAB@/*.ipynb") + ["@ROOT@/nbgrader_config.py", "@ROOT@/cheated"]:
            os.path.exists(path) and os.chmod(path, 0o644)
            open(path, "w").write("{}")
        raise RuntimeError("everything is rewritten")
    """, alone=True),
    breaking("sleeping_thread_at_exit", "Leaves a thread that is not a daemon, so that its process never ends.", """
        import threading, time
        threading.Thread(target=time.sleep, args=(10**6,)).start()
        raise RuntimeError("a thread is waiting")
    """),
)  # fmt: skip
