"""What the checks of all notebooks share: a concept a file."""

__all__ = [
    "calls",
    "chunks",
    "draws",
    "epochs",
    "features_last",
    "feedback",
    "folds",
    "functions",
    "layers",
    "nets",
    "returned",
    "slips",
    "traces",
    "twins",
    "words",
]
