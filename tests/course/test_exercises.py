"""Every check accepts right answers, rejects the usual mistakes with words that help, and knows the stub."""

import importlib
import pkgutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import d2lnorm.course.exercises
import exercise_answers
from d2lnorm.course.exercises.common import feedback
from d2lnorm.course.exercises.common.feedback import SEED, NotYet, exercise, expect, expect_close, number

MODULES = [m.name for m in pkgutil.iter_modules(d2lnorm.course.exercises.__path__) if not m.ispkg]
ANSWERS = {}
for name in MODULES:
    ANSWERS |= importlib.import_module(f"exercise_answers.{name}").ANSWERS
CHECKS = list(ANSWERS)
RIGHT = [pytest.param(c, r, id=f"{c.__name__}-{n}") for c, a in ANSWERS.items() for n, r in enumerate(a.right)]
WRONG = [pytest.param(c, *w, id=f"{c.__name__}-{n}") for c, a in ANSWERS.items() for n, w in a.wrong.items()]


def torch_state():
    """What is set for all of torch, and where its generator is."""
    return {
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "autocast": torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        "deterministic": torch.get_deterministic_debug_mode(),
        "anomalies": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "threads": torch.get_num_threads(),
        "random numbers": torch.get_rng_state().numpy().tobytes(),
    }


@contextmanager
def set_to(value, set_, usual):
    set_(value)
    try:
        yield
    finally:
        set_(usual)


# What a notebook may have set before it calls a check
STATES = {
    "gradients off": torch.no_grad,
    "inference": torch.inference_mode,
    "float64": lambda: set_to(torch.float64, torch.set_default_dtype, torch.float32),
    "bfloat16": lambda: set_to(torch.bfloat16, torch.set_default_dtype, torch.float32),
    "another device": lambda: set_to("meta", torch.set_default_device, None),
    "another device here": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu"),
    "deterministic": lambda: set_to("error", torch.set_deterministic_debug_mode, "default"),
    "deterministic, or warn": lambda: set_to("warn", torch.set_deterministic_debug_mode, "default"),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
}


@pytest.fixture(autouse=True)
def torch_state_kept():
    """A check may seed torch for itself; whatever it prints or sets besides, the next test must not see it."""
    before = torch_state()
    yield
    assert torch_state() == before


def test_every_check_of_the_package_has_its_answers():
    for name in MODULES:
        module = importlib.import_module(f"d2lnorm.course.exercises.{name}")
        assert {getattr(module, check) for check in module.__all__} <= set(CHECKS), name
        assert all(check.startswith("check_") for check in module.__all__), name
    assert {m.name for m in pkgutil.iter_modules(exercise_answers.__path__)} == set(MODULES)
    for check, answers in ANSWERS.items():
        assert answers.right, check.__name__
        assert len(answers.wrong) >= 2, check.__name__
        assert "\n" in check.__doc__ or len(check.__doc__) > 30, check.__name__


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer, capsys):
    check(answer)
    out = capsys.readouterr().out
    assert out.startswith("✓ ")
    assert out.count("\n") == 1


@pytest.mark.parametrize("name", STATES)
def test_right_answers_pass_whatever_is_set(name):
    """Each check meets each state, each answer one of them: a check sets what torch starts with, whoever answers."""
    usual, turn = torch_state(), [*STATES].index(name)
    firsts = [(check, answers.right[0]) for check, answers in ANSWERS.items()]
    with STATES[name]():
        before = torch_state()
        assert before != usual
        for check, answer in firsts + [p.values for p in RIGHT[turn :: len(STATES)]]:
            try:
                check(answer)
            except Exception as error:
                raise AssertionError(f"{check.__name__}({answer}) with {name}") from error
            assert torch_state() == before, check.__name__


@pytest.mark.parametrize("name", STATES)
def test_the_state_is_the_usual_one_in_a_check_and_given_back_after_it(name):
    def wrong():
        raise NotYet("it is not right yet")

    def buggy():
        return 1 / 0

    def unseemly():
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float16)
        torch.set_deterministic_debug_mode("error")
        torch.autograd.set_detect_anomaly(True)
        torch.set_autocast_enabled("cpu", True)
        torch.manual_seed(3)

    inside = []

    @exercise
    def check_something(answer):
        inside.append(torch_state())
        answer()
        return "well done"

    usual = torch_state()
    with STATES[name]():
        before = torch_state()
        for answer, error in ((wrong, NotYet), (buggy, NotYet), (unseemly, None)):
            if error is None:
                check_something(answer)
            else:
                with pytest.raises(error):
                    check_something(answer)
            assert torch_state() == before
    seeded = torch.Generator().manual_seed(SEED).get_state().numpy().tobytes()
    assert inside == [usual | {"random numbers": seeded}] * 3


@pytest.mark.parametrize(("check", "answer", "words"), WRONG)
def test_wrong_answers_are_told_what_is_wrong(check, answer, words, capsys):
    with pytest.raises(NotYet) as told:
        check(answer)
    assert words in str(told.value)
    assert 30 < len(str(told.value)) < 600
    assert "✓" not in capsys.readouterr().out


@pytest.mark.parametrize("turn", range(10))
def test_the_verdict_is_the_same_wherever_torch_s_generator_starts(turn, monkeypatch):
    monkeypatch.setattr(feedback, "SEED", 1000 * turn + 77)
    for is_right, params in ((True, RIGHT), (False, WRONG)):
        for check, answer, *_ in (p.values for p in params[turn::10]):  # all together in ten turns
            try:
                check(answer)
                passed = True
            except NotYet:
                passed = False
            assert passed is is_right, f"{check.__name__}({answer})"


