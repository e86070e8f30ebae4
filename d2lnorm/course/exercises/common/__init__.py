"""What the checks of all notebooks share."""
