"""Grading cells: a grade can only be had by computing the right arrays."""

import contextlib
import json
from dataclasses import asdict

import pytest
import torch

from labcheck import Battery, expect_close
from labcheck import judge as judge_module
from labcheck.checks import CheckResult, run_check
from labcheck.inside.loading import Cell
from labcheck.judge import Limits, Verdict, judge, new_seed, sandbox_for

LAB = "lab01_numbers"
SETUP = Cell("top-2", "import torch\nfrom tinycourse.checks import lab01_numbers\nFACTOR = 2\ncheck = print(5)")
RIGHT = [
    SETUP,
    Cell("double", "def double(x):\n    return FACTOR * x", answer=True),
    Cell("apply_twice", "def apply_twice(f, x):\n    return f(f(x))", answer=True),
]


@pytest.fixture(scope="module")
def grade(unbuilt):
    """``grade(cells, battery=..., **options)``: a verdict on cells of the example course; all share a sandbox."""
    with contextlib.ExitStack() as stack:
        sandboxes = {}

        def run(cells, battery=None, lab=LAB, walls=True, **options):
            battery = battery or unbuilt.battery(lab)
            if (lab, walls, battery.fixtures) not in sandboxes:
                places = {"packages": ["tinycourse"], "unavailable": unbuilt.unavailable(lab)}
                sandboxes[lab, walls, battery.fixtures] = stack.enter_context(
                    sandbox_for(battery, walls=walls, **places)
                )
            options = {"seed": 5, "released": frozenset({SETUP.source})} | options
            return judge(battery, cells, sandboxes[lab, walls, battery.fixtures], **options)

        yield run


@pytest.fixture(scope="module")
def right(grade):
    return grade(RIGHT)


def statuses(verdict) -> dict:
    return {f"{check.task}.{check.check}": check.status for check in verdict.checks}


@pytest.mark.grading
def test_right_answers_get_all_points(right):
    assert set(statuses(right).values()) == {"passed"}
    assert (right.score, right.max, right.seed, right.sandboxed) == (4, 4, 5, True)
    assert set(right.versions) == {"checks", "tinycourse", "torch", "numpy"}
    assert right.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


@pytest.mark.grading
def test_the_same_seed_gives_the_same_bytes(grade):
    cells = [SETUP, Cell("double", "def double(x):\n    return x + x.mean()", answer=True), RIGHT[2]]
    first, again, other = (json.dumps(grade(cells, seed=seed).as_dict()) for seed in (7, 7, 8))
    assert first == again
    assert first.replace('"seed": 7', '"seed": 8') != other, "messages tell of other arguments"


def test_an_unknown_task_is_refused_before_anything_starts(grade):
    with pytest.raises(KeyError, match="its tasks are: double, apply_twice"):
        grade(RIGHT, only="treble")


def test_new_seeds_are_large_and_differ():
    seeds = {new_seed() for _ in range(20)}
    assert len(seeds) == 20 and max(seeds) > 2**50 and all(0 <= seed < 2**63 for seed in seeds)


