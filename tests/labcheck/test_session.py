"""What a check learns of a call, and what student code cannot do to it."""

import pytest
import torch

from labcheck.answer import Answer, AnswerError
from labcheck.inside.wire import Handle, Opaque

X = torch.tensor([1.0, 2.0])


def test_a_call_returns_what_the_function_returns(answer_of):
    answer = answer_of("def f(a, b=0, *, c=0):\n    return {'sum': a + b + c, 'all': [a, (b, c)]}")
    assert answer.f(1, 2, c=3) == {"sum": 6, "all": [1, (2, 3)]}


def test_what_does_not_exist_is_missing(answer_of):
    with pytest.raises(AnswerError, match="`f` is not defined") as caught:
        answer_of("g = 1").f()
    assert caught.value.status == "missing"


def test_what_is_not_written_yet_is_missing_too(answer_of):
    with pytest.raises(AnswerError, match="not implemented yet") as caught:
        answer_of("def f():\n    raise NotImplementedError").f()
    assert caught.value.status == "missing"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ValueError('no such thing')", "raised ValueError: no such thing"),
        ("SystemExit(3)", "raised SystemExit: 3"),
        ("GeneratorExit()", "raised GeneratorExit"),
        ("type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()", "raised Mute: "),
        ("type('Loud', (BaseException,), {'__str__': lambda self: exit()})()", "raised Loud: "),
        ("ValueError('\\ud800')", r"raised ValueError: \?"),
        ("ValueError('a' * 10**6)", "raised ValueError: a{500}$"),
    ],
)
def test_whatever_student_code_raises_is_one_error(answer_of, error, message):
    with pytest.raises(AnswerError, match=message) as caught:
        answer_of(f"def f(x):\n    raise {error}").f(1)
    assert caught.value.status == "error"


def test_the_line_named_is_the_students_own():
    from labcheck.answer import local
    from labcheck.inside.loading import Cell, run
    from labcheck.inside.session import Session

    namespace = {}
    run([Cell("f", "import torch\ndef f(x):\n    y = x + 1\n    return torch.ones(3) @ torch.ones(4)")], namespace)
    with pytest.raises(AnswerError, match=r"\(line 4: return torch.ones\(3\) @ torch.ones\(4\)\)"):
        local(Session(namespace)).f(1)


def test_memory_has_a_status_of_its_own(answer_of):
    with pytest.raises(AnswerError, match="memory") as caught:
        answer_of("def f():\n    raise MemoryError").f()
    assert caught.value.status == "memory"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("2**70", "an integer of more than 64 bits"),
        ("torch.zeros(2**25)", "a tensor of 33,554,432 elements"),
        ("torch.ones(2, 2).to_sparse()", "layout torch.sparse_coo"),
        ("np.array([object()])", "a numpy array of dtype object"),
        ("{1: 2}", "keys that are not strings"),
        ("'a' * 200_000", "characters"),
        ("[0] * 200_000", "items"),
    ],
)
def test_plain_data_that_cannot_cross_is_the_students_error_with_the_reason(answer_of, returned, reason):
    with pytest.raises(AnswerError, match=f"returned .*{reason}"):
        answer_of(f"import numpy as np, torch\ndef f():\n    return {returned}").f()


def test_a_value_that_holds_itself_is_an_error(answer_of):
    with pytest.raises(AnswerError, match="RecursionError"):
        answer_of("def f():\n    x = []\n    x.append(x)\n    return x").f()


def test_strange_values_cross_as_the_name_of_their_type(answer_of):
    answer = answer_of("import datetime\ndef f():\n    return [{1, 2}, datetime.date(2000, 1, 1), 1j]")
    assert answer.f() == [Opaque("set"), Opaque("date"), Opaque("complex")]


def test_sizes_and_named_tuples_cross_as_tuples(answer_of):
    answer = answer_of(
        "import collections, torch\n"
        "P = collections.namedtuple('P', 'a b')\n"
        "def f():\n    return torch.zeros(2, 3).shape, P(1, 2)"
    )
    assert answer.f() == ((2, 3), (1, 2))


