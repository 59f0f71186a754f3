"""The prediction job on ONNX Runtime, with all its graph optimisations."""

from __future__ import annotations

import numpy as np
import onnxruntime

from benchmarks.case import load
from benchmarks.jobs import Job
from minidl.onnx import as_onnx


class Network(Job):
    """GoogLeNet's prediction with batch norm folded."""

    def __init__(self, folder, mode, threads):
        case, weights, images, _ = load(folder)
        network = case.network()
        network.load_state_dict(weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.x = np.ascontiguousarray(case.inputs(images))
        options.add_free_dimension_override_by_name("N", len(self.x))  # as if the file were made for this batch
        contents = as_onnx(network, self.x.shape[1:]).SerializeToString()
        self.session = onnxruntime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])

    def step(self):
        """Logits of the batch."""
        return self.session.run(None, {"images": self.x})[0]

    def check(self, path):
        """Write the results that are compared with float64 ones."""
        self.rehearse()
        np.savez(path, logits=self.step())


JOBS = {"network": Network}
