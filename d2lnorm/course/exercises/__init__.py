"""The checks of the course's exercises: a module for each notebook, a function `check_...` for each exercise.

They know the mistakes that are usually made, and say which one they see.
"""
