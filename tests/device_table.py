"""Every operation of the table on a device and on the CPU: ``python tests/device_table.py --device cuda``.

Values, gradients and second derivatives, in float64 and in float32, twice on the device, whose bits must not change.
The CPU's numbers are those of the plain forms in float64.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]

import numpy as np
from pytorch_rows_layers import ROWS
from pytorch_table import Ours, assert_agree, derivatives

import minidl
from minidl.dispatch import using

SINGLE = 10  # times the error that a row allows itself in float32 on a CPU: kernels add in other orders


class OnDevice(Ours):
    """minidl on a device, as a library of the table."""

    def __init__(self, device):
        self.device = device

    def leaf(self, array):
        return minidl.Tensor(minidl.tensor(array, dtype=array.dtype).to(self.device).data, array.dtype.kind == "f")

    def constant(self, array):
        return minidl.tensor(array, dtype=array.dtype).to(self.device)

    def numpy(self, y):
        assert y.device == minidl.device(self.device).type, f"a result is on {y.device}"
        return y.detach().cpu().numpy()


def fault_of(row, device):
    """What is wrong with a row of the table on a device, in words; None if nothing."""
    with using("plain"):
        wanted = derivatives(Ours(), row)
    try:
        for dtype, tolerance in ((np.float64, row.tolerance), (np.float32, SINGLE * row.single)):
            found, again = (derivatives(OnDevice(device), row, dtype) for _ in range(2))
            expected = {name: value.astype(found[name].dtype) for name, value in wanted.items() if name in found}
            assert_agree(found, expected, tolerance)
            changed = [name for name in found if found[name].tobytes() != again[name].tobytes()]
            if changed:
                return f"{np.dtype(dtype)}: other bits in a second run: {', '.join(changed)}"
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {' '.join(lines)[:200]}"
    return None


def main(argv=None):
    """Print the rows that differ, and a count; exit status 1 if any does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--within", type=float, default=90.0, help="seconds after which no row begins (%(default)s)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    begin, faults, done = time.monotonic(), {}, 0
    warnings.simplefilter("ignore")
    for row in ROWS:
        if time.monotonic() - begin > args.within:
            break
        with np.errstate(all="ignore"):
            fault = fault_of(row, args.device)
        done += 1
        if fault:
            faults[row.name] = fault
            print(f"  {row.name}: {fault}", flush=True)
    left = f", {len(ROWS) - done} rows were left out for want of time" if done < len(ROWS) else ""
    print(f"operations on {args.device} as on the CPU: {done - len(faults)} of {done} rows{left}")
    if args.json:
        args.json.write_text(json.dumps({"rows": done, "of": len(ROWS), "faults": faults}))
    return 1 if faults or left else 0


if __name__ == "__main__":
    sys.exit(main())
