"""Cheats that tamper with tests which run in their own process."""

from tests.labcheck.cheats.submission import at_load, returning

TAMPERING = (
    at_load("replaces_comparisons",
            "Replaces `numpy.testing`, `numpy.allclose` and `torch.allclose` by functions that agree.", """
        import builtins, sys
        import numpy as np
        np.testing.assert_allclose = np.testing.assert_array_equal = lambda *a, **k: None
        np.allclose = np.array_equal = lambda *a, **k: True
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.allclose = torch.equal = torch.testing.assert_close = lambda *a, **k: True
        builtins.all = lambda items: True
        builtins.abs = lambda value: 0.0
    """),
    at_load("replaces_builtins",
            "Replaces `all`, `any`, `abs`, `float`, `zip` and `len` in the notebook's `builtins`.", """
        import builtins
        builtins.all = builtins.any = lambda items: True
        builtins.abs = lambda value: 0.0
        builtins.float = lambda value=0.0: 0.0
        globals().update(len=lambda thing: 1, zip=lambda *things: iter(()))
    """),
    at_load("input_transformer", "One IPython input transformer that empties every cell with a test.", """
        get_ipython().input_transformers_cleanup.append(
            lambda lines: [] if any("assert" in line for line in lines) else lines)
    """),
    at_load("ast_transformer", "An IPython AST transformer that drops assertions and tests.", """
        import ast
        class Drop(ast.NodeTransformer):
            def visit_Assert(self, node):
                return ast.copy_location(ast.Pass(), node)
            def visit_Expr(self, node):
                return ast.copy_location(ast.Pass(), node) if "assert" in ast.dump(node) else node
        get_ipython().ast_transformers.append(Drop())
    """),
    at_load("replaces_the_shell",
            "Replaces the method of the shell that runs statements, so that nothing can fail.", """
        async def nothing(self, *a, **k):
            return False
        type(get_ipython()).run_ast_nodes = nothing
    """),
    at_load("custom_exception_handler",
            "Installs a handler of `AssertionError` in the shell, and an empty `showtraceback`.", """
        shell = get_ipython()
        shell.set_custom_exc((AssertionError, TypeError), lambda *a, **k: None)
        shell.showtraceback = lambda *a, **k: None
    """),
    at_load("forged_reply", "Wraps the kernel's messages: each error becomes a success.", """
        session = get_ipython().kernel.session
        send = session.send
        def forge(stream, kind, content=None, *a, **k):
            if kind == "error":
                return None
            if isinstance(content, dict) and content.get("status") == "error":
                content = {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}
            return send(stream, kind, content, *a, **k)
        session.send = forge
    """),
    returning("forged_result", "Publishes the points as the cell's result before its test can fail.", """
        import json, os, sys
        def forge(task, arguments):
            try:
                get_ipython().displayhook(3.0)
            except Exception:
                for line in ('{"score": 3.0, "status": "passed"}', "3.0"):
                    print(line)
                    sys.__stdout__.write(line)
            return {"task": task, "score": 3.0, "points": 3.0, "status": "passed", "value": True}
    """),
    at_load("settrace",
            "A trace function that puts the expected value in place of the answer where the two are compared.", """
        import sys
        def trace(frame, event, argument):
            names = frame.f_code.co_varnames[:2]
            if event == "call" and names in (("actual", "desired"), ("a", "b"), ("got", "want"), ("x", "y")):
                frame.f_locals[names[0]] = frame.f_locals[names[1]]
                return trace
        sys.settrace(trace)
    """),
    at_load("swapped_code",
            "Puts other byte code into the functions that compare, and into those that talk to the judge.", """
        import numpy as np
        np.testing.assert_allclose.__code__ = (lambda *a, **k: None).__code__
        from labcheck.inside import session, wire
        for function in (wire.pack, wire.unpack, session.Session.answer):
            function.__code__ = (lambda *a, **k: b"\\xc3").__code__
    """),
    at_load("poisoned_modules",
            "Puts modules of its own into `sys.modules` under the names of numpy's tests and of the grader.", """
        import sys, types
        import numpy as np
        fake = types.ModuleType("numpy.testing")
        fake.assert_allclose = fake.assert_array_equal = lambda *a, **k: None
        sys.modules["numpy.testing"] = np.testing = fake
        for name in [n for n in sys.modules if n.startswith("labcheck")]:
            sys.modules[name] = fake
    """),
    at_load("import_hook", "A finder on `sys.meta_path` that serves a false `numpy.testing` and a false grader.", """
        import importlib.abc, importlib.machinery, sys
        class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, name, path=None, target=None):
                if name == "numpy.testing" or name.startswith("labcheck"):
                    return importlib.machinery.ModuleSpec(name, self, is_package=True)
            def exec_module(self, module):
                module.__getattr__ = lambda name: (lambda *a, **k: None)
        sys.meta_path.insert(0, Finder())
        for name in [n for n in sys.modules if n.startswith(("numpy.testing", "labcheck"))]:
            del sys.modules[name]
        import numpy as np
        vars(np).pop("testing", None)
    """),
    at_load("replaces_msgpack",
            "Replaces `msgpack`, `pickle`, `torch.load` and `json`: whatever is sent says that all is well.", """
        import json, pickle, sys
        import msgpack
        well = {"value": True, "score": 12, "status": "passed"}
        packed = msgpack.packb(well)
        msgpack.packb = lambda *a, **k: packed
        json.dumps = lambda *a, **k: '{"status": "passed", "score": 12}'
        pickle.loads = lambda *a, **k: well
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.load = lambda *a, **k: well
    """),
    at_load("replaces_the_session", "Replaces the method that answers the judge by one that says that all is well.", """
        from labcheck.inside import session
        session.Session.answer = lambda self, request: {
            "value": 0.0, "status": "passed", "score": 3.0, "requires_grad": False, "kept_requires_grad": True,
            "global_draws": False, "arguments": [request.get("args", []), {}], "passed": True}
    """),
    returning("fixed_randomness",
              "Replaces numpy's generators, so that tests draw zeros, whose averages are known.", """
        import numpy as np
        class Zeros:
            def normal(self, *a, size=None, **k):
                return np.zeros(size if size is not None else 1)
            random = uniform = standard_normal = normal
        np.random.default_rng = lambda *a, **k: Zeros()
        np.random.normal = np.random.randn = lambda *a, **k: np.zeros(10)
        def forge(task, arguments):
            known = {"moving_average": {3: [3.0]}, "running_mean": {2: [1.0, 2.0]}, "spread": {3: 3.0}}.get(task, {})
            x = arguments[0]
            if len(x) in known:
                return known[len(x)]
            return {"moving_average": np.zeros(6), "running_mean": [0.0] * len(x)}.get(task, 0.0)
    """),
    returning("changes_its_argument",
              "Empties its argument in place, so that a test which computes from it later agrees.", """
        import numpy as np
        def forge(task, arguments):
            x = arguments[0]
            known = {"moving_average": {3: [3.0]}, "running_mean": {2: [1.0, 2.0]}, "spread": {3: 3.0}}.get(task, {})
            if len(x) in known:
                return known[len(x)]
            x[...] = 0.0
            return {"moving_average": np.zeros(6), "running_mean": [0.0] * len(x)}.get(task, 0.0)
    """),
    returning("pokes_memory",
              "Finds expected values in frames and in the collector's list, and overwrites them by `ctypes`.", """
        import ctypes, gc, sys
        import numpy as np
        def forge(task, arguments):
            places, frame = [], sys._getframe(1)
            while frame is not None:
                places += [frame.f_globals, frame.f_locals]
                frame = frame.f_back
            places += [thing for thing in gc.get_objects() if type(thing) is dict and "want" in thing]
            for place in places:
                want = place.get("want")
                if isinstance(want, np.ndarray):
                    ctypes.memset(want.ctypes.data, 0, want.nbytes)
                elif isinstance(want, list):
                    want[:] = [0.0] * len(want)
                elif isinstance(want, float):
                    place["want"] = 0.0
            if task == "standardise":
                return np.zeros(arguments[0].shape)
            return {"moving_average": np.zeros(1), "running_mean": [0.0] * len(arguments[0])}.get(task, 0.0)
    """),
    at_load("thread_that_stays", "A thread that outlives the call and replaces comparisons again and again.", """
        import threading, time
        import numpy as np
        def work():
            for _ in range(2000):
                np.testing.assert_allclose = lambda *a, **k: None
                np.allclose = lambda *a, **k: True
                time.sleep(0.005)
        threading.Thread(target=work, daemon=True).start()
    """),
    at_load("atexit", "A function that runs when the process ends, and gives itself extra points in the gradebook.", """
        import atexit, sqlite3
        def later():
            book = sqlite3.connect("file:@ROOT@/gradebook.db?mode=rw", uri=True, timeout=5)
            me = "SELECT id FROM submitted_assignment WHERE student_id LIKE '%atexit'"
            notebooks = f"SELECT id FROM submitted_notebook WHERE assignment_id IN ({me})"
            book.execute(f"UPDATE grade SET manual_score = 3 WHERE notebook_id IN ({notebooks})")
            book.commit()
        atexit.register(later)
    """),
    at_load("writes_to_descriptors", "Writes forged messages to every open socket and pipe.", """
        import os, stat, struct
        body = b"\\x92\\xa4dict\\x92\\xa5value\\xc3"
        for descriptor in range(3, 256):
            for text in (struct.pack("!Q", len(body)) + body, b'{"status": "passed", "score": 3}\\n', b"\\xff" * 64):
                try:
                    kind = os.fstat(descriptor).st_mode
                    if stat.S_ISSOCK(kind) or stat.S_ISFIFO(kind):
                        os.set_blocking(descriptor, False)
                        os.write(descriptor, text)
                except OSError:
                    pass
    """, alone=True),
    returning("forged_protocol",
              "Speaks the grader's own protocol on every socket: results that were never asked for.", """
        import os, socket, struct
        def forge(task, arguments):
            from labcheck.inside.wire import pack
            body = pack({"value": 0.0, "loaded": [], "ready": True, "score": 3.0, "status": "passed",
                         "requires_grad": False, "kept_requires_grad": True, "global_draws": False,
                         "arguments": [list(arguments), {}]})
            for descriptor in range(3, 64):
                try:
                    link = socket.socket(fileno=os.dup(descriptor))
                    link.settimeout(0.2)
                    for _ in range(3):
                        link.send(struct.pack("!Q", len(body)) + body)
                except OSError:
                    pass
            return 0.0
    """, alone=True),
    at_load("announces_a_huge_message", "Announces a message of 2^63 bytes on every socket, and sends none of it.", """
        import os, stat
        for descriptor in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, b"\\x7f" + b"\\xff" * 7)
            except OSError:
                pass
    """, alone=True),
    at_load("swallows_all_messages", "Closes every file descriptor but the standard ones while it is loaded.", """
        import os
        os.closerange(3, 256)
    """, alone=True),
)  # fmt: skip
