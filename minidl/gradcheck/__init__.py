"""Derivatives that can be trusted: a checker for them, and Jacobians, Hessians and their products.

Reading order: maps (what is checked), differences (what it is compared with), values and manners
(the checks), check (their order), report and hints and blame (what a failure says), case and cases
(the table of all ops), derivatives and sharpness.

>>> import minidl, numpy as np
>>> report = check_gradients(minidl.mul, np.ones(3), np.arange(3.0))
>>> report.passed
True
"""

from minidl.gradcheck.check import check_gradients
from minidl.gradcheck.derivatives import hessian, hvp, jacobian, jvp, vjp
from minidl.gradcheck.report import GradientError, Report
from minidl.gradcheck.sharpness import largest_eigenvalue

__all__ = [
    "GradientError",
    "Report",
    "check_gradients",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "largest_eigenvalue",
    "vjp",
]