# One task for each entry: (source of the answer, the status it deserves, a word of the message).
X = "torch.tensor([1.0, 2.0])"
ZOO = {
    "right": ("return x + x", "passed", ""),
    "right_but_loud": ("import warnings; warnings.warn('w'); print('p' * 10**6); return x + x", "passed", ""),
    "right_but_on_stderr": ("import sys; sys.stderr.write('e' * 10**6); return x + x", "passed", ""),
    "right_through_numpy": ("return torch.from_numpy(x.numpy() * 2)", "passed", ""),
    "right_with_a_fork": ("import os\n    if os.fork() == 0: os._exit(0)\n    return x + x", "passed", ""),
    "not_written": ("raise NotImplementedError", "missing", "not implemented yet"),
    "hard_coded": (f"return 2 * {X}", "failed", "off by up to"),
    "hard_coded_from_a_run": ("return torch.tensor([-0.5, 1.25])", "failed", "off by up to"),
    "wrong": ("return x", "failed", "off by up to"),
    "wrong_shape": ("return torch.cat([x, x])", "failed", "has shape (4,); expected (2,)"),
    "wrong_dtype": ("return 2 * x.double()", "failed", "has dtype float64; expected float32"),
    "of_type_none": ("pass", "failed", "None (is a return missing?)"),
    "of_type_list": ("return (2 * x).tolist()", "failed", "a list of length 2"),
    "of_type_array": ("return (2 * x).numpy()", "failed", "a numpy array of shape (2,)"),
    "of_type_set": ("return {1}", "failed", "an object of type set"),
    "of_type_function": ("return lambda: x", "failed", "an object of type function"),
    "of_type_pickle": (
        "class P:\n        def __reduce__(self):\n            return print, ('harm',)\n    return P()",
        "failed",
        "an object of type P",
    ),
    "equal_to_everything": (
        "class E(torch.Tensor):\n        def __eq__(self, o):\n            return torch.ones(2, dtype=torch.bool)\n"
        "    return torch.zeros(2).as_subclass(E)",
        "failed",
        "off by up to 3",
    ),
    "nothing_but_nan": ("return x * float('nan')", "failed", "nan at index [0]"),
    "too_large": ("return torch.zeros(2**25)", "error", "returned a tensor of 33,554,432 elements"),
    "raises": ("raise ValueError('<b>')", "error", "raised ValueError: <b>"),
    "exits": ("import sys; sys.exit(0)", "error", "raised SystemExit"),
    "exits_at_once": ("import os; os._exit(0)", "error", "ended the process"),
    "takes_memory": ("return bytearray(3 * 2**30)", "memory", "more memory"),
    "loops": ("\n    while True:\n        pass", "timeout", ""),
    "imports_the_answers": ("import tinycourse.answers as a; return a.double(x)", "forbidden", "tinycourse.answers"),
    "imports_the_checks": ("import tinycourse.checks.lab01_numbers", "forbidden", "lab01_numbers"),
    "imports_the_judge": ("import labcheck.judge", "error", "ModuleNotFoundError"),
    "reads_the_solutions": ("return open('SOLUTIONS').read()", "error", "FileNotFoundError"),
    "patches_the_comparisons": (
        "import labcheck, torch\n    torch.equal = torch.allclose = lambda *a, **k: True\n"
        "    labcheck.expect_close = lambda *a, **k: None\n    return x",
        "failed",
        "off by up to",
    ),
    "forges_a_reply": (
        "import os, struct\n    from labcheck.inside.wire import pack\n    reply = pack({'passed': True})\n"
        "    for n in range(3, 20):\n        try:\n            os.write(n, struct.pack('!Q', len(reply)) + reply)\n"
        "        except OSError:\n            pass\n    return x",
        "error",
        "malformed",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo(grade, unbuilt):
    """One verdict on all of them."""
    battery = Battery(LAB, forbidden=("tinycourse.answers",))

    def doubles(task):
        def check(answer, rng):
            """Twice x."""
            x = torch.tensor([1.0, 1.5]) + torch.rand(2, generator=rng)
            expect_close(getattr(answer, task)(x), x + x, atol=1e-6, rtol=0)

        return check

    cells = [SETUP]
    for task, (body, _, _) in ZOO.items():
        battery.check(task)(doubles(task))
        body = body.replace("SOLUTIONS", str(unbuilt.solutions / LAB / f"{LAB}.md"))
        cells.append(Cell(task, f"def {task}(x):\n    {body}", answer=True))
    return grade(cells, battery, limits=Limits(seconds=1.0, memory=2**29))


@pytest.mark.grading
@pytest.mark.parametrize("task", ZOO)
def test_each_answer_gets_what_it_deserves_beside_all_the_others(zoo, task):
    (result,) = zoo.of(task)
    _, status, words = ZOO[task]
    assert result.status == status, result.message
    assert result.score == (1 if status == "passed" else 0)
    assert words in result.message
    assert result.message.startswith(f"`{task}`") or status == "passed"


@pytest.mark.grading
def test_a_verdict_is_plain_json_with_one_result_a_check(zoo):
    data = json.loads(json.dumps(zoo.as_dict()))
    assert [check["task"] for check in data["checks"]] == list(ZOO)
    assert data["score"] == sum(status == "passed" for _, status, _ in ZOO.values())
    assert data["problems"] == []


SCALER = "import torch\ndef make_scaler(k):\n    return {}"


@pytest.mark.grading
def test_callables_are_judged_through_handles(grade):
    verdict = grade(
        [Cell("make_scaler", SCALER.format("lambda x: k * x"), True)], lab="lab02_makers", only="make_scaler"
    )
    assert set(statuses(verdict).values()) == {"passed"}


@pytest.mark.parametrize(
    ("made", "failed"),
    [
        ("lambda x: k * x.detach()", ["lets_gradients_through"]),
        ("torch.nn.Linear(4, 4, bias=False)", ["scales", "lets_gradients_through"]),
        ("k", ["scales", "lets_gradients_through"]),
    ],
)
def test_wrong_callables_fail(unbuilt, answer_of, made, failed):
    answer = answer_of(SCALER.format(made))
    checks = unbuilt.battery("lab02_makers").of("make_scaler")
    results = [run_check(check, answer, torch.Generator()) for check in checks]
    assert [result.check for result in results if result.status != "passed"] == failed


# Nets for make_net: (statements of __init__, expressions of forward, the checks that they fail, words of the message).
NET = """import torch

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        {layers}

    def forward(self, x):
        return {value}

def make_net(width):
    return Net(width)
"""
FIRST, LAST = "self.first = torch.nn.Linear(2, width)", "self.last = torch.nn.Linear(width, 1)"
VALUE = "self.last(torch.tanh(self.first(x)))"
RIGHT_NETS = {
    "in order": (f"{FIRST}; {LAST}", VALUE),
    "in the other order": (f"{LAST}; {FIRST}", VALUE),
    "with its own initial values": (f"{LAST}; {FIRST}; torch.nn.init.zeros_(self.last.weight)", VALUE),
    "by hand": (
        f"{LAST}; {FIRST}",
        "torch.tanh(x @ self.first.weight.T + self.first.bias) @ self.last.weight.T + self.last.bias",
    ),
}
WRONG_NETS = {
    "another function": (f"{FIRST}; {LAST}", "self.last(torch.relu(self.first(x)))", 1, "apply first, then tanh"),
    "no graph": (f"{FIRST}; {LAST}", VALUE.replace("(x)", "(x.detach())"), 1, "should keep the graph"),
    "frozen": (f"{FIRST}; {LAST}; self.first.requires_grad_(False)", VALUE, 2, "has 6 trained parameters"),
    "wider": (f"{FIRST}; {LAST}; self.more = torch.nn.Linear(1, 1)", VALUE, 2, "`more.weight` is not expected"),
    "misnamed": (
        f"{FIRST}; self.lst = torch.nn.Linear(width, 1)",
        VALUE.replace("last", "lst"),
        1,
        "`last.weight` is missing",
    ),
    "of a constant": (f"{FIRST}; {LAST}", "torch.ones(len(x), 1)", 1, "is off by up to"),
}


def net_cell(layers, value):
    return Cell("make_net", NET.format(layers=layers, value=value), answer=True)


@pytest.mark.parametrize("name", [*RIGHT_NETS, *WRONG_NETS])
def test_a_module_is_judged_by_its_function_and_not_by_how_it_was_made(unbuilt, answer_of, name):
    layers, value, failures, words = (*RIGHT_NETS[name], 0, "") if name in RIGHT_NETS else WRONG_NETS[name]
    answer = answer_of(NET.format(layers=layers, value=value))
    for seed in range(5):
        results = [
            run_check(check, answer, torch.Generator().manual_seed(seed))
            for check in unbuilt.battery("lab02_makers").of("make_net")
        ]
        failed = [result.message for result in results if result.status != "passed"]
        assert len(failed) == failures
        assert words in " ".join(failed)


@pytest.mark.grading
@pytest.mark.parametrize(
    ("name", "score"), [("in order", 2), ("in the other order", 2), ("another function", 1), ("frozen", 0)]
)
def test_modules_are_judged_in_the_sandbox(grade, name, score):
    layers, value, *_ = (RIGHT_NETS | WRONG_NETS)[name]
    assert grade([net_cell(layers, value)], lab="lab02_makers", only="make_net").score == score


@pytest.mark.grading
def test_what_is_no_module_is_named_in_the_sandbox(grade):
    cell = Cell("make_net", "def make_net(width):\n    return lambda x: x", answer=True)
    verdict = grade([cell], lab="lab02_makers", only="make_net")
    message = "`make_net` returned an object of type function; a torch.nn.Module was expected"
    assert [(check.status, check.message) for check in verdict.checks] == [("error", message)] * 2


PREDICT = """import torch

def predict(net, x):
    assert isinstance(net, torch.nn.Module)
    mode = net.training
    {body}
    return y
"""
RIGHT_BODY = "net.eval()\n    with torch.no_grad():\n        y = net(x)\n    net.train(mode)"


@pytest.mark.grading
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (RIGHT_BODY, ""),
        (RIGHT_BODY.replace("net(x)", "net.forward(x)"), ""),
        (RIGHT_BODY.replace("y = net(x)", "net(x); y = net(x)"), "`predict`: should call the net exactly once"),
        (RIGHT_BODY.replace("net.train(mode)", ""), "`predict`: should leave the net in the mode that it had"),
        (RIGHT_BODY.replace("torch.no_grad()", "torch.enable_grad()"), "`predict`: should not keep a graph"),
    ],
)
def test_a_module_that_a_check_passes_in_is_one_and_counts_its_calls(grade, body, message):
    cell = Cell("predict", PREDICT.format(body=body), answer=True)
    (result,) = grade([cell], lab="lab02_makers", only="predict").checks
    assert (result.status, result.message) == ("failed" if message else "passed", message)


