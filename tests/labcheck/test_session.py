"""What a check learns of a call, and what student code cannot do to it."""

import pytest
import torch

from labcheck.answer import AnswerError
from labcheck.inside.modules import fill
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


def test_an_interrupted_notebook_is_interrupted(answer_of):
    with pytest.raises(KeyboardInterrupt):
        answer_of("def f():\n    raise KeyboardInterrupt").f()


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
        ("'a' * 300_000", "characters"),
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


# Modules: the same net with its layers created in either order, and nets that are not quite it.
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        {layers}
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("scratch", torch.ones(1), persistent=False)

    def forward(self, x):
        return {value}

    def encode(self, x):
        return torch.tanh(self.first(x))

def make():
    return Net()
"""
FIRST, LAST = "self.first = torch.nn.Linear(2, 3)", "self.last = torch.nn.Linear(3, 1)"
VALUE = "self.last(self.encode(x)) + self.offset"
BATCH = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
STATE = {
    "first.weight": torch.tensor([[1.0, -2.0], [0.5, 0.0], [3.0, 1.0]]),
    "first.bias": torch.tensor([0.1, 0.2, 0.3]),
    "last.weight": torch.tensor([[1.0, 2.0, -1.0]]),
    "last.bias": torch.tensor([0.5]),
    "offset": torch.tensor([10.0]),
}
WANTED = (
    torch.tanh(BATCH @ STATE["first.weight"].T + STATE["first.bias"]) @ STATE["last.weight"].T
    + STATE["last.bias"] + STATE["offset"]
)  # fmt: skip


@pytest.fixture
def net_of(answer_of):
    """``net_of(layers, value)``: the handle of a module."""

    def make(layers=f"{FIRST}; {LAST}", value=VALUE):
        answer = answer_of(NET.format(layers=layers, value=value))
        return answer.module(answer.make())

    return make


@pytest.mark.parametrize("layers", [f"{FIRST}; {LAST}", f"{LAST}; {FIRST}", f"torch.manual_seed(3); {LAST}; {FIRST}"])
def test_with_a_fixed_state_a_right_module_is_right_in_whatever_order_its_layers_were_created(net_of, layers):
    net = net_of(layers)
    net.load_state(STATE)
    assert torch.allclose(net(BATCH), WANTED, atol=1e-6)
    net.fill(7)
    filled = net(BATCH)
    other = net_of()
    other.load_state(STATE | net.state())
    assert torch.equal(other(BATCH), filled)


@pytest.mark.parametrize(
    "value",
    [
        "self.last(self.first(x)) + self.offset",
        "self.last(torch.relu(self.first(x))) + self.offset",
        "self.last(self.encode(x))",
        "self.last(self.encode(x)) + self.offset + torch.nn.functional.linear(x, torch.ones(1, 2))",
    ],
)
def test_with_a_fixed_state_a_wrong_module_is_wrong(net_of, value):
    net = net_of(value=value)
    net.load_state(STATE)
    assert not torch.allclose(net(BATCH), WANTED, atol=1e-2)


def test_a_state_is_copies_of_the_parameters_and_persistent_buffers(net_of):
    net = net_of()
    state = net.state()
    assert list(state) == ["first.weight", "first.bias", "last.weight", "last.bias", "offset"] or set(state) == set(
        STATE
    )
    net.load_state(STATE)
    now = net.state()
    assert all(torch.equal(now[name], STATE[name]) for name in STATE)
    assert not torch.equal(state["first.weight"], now["first.weight"])
    now["first.weight"].zero_()
    assert torch.equal(net.state()["first.weight"], STATE["first.weight"])
    assert set(net.parameters()) == set(STATE) - {"offset"}


def test_a_state_is_cast_to_the_modules_dtype_and_leaves_requires_grad_alone(net_of):
    net = net_of(f"{FIRST}.double(); {LAST}; self.last.weight.requires_grad_(False)")
    net.load_state(STATE)
    assert net.state()["first.weight"].dtype is torch.float64
    assert (net.parameter_count(), net.parameter_count(trainable=True)) == (13, 10)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("self.frist = torch.nn.Linear(2, 3); " + LAST, ["`first.weight` is missing", "`frist.bias` is not expected"]),
        (f"{FIRST}; {LAST}; self.gain = torch.nn.Parameter(torch.ones(1))", ["`gain` is not expected"]),
        (f"{FIRST}; self.last = torch.nn.Linear(3, 1, bias=False)", ["`last.bias` is missing"]),
        (
            f"{LAST}; self.first = torch.nn.Linear(3, 2)",
            ["`first.weight` has shape (2, 3) instead of (3, 2)", "`first.bias` has shape (2,) instead of (3,)"],
        ),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_changes_nothing(net_of, layers, words):
    net = net_of(layers)
    before = net.state()
    with pytest.raises(
        AnswerError, match="^returned an object of type Net with other parameters or buffers: "
    ) as caught:
        net.load_state(STATE)
    assert all(word in str(caught.value) for word in words)
    after = net.state()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_filled_module_is_the_reference_that_was_filled_with_the_same_seed(net_of):
    namespace = {}
    exec(NET.format(layers=f"{FIRST}; {LAST}", value=VALUE), namespace)
    reference = namespace["make"]()
    net = net_of(f"{LAST}; {FIRST}")
    values = []
    for seed in (1, 2, 1):
        net.fill(seed)
        fill(reference, seed)
        values.append(net(BATCH))
        assert torch.equal(values[-1], reference(BATCH))
    assert torch.equal(values[0], values[2]) and not torch.allclose(values[0], values[1])
    assert torch.equal(net.state()["offset"], torch.zeros(1)), "buffers stay as they are"


def test_filled_parameters_have_the_variance_of_their_fan_in_and_tied_ones_do_not_depend_on_their_order():
    wide = torch.nn.Sequential(torch.nn.Conv1d(50, 40, 5), torch.nn.ParameterList([torch.empty(3, 0)]))
    fill(wide, 0)
    assert 250**0.5 * wide[0].weight.std().item() == pytest.approx(1, rel=0.03)
    tied = [torch.nn.ModuleDict({name: torch.nn.Linear(3, 3) for name in names}) for names in ("ab", "ba")]
    for module in tied:
        module["a"].weight = module["b"].weight
        fill(module, 5)
    assert torch.equal(tied[0]["a"].weight, tied[1]["a"].weight)


def test_a_module_too_large_to_be_sent_can_be_counted_and_filled(answer_of):
    answer = answer_of("import torch\ndef make():\n    return torch.nn.Linear(1, 17 * 2**20, bias=False)")
    net = answer.module(answer.make())
    for ask in (net.parameters, net.state):
        with pytest.raises(AnswerError, match="^holds what cannot be sent: a tensor of 17,825,792 elements$"):
            ask()
    assert net.parameter_count() == 17 * 2**20
    net.fill(1)
    first = answer.attribute(net, "weight.sum")
    sum_of_one = answer.call(first)
    net.fill(2)
    assert answer.call(answer.attribute(net, "weight.sum")) != sum_of_one


def test_a_shared_parameter_counts_once(answer_of):
    answer = answer_of(
        "import torch\ndef make():\n    a = torch.nn.Linear(3, 3)\n    b = torch.nn.Linear(3, 3)\n"
        "    b.weight = a.weight\n    return torch.nn.Sequential(a, torch.nn.Sequential(b, a))"
    )
    net = answer.module(answer.make())
    assert net.parameter_count() == 9 + 3 + 3
    assert list(net.parameters()) == ["0.weight", "0.bias", "1.0.bias"]
    assert set(net.state()) == {f"{layer}.{name}" for layer in ("0", "1.0", "1.1") for name in ("weight", "bias")}
    grads = answer.gradient(net, torch.ones(3), wrt=[], cotangent=torch.ones(3), parameters=net).parameter_grads
    assert list(grads) == ["0.weight", "0.bias", "1.0.bias"]


def test_gradients_by_parameters_have_their_names_and_leave_grad_alone(answer_of):
    source = NET.format(layers=f"{LAST}; {FIRST}; self.unused = torch.nn.Linear(1, 1, bias=False)", value=VALUE)
    answer = answer_of(source + "def untouched(net):\n    return all(p.grad is None for p in net.parameters())")
    net = answer.module(answer.make())
    net.load_state(STATE | {"unused.weight": torch.ones(1, 1)})
    cotangent = torch.arange(4.0)[:, None]
    seen = answer.gradient(net, BATCH, wrt=[0], cotangent=cotangent, parameters=net)
    hidden = torch.tanh(BATCH @ STATE["first.weight"].T + STATE["first.bias"])
    back = (cotangent @ STATE["last.weight"]) * (1 - hidden**2)
    wanted = {"last.weight": cotangent.T @ hidden, "last.bias": cotangent.sum(0), "first.weight": back.T @ BATCH}
    wanted["first.bias"] = back.sum(0)
    assert set(seen.parameter_grads) == {*wanted, "unused.weight"}
    assert seen.parameter_grads["unused.weight"] is None
    for name, value in wanted.items():
        assert torch.allclose(seen.parameter_grads[name], value, atol=1e-5), name
    assert torch.allclose(seen.grads[0], back @ STATE["first.weight"], atol=1e-5)
    assert answer.untouched(net) is True


def test_gradients_by_the_parameters_of_a_module_among_the_arguments(answer_of):
    source = "import torch\ndef make():\n    return torch.nn.Linear(2, 1)\ndef loss(net, x):\n    return {}"
    answer = answer_of(source.format("(net(x) ** 2).sum()"))
    net = answer.module(answer.make())
    net.load_state({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([1.0])})
    seen = answer.gradient("loss", net, torch.tensor([[3.0, 4.0]]), wrt=[], cotangent=torch.ones(()), parameters=net)
    assert torch.equal(seen.parameter_grads["weight"], 24 * torch.tensor([[3.0, 4.0]]))
    assert torch.equal(seen.parameter_grads["bias"], torch.tensor([24.0]))
    assert seen.grads == []
    answer = answer_of(source.format("(net(x) ** 2).sum().detach()"))
    net = answer.module(answer.make())
    seen = answer.gradient("loss", net, torch.ones(1, 2), wrt=[], cotangent=torch.ones(()), parameters=net)
    assert seen.parameter_grads == {"weight": None, "bias": None}


def test_frozen_parameters_have_no_gradient(net_of):
    net = net_of(f"{FIRST}; {LAST}; self.first.requires_grad_(False)")
    seen = net.answer.gradient(net, BATCH, wrt=[0], cotangent=torch.ones(4, 1), parameters=net)
    assert {name for name, grad in seen.parameter_grads.items() if grad is None} == {"first.weight", "first.bias"}
    net = net_of(f"{FIRST}; {LAST}; self.requires_grad_(False)")
    seen = net.answer.gradient(net, BATCH, wrt=[], cotangent=torch.ones(4, 1), parameters=net)
    assert set(seen.parameter_grads.values()) == {None}


def test_parameters_that_the_first_call_makes_have_gradients(answer_of):
    answer = answer_of("import torch\ndef make():\n    return torch.nn.LazyLinear(1)")
    net = answer.module(answer.make())
    with pytest.raises(AnswerError):
        net.parameter_count()
    seen = answer.gradient(net, BATCH, wrt=[], cotangent=torch.ones(4, 1), parameters=net)
    assert torch.allclose(seen.parameter_grads["weight"], BATCH.sum(0, keepdim=True))
    assert net.parameter_count() == 3


def test_methods_and_other_attributes_through_handles(net_of):
    net = net_of()
    net.load_state(STATE)
    answer = net.answer
    hidden = torch.tanh(BATCH @ STATE["first.weight"].T + STATE["first.bias"])
    encode = answer.attribute(net, "encode")
    assert torch.allclose(answer.call(encode, BATCH), hidden)
    assert (
        answer.gradient(encode, BATCH, wrt=[0], cotangent=hidden, parameters=net).parameter_grads["last.bias"] is None
    )
    assert torch.equal(answer.attribute(net, "last.bias"), STATE["last.bias"])
    assert answer.attribute(net, "first.out_features") == 3
    last = answer.module(answer.attribute(net, "last"))
    assert torch.allclose(last(hidden), WANTED - 10, atol=1e-6)
    with pytest.raises(AnswerError, match="^returned an object of type Net without an attribute `first.decode`$"):
        answer.attribute(net, "first.decode")


def test_training_and_evaluation_mode(answer_of):
    answer = answer_of("import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Dropout(0.5))")
    net = answer.module(answer.make())
    ones = torch.ones(100)
    assert (net(ones) == 0).any()
    net.train(False)
    assert torch.equal(net(ones), ones) and answer.attribute(net, "0.training") is False
    net.train()
    assert (net(ones) == 0).any()


@pytest.mark.parametrize("spelling", ["net(x)", "net.forward(x)", "torch.func.functional_call(net, {}, x)"])
def test_calls_of_a_module_are_counted_and_it_stays_a_module(answer_of, spelling):
    answer = answer_of(
        f"import copy, torch\ndef use(net, x):\n    y = {spelling}\n    copy.deepcopy(net)(x)\n"
        "    return isinstance(net, torch.nn.Module), y\n"
        "def make():\n    return torch.nn.Linear(2, 2)"
    )
    net = answer.module(answer.fixture("noisy_gain", scale=3.0))
    assert (net.kind, net.parameter_count(), answer.calls(net)) == ("NoisyGain", 1, 0)
    net.train(False)
    right, y = answer.use(net, X)
    assert right is True and torch.equal(y, 3 * X)
    assert answer.calls(net) == 1, "a copy's calls are its own"
    own = answer.module(answer.counted(answer.make()))
    for n in (1, 2):
        answer.use(own, X)
        assert answer.calls(own) == n
    assert set(own.state()) == {"weight", "bias"}


def test_calls_of_the_students_own_callables_are_counted(answer_of):
    answer = answer_of("def make(k):\n    return lambda x: k * x\ndef use(f, x):\n    return f(f(x))")
    plain = answer.make(3)
    double = answer.counted(plain)
    assert answer.use(double, 1.0) == 9.0 and answer.use(plain, 1.0) == 9.0
    assert answer.calls(double) == 2
    with pytest.raises(AnswerError, match="^returned an object of type function whose calls are not counted$"):
        answer.calls(plain)
    layer = answer_of("import torch\nmake = lambda: torch.nn.Linear(1, 1)")
    with pytest.raises(AnswerError, match="^returned an object of type Linear whose calls are not counted$"):
        layer.calls(layer.make())


def test_a_fixture_can_be_made_of_the_students_own_callable(answer_of):
    answer = answer_of("def make():\n    return 2.0")
    affine = answer.fixture("affine", scale=2.0, shift=1.0)
    twice = answer.fixture("composed", outer=affine, inner=affine)
    assert answer.call(twice, 3.0) == 15.0
    assert (answer.calls(affine), answer.calls(twice)) == (2, 1)


@pytest.mark.parametrize(
    ("returned", "described"),
    [
        ("lambda x: x", "an object of type function"),
        ("torch.nn.Linear", "an object of type type"),
        ("type('Fake', (), {'__class__': torch.nn.Linear, '__call__': print})()", "an object of type Fake"),
        ("None", r"None \(is a return missing\?\)"),
        ("torch.ones(2)", r"a tensor of shape \(2,\) and dtype float32"),
        ("{1}", "an object of type set"),
        ("'make'", "a str"),
    ],
)
def test_what_is_no_module_is_named(answer_of, returned, described):
    answer = answer_of(f"import torch\ndef make():\n    return {returned}")
    with pytest.raises(AnswerError, match=f"^returned {described}; a torch.nn.Module was expected$") as caught:
        answer.module(answer.make())
    assert caught.value.status == "error"


@pytest.mark.parametrize("returned", ["None", "3", "'make'", "torch.ones(2)"])
def test_what_cannot_be_called_is_named(answer_of, returned):
    answer = answer_of(f"import torch\ndef make():\n    return {returned}")
    value = answer.make()
    for ask in (answer.call, answer.counted, answer.calls, lambda value: answer.attribute(value, "a")):
        with pytest.raises(AnswerError, match="^returned .*; a callable was expected$"):
            ask(value)


def test_a_module_that_forgets_its_base_class_is_told_so(answer_of):
    answer = answer_of("import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        self.k = 2")
    with pytest.raises(AnswerError, match=r"^returned an object of type Net whose __init__ does not call super"):
        answer.module(answer.Net())


def test_overridden_methods_change_neither_counts_nor_states(answer_of):
    source = """
