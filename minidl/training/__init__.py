"""Everything that a training script needs besides the lesson: settings, run folders, checkpoints, metrics, reports.

``train.py`` at the top of the repository reads as a tutorial because this package does
the rest. Read it in the order of the imports below, which is the order of a run.
"""

from minidl.training.together import join
from minidl.training.settings import (
    device, number, one_of, option, parse, recipe_for, size, switch, usage_errors, whole,
)
from minidl.training.intervals import interval
from minidl.training.recipes import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule
from minidl.training.presets import PRESETS, RECIPES
from minidl.training.log import LOGS
from minidl.training.run import Run
from minidl.training.checkpoint import CheckpointError, load_arrays, save_arrays
from minidl.training.state import TrainingState
from minidl.training.replaying import replayed
from minidl.training.metrics import EpochMeter, Evaluation, NonFiniteLoss, as_tuple, evaluate, try_out
from minidl.training.beginning import begin
from minidl.training.progress import Progress
from minidl.training.trained import TrainedNetwork, open_run
from minidl.training.transfer import freeze, load_weights
from minidl.training.range_test import range_test
from minidl.training.range_test import picture_of as range_test_picture
from minidl.training.range_test import report as report_range_test
from minidl.training.report import finish

__all__ = [
    "LOGS", "OPTIMIZERS", "PRESETS", "RECIPES", "SCHEDULES", "CheckpointError", "EpochMeter", "Evaluation",
    "NonFiniteLoss", "Progress", "Run", "TrainedNetwork", "TrainingState", "as_tuple", "begin", "create_optimizer",
    "create_schedule", "device", "evaluate", "finish", "freeze", "interval", "join", "load_arrays", "load_weights",
    "number", "one_of", "open_run", "option", "parse", "range_test", "range_test_picture", "recipe_for", "replayed",
    "report_range_test", "save_arrays", "size", "switch", "try_out", "usage_errors", "whole",
]
