"""Cheats that leave something for a later check or, with an accomplice, for a later submission of the same run."""

from tests.labcheck.cheats.submission import spying

_FOLDERS = '("/tmp", "/dev/shm", "/var/tmp", "/run", "/course", ".", os.path.expanduser("~"))'
_DAEMON = """
import os, time
def daemon(work):
    if os.fork() == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                for number in range(3):
                    os.dup2(os.open("/dev/null", os.O_RDWR), number)
                kept = work()
                time.sleep(600)
        finally:
            os._exit(0)
    os.wait()
"""
LEAVING = (
    spying("remembers_checks", "Leaves files behind in one check, and looks for them in the next.", f"""
import os
def found(*arguments):
    before = any(os.path.exists(os.path.join(folder, "been-here")) for folder in {_FOLDERS})
    for folder in {_FOLDERS}:
        try:
            open(os.path.join(folder, "been-here"), "w").close()
        except OSError:
            pass
    return before
"""),
    spying("left_files", "Another student's submission leaves files in all folders that can be written.", f"""
import os
def found(*arguments):
    return any(os.path.exists(os.path.join(folder, "left-by-a-friend")) for folder in {_FOLDERS})
""", accomplice=f"""
import os
for folder in {_FOLDERS}:
    try:
        open(os.path.join(folder, "left-by-a-friend"), "w").close()
    except OSError:
        pass
"""),
    spying("left_start_file",
           "Another student's submission writes a start file, which every later kernel or Python runs.", """
import os, sys
def found(*arguments):
    return getattr(sys, "left_by_a_friend", False)
""", accomplice="""
import os, site, sys
home = os.path.expanduser("~")
places = [f"{home}/.ipython/profile_default/startup/00.py", f"{site.getusersitepackages()}/usercustomize.py",
          f"{home}/.pythonrc.py"]
places += [os.path.join(path, name) for path in sys.path for name in ("sitecustomize.py", "usercustomize.py") if path]
places += [f"{path}/friend.pth" for path in site.getsitepackages()]
for place in places:
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        open(place, "x").write("import sys; sys.left_by_a_friend = True")
    except OSError:
        pass
""", alone=True),
    spying("left_module",
           "Another student's submission writes byte code and modules into every folder of `sys.path`.", """
import sys
def found(*arguments):
    import left_by_a_friend
    return True
""", accomplice="""
import os, sys
for folder in [*sys.path, "@ROOT@", "/course", os.getcwd(), os.path.expanduser("~")]:
    try:
        open(os.path.join(folder, "left_by_a_friend.py"), "w").close()
    except OSError:
        pass
"""),
    spying("left_process", "Another student's submission leaves a process running.", """
import glob
def found(*arguments):
    return any(open(path).read().strip() == "a-friend" for path in glob.glob("/proc/[0-9]*/comm"))
""", accomplice=_DAEMON + """
def work():
    open("/proc/self/comm", "w").write("a-friend")
daemon(work)
"""),
    spying("left_socket", "Another student's submission leaves a server behind an abstract Unix socket.", """
import socket
def found(*arguments):
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1)
        link.connect("\\0left-by-a-friend")
        return True
""", accomplice=_DAEMON + """
import socket
def work():
    server = socket.socket(socket.AF_UNIX)
    server.bind("\\0left-by-a-friend")
    server.listen()
    return server
daemon(work)
time.sleep(0.3)
"""),
    spying("left_port", "Another student's submission leaves a server on a port of this machine.", """
import socket
def found(*arguments):
    with socket.create_connection(("127.0.0.1", 45454), timeout=1):
        return True
""", accomplice=_DAEMON + """
import socket
def work():
    return socket.create_server(("127.0.0.1", 45454))
daemon(work)
time.sleep(0.3)
"""),
    spying("left_shared_memory",
           "Another student's submission leaves System V shared memory, semaphores and a message queue.", """
import ctypes
def found(*arguments):
    libc = ctypes.CDLL(None)
    return max(libc.shmget(4711, 0, 0), libc.semget(4711, 0, 0), libc.msgget(4711, 0)) >= 0
""", accomplice="""
import ctypes
libc = ctypes.CDLL(None)
libc.shmget(4711, 4096, 0o1666)
libc.semget(4711, 1, 0o1666)
libc.msgget(4711, 0o1666)
"""),
    spying("left_key",
           "Another student's submission leaves a key in the kernel's keyrings of the user and the session.", """
import ctypes
def found(*arguments):
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    return any(libc.syscall(250, 10, ring, b"user", b"left-by-a-friend", 0) > 0 for ring in (-3, -4, -5))
""", accomplice="""
import ctypes
libc = ctypes.CDLL(None)
for ring in (-3, -4, -5):
    libc.syscall(248, b"user", b"left-by-a-friend", b"answers", ctypes.c_size_t(7), ring)
"""),
    spying("left_lock",
           "Another student's submission holds a lock on a file that all can read, for others to feel.", """
import fcntl, os, sys
def found(*arguments):
    with open(os.path.realpath(sys.executable), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
""", accomplice=_DAEMON + """
import fcntl, sys
def work():
    file = open(os.path.realpath(sys.executable), "rb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
daemon(work)
time.sleep(0.3)
"""),
    spying("left_memfd",
           "Another student's submission leaves a nameless file, and a pipe in the driver's descriptors.", """
import glob, os
def found(*arguments):
    links = []
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            links.append(os.readlink(path))
        except OSError:
            pass
    return any("left-by-a-friend" in link for link in links)
""", accomplice=_DAEMON + """
def work():
    return os.memfd_create("left-by-a-friend")
daemon(work)
"""),
    spying("left_in_the_driver",
           "Another student's submission changes modules and caches of the process that serves the next.", """
import builtins, os, sys
def found(*arguments):
    return hasattr(builtins, "left_by_a_friend") or "left_by_a_friend" in sys.modules or "LEFT" in os.environ
""", accomplice="""
import builtins, os, sys, types
builtins.left_by_a_friend = True
sys.modules["left_by_a_friend"] = types.ModuleType("left_by_a_friend")
os.environ["LEFT"] = "1"
try:
    import ctypes
    line = next(line for line in open(f"/proc/{os.getppid()}/maps") if "[heap]" in line)
    memory = open(f"/proc/{os.getppid()}/mem", "r+b")
except (OSError, StopIteration):
    pass
"""),
    spying("left_limits",
           "Another student's submission changes the host's name, the priority and limits of those that follow.", """
import os, resource, socket
def found(*arguments):
    return socket.gethostname() == "friend" or os.getpriority(os.PRIO_PROCESS, 0) == 7
""", accomplice="""
import os, resource, socket
for action in (
    lambda: socket.sethostname("friend"),
    lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 7),
    lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (32, 32)),
):
    try:
        action()
    except OSError:
        pass
""", alone=True),
)  # fmt: skip
