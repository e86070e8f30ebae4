"""What the checks of all notebooks share: a concept a file."""

__all__ = ["calls", "chunks", "draws", "feedback", "functions", "layers", "nets", "slips", "traces", "twins", "words"]
