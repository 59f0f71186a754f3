"""Solutions of the exercises: ``s01.py`` defines what the exercise of chapter 1 leaves open, under the same name.

And `mistake`, a likely wrong answer, which the checker of the chapter must refuse.
"""
