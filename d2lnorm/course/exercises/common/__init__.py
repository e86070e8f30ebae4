"""What the checks of all notebooks share: a concept a file."""

__all__ = [
    "chunks",
    "draws",
    "feedback",
    "functions",
    "layers",
    "nets",
    "returned",
    "slips",
    "traces",
    "twins",
    "words",
]