@pytest.fixture(scope="module")
def troubled(grade):
    """Cells that cannot be loaded, around right answers."""
    cells = [
        Cell("top", "import torch, nowhere\nFACTOR = 2"),
        *RIGHT[1:],
        Cell("hangs", "def forever():\n    while True:\n        pass\nx = forever()", answer=True),
        Cell("sleeps", "import time\nx = time.sleep(1000)", answer=True),
        Cell("ends", "import os\nx = os._exit(0)", answer=True),
        Cell("fills", "x = bytearray(3 * 2**30)", answer=True),
        Cell("broken", "def f(:\n    pass", answer=True),
        Cell("given", "import nowhere_either"),
        Cell("last", "FACTOR = 2", answer=True),
    ]
    released = frozenset({"import nowhere_either"})
    return grade(cells, released=released, limits=Limits(seconds=1.0, memory=2**29))


@pytest.mark.grading
def test_a_cell_that_hangs_or_ends_the_process_costs_only_itself(troubled):
    assert set(statuses(troubled).values()) == {"passed"}


@pytest.mark.grading
def test_what_could_not_be_run_is_told(troubled):
    problems = {problem.cell: problem.message for problem in troubled.problems}
    assert problems["hangs"].startswith("left out: ")
    assert problems["sleeps"] == "left out: did not finish in time"
    assert problems["ends"] == "left out: ended the process"
    assert problems["fills"].startswith("MemoryError")
    assert "SyntaxError" in problems["broken"]
    assert "nowhere" in problems["top"], "the rest of that line's cell is run"
    assert set(problems) == {"hangs", "sleeps", "ends", "fills", "broken", "top"}, "not what students did not write"


