"""The chapters, in order: ``c01_*.py`` is the first. Scripts, run by ``minidl/tour/stage.py``, not imported."""
