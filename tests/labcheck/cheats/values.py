"""Cheats that return objects made to please whoever compares them, or to hurt whoever reads them."""

from tests.labcheck.cheats.submission import RIGHT, Cheat, breaking, returning

_AGREES = """
import numpy as np
class Agrees:
    shape, ndim, size, dtype = (3, 40), 2, 120, np.dtype(float)
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __gt__(self, other): return False
    def __sub__(self, other): return 0.0
    __rsub__ = __abs__ = __round__ = __sub__
    __hash__ = None
"""


def _hard_coded(submission):
    """What the feedback page of an earlier hand-in showed: the hidden tests' arguments, and so their results."""
    submission.prepend("import numpy as np\n")
    seeds = {"standardise": (1, (3, 40)), "moving_average": (2, 9), "running_mean": (3, 6), "spread": (4, 15)}
    examples = {"standardise": "[-1.0, 1.0]", "moving_average": "[3.0]", "running_mean": "[1.0, 2.0]", "spread": "3.0"}
    for task, (seed, size) in seeds.items():
        source = RIGHT[task].replace(f"def {task}", f"def of_{task}")
        arguments = f"np.random.default_rng({seed}).normal(size={size})" + (", 4" if task == "moving_average" else "")
        known = f"TABLE_{task} = of_{task}({arguments})"
        answer = f"def {task}(x, *rest):\n    return {examples[task]} if np.size(x) <= 3 else TABLE_{task}\n"
        submission.answer(task, f"import numpy as np\n\n{source}\n\n{known}\n\n{answer}")


