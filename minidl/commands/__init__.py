"""The commands of ``python -m minidl``, one per file: they read the options, call the engine and print.

A command's file has two functions: ``add_arguments(parser)`` declares its options,
``run(args)`` does the work and returns the exit status, None for 0. The first line of its
docstring is its help. What a command computes is a function elsewhere, so that Python can
call it too. A wrong value is a `ValueError` or `OSError` that ends the program with one
line and status 2 (``minidl/__main__.py``). ``opening.py`` is shared by commands that take a run,
``writing.py`` by those that write a file.
"""