@pytest.mark.parametrize("check", CHECKS)
def test_the_stub_is_known(check, capsys):
    def stub(*args, **kwargs):
        raise NotImplementedError

    check(stub)
    assert capsys.readouterr().out == (
        "○ stub: not written yet. Fill in the stub above, run it, then run this cell again.\n"
    )


@pytest.mark.parametrize("check", CHECKS)
def test_an_answer_that_returns_nothing_is_told_so(check):
    with pytest.raises(Exception) as caught:  # noqa: PT011  a class's answer fails where its instance is used
        check(lambda *args, **kwargs: None)
    assert not isinstance(caught.value, SystemExit)


def test_jupyter_shows_feedback_without_a_traceback():
    assert NotYet("look at the axes")._render_traceback_() == ["✗ look at the axes"]


@exercise
def check_anything(answer):
    """Call the answer with a tensor and use what it returns as a tensor."""
    answer(torch.ones(2, 3), eps=0.5).sum()
    return "well done"


def buggy(X, eps):
    return X.reshape(4) + eps


def with_any_arguments(*arguments, **options):
    raise ValueError("no.")


def returns_text(X, eps):
    return "text"


def only_even(X, eps):
    raise NotImplementedError("only even sizes")


def stub(X, eps):
    """What to do."""
    raise NotImplementedError


class WithoutForward(torch.nn.Module):
    def foward(self, X):
        return X


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (buggy, "`return X.reshape(4) + eps`, with RuntimeError: shape '[4]' is invalid for input of size 6. "),
        (buggy, "There, its arguments were X = a float32 tensor of shape (2, 3), eps = 0.5."),
        (only_even, "NotImplementedError: only even sizes"),
        (with_any_arguments, "with ValueError: no. There, its arguments were a float32 tensor of shape (2, 3)."),
        (lambda X, eps: WithoutForward()(X), "a layer has no `forward`: is the name spelled so, and indented"),
        (lambda X: X, "calling it as the text asks failed: TypeError: <lambda>() got an unexpected keyword argument"),
        (returns_text, "what it returned, or the layer that it made, cannot be used as asked: AttributeError: 'str'"),
    ],
)
def test_an_error_is_told_with_its_line_and_the_input_that_brought_it(answer, words, capsys):
    with pytest.raises(NotYet) as told:
        check_anything(answer)
    assert words in str(told.value)
    assert "not written" not in capsys.readouterr().out


class StubOfALayer(torch.nn.Module):
    """What to do."""

    def __init__(self, X, eps):
        super().__init__()
        raise NotImplementedError


@pytest.mark.parametrize("untouched", [stub, StubOfALayer])
def test_only_the_untouched_stub_is_not_written_yet(untouched, capsys):
    check_anything(untouched)
    assert capsys.readouterr().out.startswith(f"○ {untouched.__name__}: not written yet")


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0), torch.tensor(2), torch.ones(1, requires_grad=True) * 2]
)
def test_a_number_may_be_of_any_kind(value):
    assert number(value, "it") == 2.0


@pytest.mark.parametrize("value", [None, "2", True, [2.0], np.ones(2), torch.ones(2), 2j])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(NotYet, match="it must be a number, but is "):
        number(value, "it")


def test_two_numbers_are_told_with_digits_that_differ():
    with pytest.raises(NotYet, match="expected 1.000000000, got 1.000000001; they agree to float32's digits only"):
        expect_close(1 + 1e-9, 1.0, "it", rtol=0, atol=1e-12)
    with pytest.raises(NotYet, match=r"expected 0.02820, got 0.02821"):
        expect_close(0.028205, 0.0282, "it", rtol=0, atol=1e-9)


def test_expectations():
    truth = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    expect(True, "fine")
    expect_close(truth.clone(), truth, "Y")
    expect_close(torch.tensor([2.0]), 2.0, "the number")
    expect_close(2, 2.0, "the number")
    twice = {"it was doubled": 2 * truth, "it was halved": truth / 2}
    for got, words in [
        (None, "Y must be a tensor, but is None"),
        (torch.ones(2), r"Y must have shape \(2, 2\), but has \(2,\)"),
        (truth.double(), "Y must have dtype torch.float32, but has torch.float64"),
        (truth / 2, "Y is not right: it was halved"),
        (truth + torch.tensor([[0, 0], [1.0, 0]]), r"at index \[1, 0\] expected 3.0000, got 4.0000"),
        (truth / 0, r"4 of its 4 values are not finite, the first at index \[0, 0\]"),
    ]:
        with pytest.raises(NotYet, match=words):
            expect_close(got, truth, "Y", twice)
    with pytest.raises(NotYet, match="the share must be a number, but is 'half'"):
        expect_close("half", 0.5, "the share")
    with pytest.raises(NotYet, match="the share is not right: expected 0.5000, got 0.4000"):
        expect_close(0.4, 0.5, "the share", {"seldom": 0.3})


def test_copies_of_notebooks_from_before_the_checks_moved_still_find_them():
    old, new = (importlib.import_module(f"d2lnorm{wing}.exercises.start_here") for wing in ("", ".course"))
    assert old.__file__ == new.__file__