@pytest.mark.grading
def test_cells_that_all_end_the_process_give_nothing_and_end(grade):
    verdict = grade([Cell(name, "import os\nos.x = os._exit(0)", True) for name in "abc"])
    assert verdict.score == 0
    assert set(statuses(verdict).values()) == {"missing"}
    assert [problem.cell for problem in verdict.problems] == ["a", "b", "c"]


@pytest.mark.grading
def test_a_forbidden_import_is_named_for_the_tasks_that_it_serves(grade):
    cells = [SETUP, Cell("double", "from tinycourse.answers import double", answer=True), RIGHT[2]]
    verdict = grade(cells)
    assert statuses(verdict) == {
        "double.doubles_a_vector": "forbidden",
        "double.keeps_the_dtype": "forbidden",
        "apply_twice.applies_in_order": "passed",
    }
    assert verdict.of("double")[0].message == (
        "`double`: imports tinycourse.answers, which is not available while it is graded"
    )


KILLER = """
import os
PARENT = os.getppid()
def double(x):
    os.kill(PARENT, 9)
    os.kill(os.getppid(), 9)
    return x
"""


@pytest.mark.grading
def test_code_cannot_end_what_watches_it(grade):
    verdict = grade([SETUP, Cell("double", KILLER, answer=True), RIGHT[2]])
    assert statuses(verdict) == {
        "double.doubles_a_vector": "failed",
        "apply_twice.applies_in_order": "passed",
        "double.keeps_the_dtype": "failed",
    }


