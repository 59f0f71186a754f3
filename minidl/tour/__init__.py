"""The tour: how deep learning really works, in chapters of ten minutes that are read, run and broken.

``python -m minidl tour`` lists the chapters, ``tour 3`` runs one in the terminal, ``tour --copy FOLDER`` puts files to
work in into a folder, and ``tour --html FOLDER`` makes a book. A chapter is one Python file in percent format: plain
Python runs it, VS Code and Jupyter open it as cells. What it teaches is imported from minidl, so it cannot drift;
numbers in its text are computed. It speaks through five functions:

- ``predict(question)``: the reader's turn, before the results of the same cell;
- ``say(text)``: a paragraph with computed numbers in it, in Markdown;
- ``picture(svg, alt, caption)``: a picture, and the same in words;
- ``source(thing)``: the source of a function or class of minidl, and the file where it lives;
- ``exercise(hole, check)``: the reader's own code, and what the checker says of it.

Nothing else imports this room, and it may look at both storeys.
"""

from minidl.tour.stage import exercise, picture, predict, say, source

__all__ = ["exercise", "picture", "predict", "say", "source"]
