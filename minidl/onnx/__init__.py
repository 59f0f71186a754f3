"""ONNX: networks written for other programs, and files of other programs run by minidl (extra ``onnx``).

Reading order: trace, graph, emit, export; then tensors, operators, load.
"""

from minidl.onnx.export import as_onnx, export
from minidl.onnx.trace import TraceError

__all__ = ["TraceError", "as_onnx", "export"]
