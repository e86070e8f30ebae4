"""Answers to the course's exercises, right and wrong ones: a module for each module of `d2lnorm.course.exercises`."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answers:
    """What a check must accept, and what it must reject: name of the mistake → (answer, words of the feedback)."""

    right: list[Callable]
    wrong: dict[str, tuple[Callable, str]]