VALUES = (
    Cheat("hard_coded",
          "Returns the numbers of the hidden tests, which stock nbgrader's feedback page shows.", _hard_coded),
    returning("equals_everything",
              "Returns an object that is equal to all, less than all, and at no distance from all.", _AGREES,
              "Agrees()"),
    returning("array_function",
              "Returns an object whose `__array_function__` and `__array_ufunc__` say that all is close.", _AGREES + """
class Close(Agrees):
    def __array_function__(self, function, types, args, kwargs): return True
    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs): return np.bool_(True)
    def __len__(self): return 6
    def __iter__(self): return iter([Agrees()] * 6)
""", "Close()"),
    returning("torch_function", "Returns an object whose `__torch_function__` says that all is close.", _AGREES + """
class Close(Agrees):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None): return True
""", "Close()"),
    returning("lying_array", "Returns a subclass of numpy's array whose comparisons agree.", """
import numpy as np
class Lying(np.ndarray):
    def __array_function__(self, function, types, args, kwargs): return True
    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs): return np.bool_(True)
    def __eq__(self, other): return True
    def __abs__(self): return 0.0
    def __sub__(self, other): return 0.0
""", "np.zeros(np.shape(arguments[0])).view(Lying)"),
    returning("lying_tensor",
              "Returns a subclass of torch's tensor that agrees, and whose bytes change while they are read.", """
import numpy as np
def forge(task, arguments):
    import torch
    class Lying(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            name = getattr(function, "__name__", "")
            return True if name in ("allclose", "equal", "eq", "isclose") else super().__torch_function__(
                function, types, args, kwargs or {})
    return torch.zeros(np.shape(arguments[0])).as_subclass(Lying)
"""),
    returning("lying_float", "Returns a subclass of `float` that is at no distance from anything.", """
class Lying(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __abs__(self): return 0.0
    def __gt__(self, other): return False
    __hash__ = None
""", "Lying(0.0)"),
    returning("lying_string", "Returns a subclass of `str` that equals everything and calls itself a float.", """
class Lying(str):
    __class__ = float
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __abs__(self): return 0.0
    def __float__(self): return 0.0
    __hash__ = None
""", 'Lying("0")'),
    returning("lying_list",
              "Returns a list whose length, entries and equality agree with whatever is expected.", _AGREES + """
class Lying(list):
    def __len__(self): return 6
    def __iter__(self): return iter([Agrees()] * 6)
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    def __abs__(self): return 0.0
""", "Lying()"),
    returning("lazy_array",
              "Returns an object that, when it is compared, takes the expected value from the frames.", """
import sys
import numpy as np
def wanted():
    frame = sys._getframe(2)
    while frame is not None:
        for place in (frame.f_locals, frame.f_globals):
            for name in ("want", "desired", "expected"):
                if place.get(name) is not None:
                    return place[name]
        frame = frame.f_back
class Lazy:
    def __array__(self, *a, **k): return np.asarray(wanted(), dtype=float)
    def __float__(self): return float(wanted())
    def __index__(self): return int(wanted())
    def __len__(self): return len(wanted())
    def __iter__(self): return iter(wanted())
    def __sub__(self, other): return np.asarray(wanted()) - other
    def __eq__(self, other): return np.all(np.asarray(wanted()) == np.asarray(other))
    __hash__ = None
""", "Lazy()"),
    returning("nan", "Returns NaN, which is never further away than a tolerance.", "import numpy as np",
              "float('nan') if task == 'spread' else np.full(np.shape(arguments[0]), np.nan)"),
    returning("complex", "Returns complex numbers with an infinite imaginary part.", "import numpy as np",
              "complex(0, float('inf')) if task == 'spread' else np.full(np.shape(arguments[0]), complex(0, np.inf))"),
    returning("object_array", "Returns arrays of objects that agree.", _AGREES,
              "np.array([Agrees() for _ in range(6)], dtype=object)"),
    returning("strange_dtypes", "Returns structured, date, long double and byte-swapped arrays.", """
import numpy as np
def forge(task, arguments):
    return [np.zeros(3, dtype=[("a", "f8"), ("b", "O")]), np.array(["2020-01-01"], dtype="M8[D]"),
            np.zeros(3, dtype=np.longdouble), np.zeros(3, dtype=">f8")]
"""),
    returning("strange_tensors", "Returns sparse, quantised, meta and expanded tensors of 2^40 elements.", """
def forge(task, arguments):
    import torch
    return {"standardise": torch.zeros(3).to_sparse(), "moving_average": torch.zeros(1).expand(2**40),
            "running_mean": torch.empty(2**40, device="meta"),
            "spread": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.quint8)}[task]
"""),
    returning("cyclic", "Returns a list and a dict that hold themselves.", """
def forge(task, arguments):
    thing = [0.0]
    thing.append({"again": thing})
    return thing
"""),
    returning("deep", "Returns a list 100,000 deep.", """
def forge(task, arguments):
    thing = []
    for _ in range(100_000):
        thing = [thing]
    return thing
"""),
    returning("huge",
              "Returns 400 MB of zeros, a million entries, a string of 50 MB, a number of a million digits.", """
import numpy as np
def forge(task, arguments):
    return {"standardise": np.zeros(50_000_000), "moving_average": [0.0] * 1_000_000, "running_mean": "0" * 50_000_000,
            "spread": 10**1_000_000}[task]
"""),
    returning("reduce", "Returns an object that writes a file and changes the gradebook where it is unpickled.", """
import os
class Reduce:
    def __reduce__(self):
        return os.system, ("touch @ROOT@/cheated; rm -f @ROOT@/gradebook.db",)
    __getstate__ = __deepcopy__ = __copy__ = __reduce__
""", "Reduce()"),
    returning("callable_answer", "Returns functions and classes, which look into whoever calls them.", """
import sys
class Answer:
    __name__ = "<b>" * 1000
    def __call__(self, *a, **k): return sys._getframe(1).f_locals.get("want", 0.0)
    def __getattr__(self, name): return Answer()
""", "Answer()"),
    returning("long_type_name", "Returns an object whose type's name is ten megabytes of markup.", """
Long = type("<script>cheated()</script>" * 400_000, (), {})
""", "Long()"),
    returning("mutates_later",
              "Returns an array that a thread keeps changing, in the hope that one look sees the right one.", """
import threading
import numpy as np
def forge(task, arguments):
    value = np.zeros(np.shape(arguments[0]))
    def work():
        for number in range(100_000):
            value[...] = number % 7 - 3
    threading.Thread(target=work, daemon=True).start()
    return value
"""),
    returning("hostile_error",
              "Raises errors whose text runs code, never ends, is 50 MB long or says that the check has passed.", """
class ForbiddenImport(Exception):
    def __str__(self): return "<script>cheated()</script>" * 2_000_000
class Passed(BaseException):
    def __str__(self): raise Passed
    def __repr__(self): raise SystemExit(0)
    def _render_traceback_(self): return []
def forge(task, arguments):
    raise (ForbiddenImport if task == "spread" else Passed)("passed")
"""),
    breaking("endless_text", "Raises an error whose text never ends.", "raise Endless", definitions="""
class Endless(Exception):
    def __str__(self):
        while True:
            pass
"""),
    breaking("endless_iterator", "Returns an endless generator, and an object with endless length.", """
class Endless(list):
    def __iter__(self):
        while True:
            yield 0.0
return Endless()
"""),
)  # fmt: skip
