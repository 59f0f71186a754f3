"""Write PyTorch's values, first and second derivatives for every row of the table: needs PyTorch.

    python tests/references/regenerate.py

The results are committed, so that the comparison runs where PyTorch is not installed.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import numpy as np  # noqa: E402
from pytorch_library import Theirs  # noqa: E402
from pytorch_rows import derivatives  # noqa: E402
from pytorch_rows_layers import ROWS  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402


def main():
    """One file of inputs and results by "row|key"."""
    arrays = {}
    for case in ROWS:
        for i, x in enumerate(case.arrays()):
            arrays[f"{case.name}|x{i}"] = x.copy()
        for key, value in derivatives(Theirs(), case).items():
            arrays[f"{case.name}|{key}"] = value.copy()
    save_file(arrays, HERE / "ops.safetensors")
    (HERE / "ops.safetensors").chmod(0o644)
    print(f"{len(ROWS)} rows, {(HERE / 'ops.safetensors').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
