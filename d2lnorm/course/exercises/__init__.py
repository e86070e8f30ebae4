"""The checks of the course's exercises: a module for each notebook, a function `check_...` for each exercise.

They know the mistakes that are usually made, and say which one they see.
"""

__all__ = [
    "batch_norm_across_processes",
    "batch_norm_from_scratch",
    "choosing_a_norm",
    "dropout",
    "errata_of_the_notes",
    "layer_norm_and_relatives",
    "lenet_fashion_mnist",
    "nn_batchnorm",
    "running_statistics",
    "sequences_and_transformers",
    "start_here",
    "why_normalize",
]
