"""Explanations: what a network looked at, and what its parts contribute, for any module that returns logits.

Reading order: watching, gradcam, occlusion, branches, features, pictures. The functions
return NumPy arrays; ``pictures.py`` draws them; ``python -m minidl explain`` does all of
it for one image.
"""

from minidl.explain.branches import BlockView, branch_views
from minidl.explain.features import Neighbours, first_filters, last_features, nearest
from minidl.explain.gradcam import GradCAM, grad_cam
from minidl.explain.occlusion import Occlusion, occlusion

__all__ = [
    "BlockView", "GradCAM", "Neighbours", "Occlusion", "branch_views", "first_filters", "grad_cam", "last_features",
    "nearest", "occlusion",
]
