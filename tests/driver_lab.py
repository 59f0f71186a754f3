"""A process whose kernels go all the way to the driver, which is a stand-in: run by ``test_kernels_gpu_compiled.py``.

Every launch of a training step is queued as on a GPU, so that cuTile reads the arguments, compiles for their types and
hands a kernel to the driver; the tile machine then computes the numbers. Prints the names of what was queued.
"""

import ctypes
import sys

import cuda.tile as ct
import test_kernels_gpu_compiled as examples
import tile_machine

from minidl.kernels.gpu import tiles


class OnDevice:
    """An array as CuPy shows it to other libraries."""

    def __init__(self, array):
        pointer = array.__array_interface__["data"][0]
        self.__cuda_array_interface__ = dict(
            shape=array.shape, typestr=array.dtype.str, data=(pointer, False), version=3, strides=array.strides
        )


def on_device(value):
    if isinstance(value, list):
        return [on_device(v) for v in value]
    return OnDevice(value._array) if isinstance(value, tile_machine.strict.StrictArray) else value


def main():
    driver, queued = ctypes.CDLL("libcuda.so.1"), set()
    execute = tiles.LAUNCHERS[tile_machine.strict.StrictArray]

    def queue(kernel, grid, arguments):
        if kernel not in queued:
            before = driver.launch_count()
            ct.launch(0, grid, kernel.compiled, tuple(map(on_device, arguments)))
            assert driver.launch_count() == before + 1, kernel.body.__name__
            queued.add(kernel)
        execute(kernel, grid, arguments)

    tiles.LAUNCHERS[tile_machine.strict.StrictArray] = queue
    examples.train("float32")
    examples.rare()
    print(*sorted(kernel.body.__name__ for kernel in queued))


if __name__ == "__main__":
    sys.exit(main())