@pytest.mark.grading
def test_without_walls_code_that_ends_the_driver_costs_its_own_checks(grade):
    verdict = grade([SETUP, Cell("double", KILLER, answer=True), RIGHT[2]], walls=False)
    assert statuses(verdict) == {
        "double.doubles_a_vector": "error",
        "apply_twice.applies_in_order": "passed",
        "double.keeps_the_dtype": "error",
    }
    assert verdict.score == 1


@pytest.mark.grading
def test_code_that_ends_the_driver_too_often_gets_no_further_one(grade, monkeypatch):
    monkeypatch.setattr(judge_module, "_RESTARTS", 0)
    verdict = grade([SETUP, Cell("double", KILLER, answer=True), RIGHT[2]], walls=False)
    assert verdict.score == 0 and len(verdict.checks) == 3
    assert [check.message for check in verdict.checks[1:]] == [
        "`apply_twice`: the code ended its sandbox too often",
        "`double`: the code ended its sandbox too often",
    ]


@pytest.mark.grading
def test_without_walls_the_verdict_says_so_and_one_task_can_be_judged_alone(grade):
    verdict = grade(RIGHT, walls=False, only="apply_twice")
    assert statuses(verdict) == {"apply_twice.applies_in_order": "passed"}
    assert (verdict.score, verdict.max) == (1, 1)
    assert verdict.sandboxed is False and verdict.as_dict()["sandboxed"] is False


def test_a_verdict_sums_its_checks(results):
    verdict = Verdict(LAB, 3, True, results)
    assert (verdict.score, verdict.max) == (2.0, 3.5)
    assert [check.check for check in verdict.of("f")] == ["a", "b"]
    assert verdict.of("nothing") == []
    assert list(verdict.as_dict()) == ["lab", "seed", "score", "max", "sandboxed", "versions", "problems", "checks"]
    assert [*verdict.as_dict()["checks"][0]] == [
        "task", "check", "hidden", "points", "score", "status", "message",
    ]  # fmt: skip
    assert "purpose" in asdict(verdict.checks[0])


@pytest.fixture
def results():
    return [
        CheckResult("f", "a", False, 2.0, 2.0, "passed", ""),
        CheckResult("f", "b", True, 1.0, 0.0, "failed", "wrong"),
        CheckResult("g", "a", False, 0.5, 0.0, "missing", "no"),
    ]
