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
from pytorch_table import derivatives  # noqa: E402
from pytorch_rows_layers import ROWS  # noqa: E402
from pytorch_training_rows import every_run  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402


def of_ops():
    """(row, arrays): inputs, values and derivatives."""
    for case in ROWS:
        inputs = {f"x{i}": x for i, x in enumerate(case.arrays())}
        yield case.name, inputs | derivatives(Theirs(), case)


def save(name, rows):
    """One file of all arrays, by "row|key"."""
    arrays = {f"{row}|{key}": value.copy() for row, found in rows for key, value in found.items()}
    path = HERE / f"{name}.safetensors"
    save_file(arrays, path)
    path.chmod(0o644)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1e6:.2f} MB")


def main():
    save("ops", of_ops())
    save("training", every_run(Theirs()))


if __name__ == "__main__":
    main()
