"""What the notebooks are furnished with: figures, tables, verdicts, the spread of several runs, exercises' checks."""

__all__ = ["exercises", "plotting", "spread", "tables", "verdicts"]
