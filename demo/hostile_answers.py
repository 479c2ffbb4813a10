"""Answers that try to gain from the process that runs them, or to end it; ``@TASK@`` stands for the task's name."""

_HEAD = "import os, signal, struct, time\n\nimport torch\n\n\n"


def _function(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{_HEAD}def @TASK@(*arguments, **options):\n{lines}"


HOSTILE = {
    "exits": _function("os._exit(0)"),
    "exits_when_loaded": f"{_HEAD}os._exit(0)\n",
    "forks": _function("""
for _ in range(100):
    if os.fork() == 0:
        time.sleep(60)
raise RuntimeError("100 processes are running")
"""),
    "takes_memory": _function("""
taken = bytearray(4 * 2**30)
taken[::4096] = b"a" * len(taken[::4096])
return torch.ones(len(taken))
"""),
    # A message that says that all is well, to whoever reads.
    "forges": _function("""
reply = b"\\x82\\xa5value\\xc3\\xadrequires_grad\\xc2"
for descriptor in range(64):
    try:
        os.write(descriptor, struct.pack("!Q", len(reply)) + reply)
    except OSError:
        pass
return True
"""),
    "kills_its_parent": _function("""
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(1)
"""),
    "equal_to_all": f"""{_HEAD}class Equal(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True

    def __eq__(self, other):
        return True


def @TASK@(*arguments, **options):
    return torch.zeros(3).as_subclass(Equal)
""",
    "raises_in_comparisons": f"""{_HEAD}class Fragile(float):
    def __eq__(self, other):
        raise SystemExit("compared")

    __lt__ = __gt__ = __sub__ = __hash__ = __eq__


def @TASK@(*arguments, **options):
    return Fragile(1.0)
""",
    # The wrapper of every later answer: it says that the test has passed, and leaves.
    "leaves_when_traced": f"""{_HEAD}import sys

sys.settrace(lambda *arguments: os._exit(0) if "@TASK@" in str(arguments[0].f_code.co_name) else None)


def @TASK@(*arguments, **options):
    return None
""",
}
