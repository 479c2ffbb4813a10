"""What the judge's side makes of replies, whatever they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labcheck.answer import Answer, AnswerError, ModuleHandle
from labcheck.inside.wire import Handle, Opaque

CALL = {"value": 1, "requires_grad": True, "kept_requires_grad": True, "global_draws": False}
HANDLE = Handle(0, "Net")


def says(reply) -> Answer:
    """An Answer whose every request gets the same reply."""
    return Answer(lambda request: reply)


def test_names_with_an_underscore_are_nobodys_answer():
    assert not hasattr(says(CALL), "_repr_html_") and says(CALL).repr() == 1


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


@pytest.mark.parametrize(
    "more",
    [
        {"arguments": 5},
        {"arguments": []},
        {"arguments": [[], []]},
        {"arguments": [{}, {}]},
        {"arguments": [[], {}, 1]},
        {"grads": 5},
        {"grads": []},
        {"grads": [1]},
        {"grads": [None, None]},
        {"grads": {"0": None}},
        {"grads": [Handle(0)]},
        {"grads": [None], "parameter_grads": 5},
        {"grads": [None], "parameter_grads": [None]},
        {"grads": [None], "parameter_grads": {"weight": 1.0}},
        {"grads": [None], "parameter_grads": {"weight": [torch.ones(1)]}},
    ],
    ids=repr,
)
def test_malformed_gradients_and_arguments_are_an_error_of_the_answer(more):
    with pytest.raises(AnswerError, match="malformed"):
        says(CALL | more).gradient(HANDLE, torch.ones(1), wrt=[0], cotangent=torch.ones(1), parameters=HANDLE)


QUESTIONS = {
    "fixture": (lambda answer, net: answer.fixture("f"), [None, 1, "f", Opaque("f"), [HANDLE]]),
    "counted": (lambda answer, net: answer.counted(HANDLE), [None, 1, Opaque("f"), (HANDLE,)]),
    "calls": (lambda answer, net: answer.calls(HANDLE), [None, True, -1, 2.0, "2", torch.tensor(2), [2]]),
    "module": (lambda answer, net: answer.module(HANDLE), [True, 1, HANDLE]),
    "count": (lambda answer, net: net.parameter_count(), [None, True, -1, 2.0, "2", torch.tensor(2)]),
    "parameters": (lambda answer, net: net.parameters(), [None, [], torch.ones(1), {"a": 1.0}, {"a": [torch.ones(1)]}]),
    "state": (lambda answer, net: net.state(), [None, HANDLE, {"a": None}, {"a": torch.ones(1), "b": Opaque("x")}]),
    "load_state": (lambda answer, net: net.load_state({}), [0, "done"]),
    "fill": (lambda answer, net: net.fill(1), [False]),
    "train": (lambda answer, net: net.train(), [True]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, bad) in QUESTIONS.items() for value in bad])
def test_a_value_of_the_wrong_type_is_an_error_of_the_answer(name, value):
    answer = says({"value": value})
    net = ModuleHandle(0, "Net", answer=answer)
    with pytest.raises(AnswerError, match="^gave a malformed answer: "):
        QUESTIONS[name][0](answer, net)


def test_values_of_the_right_type_are_taken():
    state = {"weight": torch.ones(2)}
    for name, value in {
        "calls": 0,
        "count": 0,
        "fixture": HANDLE,
        "counted": HANDLE,
        "parameters": state,
        "state": {},
    }.items():
        answer = says({"value": value})
        assert QUESTIONS[name][0](answer, ModuleHandle(0, "Net", answer=answer)) == value
    module = says({"value": None}).module(HANDLE)
    assert isinstance(module, Handle) and (module.index, module.kind) == (0, "Net")


def test_sentences_from_the_other_side_are_cut():
    for reply in ({"wrong": "a" * 10**6}, {"missing": "a" * 10**6}, {"error": {"type": "a" * 10**6}}):
        with pytest.raises(AnswerError) as caught:
            says(reply).f()
        assert len(str(caught.value)) < 2000


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5),
    st.builds(torch.ones, st.integers(0, 3)), st.builds(Handle, st.integers(-2, 2)), st.just(Opaque("set")),
)  # fmt: skip
KEYS = st.sampled_from(
    ["value", "missing", "wrong", "error", "ended", "requires_grad", "kept_requires_grad", "global_draws", "grads",
     "parameter_grads", "arguments", "type", "message", "where"]
)  # fmt: skip
REPLIES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=6), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(reply=st.one_of(REPLIES, st.builds(lambda more: CALL | more, st.dictionaries(KEYS, REPLIES, max_size=4))))
def test_whatever_is_replied_a_question_is_answered_or_an_answer_error(reply):
    answer = says(reply)
    net = ModuleHandle(0, "Net", answer=answer)
    x = torch.ones(1)
    asked = [question for question, _ in QUESTIONS.values()]
    asked += [
        lambda answer, net: answer.f(x),
        lambda answer, net: answer.call(net, x),
        lambda answer, net: answer.attribute(net, "a"),
        lambda answer, net: answer.gradient(net, x, wrt=[0], cotangent=x, parameters=net),
    ]
    for question in asked:
        try:
            question(answer, net)
        except AnswerError as error:
            assert error.status in ("error", "timeout", "memory", "missing", "forbidden")