import torch

class Liar(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = Inner(2, 1)
    def __getattr__(self, name):
        return super().__getattr__(name)
    def modules(self, *args, **kwargs): return iter(())
    children = named_modules = named_children = parameters = named_parameters = buffers = named_buffers = modules
    def state_dict(self, *args, **kwargs): return {}
    def load_state_dict(self, *args, **kwargs): raise SystemExit
    def forward(self, x): return self.layer(x)

class Inner(torch.nn.Linear):
    named_modules = named_parameters = parameters = state_dict = _named_members = Liar.modules

def make():
    return Liar()
"""
    answer = answer_of(source)
    net = answer.module(answer.make())
    assert net.parameter_count() == 3
    net.load_state({"layer.weight": torch.tensor([[2.0, 3.0]]), "layer.bias": torch.tensor([1.0])})
    assert net(X).tolist() == [9.0]
    assert torch.equal(net.state()["layer.weight"], torch.tensor([[2.0, 3.0]]))
    grads = answer.gradient(net, X, wrt=[], cotangent=torch.ones(1), parameters=net).parameter_grads
    assert torch.equal(grads["layer.weight"], X[None])


@pytest.mark.parametrize(
    "harm",
    [
        "self.__dict__['_parameters'] = None",
        "self.__dict__['_parameters'] = {'a': 'b'}",
        "self.__dict__['_parameters'] = {3: torch.ones(1)}",
        "self.__dict__['_modules'] = {'me': self}",
        "self.__dict__['_modules'] = {'me': 5}",
        "self.__dict__['_buffers'] = [1]",
        "self.__dict__.clear()",
    ],
)
def test_registers_that_were_tampered_with_are_errors_of_the_answer(net_of, harm):
    for ask in ("parameters", "parameter_count", "state"):
        with pytest.raises(AnswerError):
            getattr(net_of(f"{FIRST}; {LAST}\n        {harm}".replace("{", "{{").replace("}", "}}")), ask)()


@pytest.mark.parametrize("index", [-1, 5, 2**62, -(2**62)])
def test_a_handle_that_stands_for_nothing_is_an_error(answer_of, index):
    answer = answer_of("import torch\nmake = lambda: torch.nn.Linear(1, 1)\ndef use(f):\n    return f(1)")
    answer.make()
    forged = Handle(index, "Linear")
    for ask in (answer.module, answer.call, answer.calls, answer.counted, answer.use):
        with pytest.raises(AnswerError, match="^returned a handle that stands for nothing$"):
            ask(forged)
