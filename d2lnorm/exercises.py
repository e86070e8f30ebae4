"""The old name of `d2lnorm.course.exercises`, for notebooks that were copied before the checks moved there."""

from d2lnorm.course.exercises import __path__

__all__ = ["__path__"]