def test_callables_stay_behind_and_can_be_called_and_passed_back(answer_of):
    answer = answer_of("def make(k):\n    return lambda x: k * x\ndef use(f, x):\n    return f(x) + 1")
    triple = answer.make(3)
    assert isinstance(triple, Handle) and triple.kind == "function"
    assert answer.observe(triple, 4).value == 12
    assert answer.use(triple, 4) == 13


def test_a_module_is_a_handle_with_gradients(answer_of):
    source = (
        "import torch\n"
        "def layer():\n"
        "    m = torch.nn.Linear(2, 1, bias=False)\n"
        "    torch.nn.init.constant_(m.weight, 3.0)\n"
        "    return m\n"
        "def count(m):\n    return sum(p.numel() for p in m.parameters())"
    )
    answer = answer_of(source)
    layer = answer.layer()
    assert layer.kind == "Linear"
    assert answer.count(layer) == 2
    seen = answer.gradient(layer, X, wrt=[0], cotangent=torch.ones(1))
    assert torch.equal(seen.value, torch.tensor([9.0]))
    assert torch.equal(seen.grads[0], torch.tensor([3.0, 3.0]))


def test_fixtures_are_made_beside_the_answer_and_count_their_calls(answer_of):
    answer = answer_of("def f(g, x):\n    return [g(x) for _ in range(3)]")
    g, other = answer.fixture("affine", scale=2.0, shift=1.0), answer.fixture("affine", scale=0.0, shift=0.0)
    assert answer.f(g, 3.0) == [7.0, 7.0, 7.0]
    assert (answer.calls(g), answer.calls(other)) == (3, 0)


def test_handles_inside_containers_are_restored(answer_of):
    answer = answer_of("def f(gs, named):\n    return [g(1.0) for g in gs] + [named['h'](1.0)]")
    g = answer.fixture("affine", scale=2.0, shift=0.0)
    assert answer.f([g, g], {"h": g}) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["no_such_fixture", "__name__"])
def test_a_fixture_that_cannot_be_made_is_an_error(answer_of, name):
    with pytest.raises(AnswerError):
        answer_of("").fixture(name, x=1)


def test_gradients_by_position_and_name(answer_of):
    answer = answer_of("def f(a, b, *, c):\n    return a * c")
    a, b, c = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    cotangent = torch.arange(4.0)
    by_a, by_b, by_c = answer.gradient("f", a, b, c=c, wrt=[0, 1, "c"], cotangent=cotangent).grads
    assert torch.equal(by_a, cotangent * c)
    assert by_b is None
    assert torch.equal(by_c, cotangent * a)


@pytest.mark.parametrize(
    "body", ["return a.detach() * 2", "return 3", "return [a]", "return a[:1]", "return torch.zeros(2)", "return None"]
)
def test_no_graph_or_another_shape_gives_no_gradient(answer_of, body):
    seen = answer_of(f"import torch\ndef f(a):\n    {body}").gradient("f", X, wrt=[0], cotangent=torch.ones(2))
    assert seen.grads == [None]


def test_gradients_of_a_tuple_are_those_of_its_sum(answer_of):
    answer = answer_of("def f(a):\n    return 2 * a, 3 * a, a.detach()\ndef g(a):\n    return 2 * a")
    cotangents = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.ones(2)]
    seen = answer.gradient("f", X, wrt=[0], cotangent=cotangents)
    assert torch.equal(seen.grads[0], torch.tensor([2.0, 3.0]))
    assert len(seen.value) == 3
    for other in (cotangents[:2], [torch.ones(3)] * 3):
        assert answer.gradient("f", X, wrt=[0], cotangent=other).grads == [None]
    assert answer.gradient("f", X, wrt=[0], cotangent=X).grads == [None], "a tuple where a tensor is expected"
    assert answer.gradient("g", X, wrt=[0], cotangent=[X]).grads == [None], "a tensor where a tuple is expected"


