"""ONNX: networks written for other programs, and files of other programs run by minidl (extra ``onnx``).

Reading order: trace, graph, emit, export; then shapes, elementwise, images, reductions, load.
"""

from minidl.onnx.export import as_onnx, export
from minidl.onnx.load import OnnxError, OnnxNetwork, load
from minidl.onnx.trace import TraceError

__all__ = ["OnnxError", "OnnxNetwork", "TraceError", "as_onnx", "export", "load"]
