"""Numbers from answers: functions of labels, probabilities and networks that know nothing of runs or files.

The rule of this room: arrays and modules in, plain numbers and dictionaries out, ready for
JSON. What they look like on a page or in a picture is the business of ``minidl/report``.
"""

from minidl.evaluation.scores import interval, per_class, scores, top_k
from minidl.evaluation.calibration import calibration
from minidl.evaluation.comparison import compare_pair
from minidl.evaluation.cost import Row, cost_of
from minidl.evaluation.census import census

__all__ = ["Row", "calibration", "census", "compare_pair", "cost_of", "interval", "per_class", "scores", "top_k"]