def test_a_graph_broken_in_place_is_the_students_error(answer_of):
    source = "def f(a):\n    b = a.exp()\n    c = b.sin()\n    b.add_(1)\n    return c"
    with pytest.raises(AnswerError, match="RuntimeError"):
        answer_of(source).gradient("f", X, wrt=[0], cotangent=torch.ones(2))


def test_grad_mode_is_as_asked_and_as_before(answer_of):
    answer = answer_of("import torch\ndef f(a):\n    return torch.is_grad_enabled()\ndef g(a):\n    return 2 * a")
    assert answer.f(X) is True
    assert answer.without_grad("f", X) is False
    assert torch.is_grad_enabled()
    assert answer.gradient("g", X, wrt=[0], cotangent=X).requires_grad is True
    assert answer.observe("g", X).requires_grad is False


def test_arguments_are_reported_as_they_are_after_the_call(answer_of):
    answer = answer_of("def f(a, b):\n    a += 1\n    b['x'].zero_()\n    return a")
    x = X.clone()
    seen = answer.observe("f", x, b={"x": torch.ones(2)})
    assert torch.equal(seen.args[0], X + 1)
    assert torch.equal(seen.kwargs["b"]["x"], torch.zeros(2))
    assert torch.equal(x, X), "the check's own argument never changes"


def test_a_changed_requires_grad_is_noticed(answer_of):
    answer = answer_of("def f(a):\n    a.requires_grad_(True)\n    return 1\ndef g(a):\n    return 1")
    assert answer.observe("f", X).kept_requires_grad is False
    assert answer.observe("g", X).kept_requires_grad is True


@pytest.mark.parametrize(
    ("body", "drew"),
    [
        ("torch.randn(1)", True),
        ("torch.manual_seed(torch.initial_seed() + 1)", True),
        ("np.random.rand(1)", True),
        ("np.random.normal()", True),
        ("torch.randn(1, generator=g)", False),
        ("np.random.default_rng(0).normal()", False),
        ("None", False),
    ],
)
def test_draws_from_the_global_generators_are_noticed_at_every_call(answer_of, body, drew):
    answer = answer_of(f"import numpy as np, torch\ng = torch.Generator()\ndef f():\n    {body}")
    assert [answer.observe("f").global_draws for _ in range(3)] == [drew] * 3


def test_a_generator_passed_in_is_a_copy_and_comes_back_advanced(answer_of):
    answer = answer_of("import torch\ndef f(g):\n    return torch.randn(3, generator=g)")
    generator, same = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    seen = answer.observe("f", generator)
    assert torch.equal(generator.get_state(), same.get_state())
    assert torch.equal(seen.value, torch.randn(3, generator=same))
    assert torch.equal(seen.args[0].get_state(), same.get_state())


@pytest.mark.parametrize(
    "reply",
    [
        None,
        5,
        "text",
        [],
        {},
        {"value": 1},
        {"error": "text"},
        {"missing": 5},
        {"ended": 5},
        {"value": 1, "requires_grad": True, "kept_requires_grad": True},
    ],
    ids=repr,
)
def test_a_malformed_reply_is_an_error_of_the_answer(reply):
    with pytest.raises(AnswerError, match="malformed"):
        Answer(lambda request: reply).f()


def test_observed_flags_are_true_only_where_they_are_true():
    reply = {"value": 1, "requires_grad": "yes", "kept_requires_grad": 1, "global_draws": [0]}
    seen = Answer(lambda request: reply).observe("f")
    assert (seen.requires_grad, seen.kept_requires_grad, seen.global_draws) == (False, False, False)


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        ("timeout: did not finish in time", "timeout"),
        ("memory: too much", "memory"),
        ("passed: all is well", "error"),
        ("no colon", "error"),
    ],
)
def test_a_process_that_ended_has_one_of_three_statuses(ended, status):
    with pytest.raises(AnswerError) as caught:
        Answer(lambda request: {"ended": ended}).f()
    assert caught.value.status == status
