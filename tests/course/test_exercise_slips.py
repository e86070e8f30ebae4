"""What the checks of single exercises need so that a slip is not told as another one."""

from d2lnorm.course.exercises import lenet_fashion_mnist
from exercise_answers.lenet_fashion_mnist import switched


def test_each_slip_of_the_accuracy_gives_a_share_of_its_own(monkeypatch):
    def look(got, right, what, mistakes, **_):
        shares.append(sorted([right, *mistakes.values()]))

    shares = []
    monkeypatch.setattr(lenet_fashion_mnist, "expect_close", look)
    lenet_fashion_mnist.check_accuracy_with_batch_statistics(switched)
    assert [len(each) for each in shares] == [13, 8]
    for each in shares:
        assert min(b - a for a, b in zip(each, each[1:], strict=False)) > 1e-3, each
