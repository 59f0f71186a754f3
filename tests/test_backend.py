"""The backend's table of array types, memory order, the buffer pool and the random streams."""

import numpy as np
import pytest

import minidl
from minidl import backend


def test_the_table_of_array_types():
    x = np.ones(2)
    assert backend.array_module(x) is np and backend.device_of(x) == "cpu" and backend.is_array(x)
    assert backend.to_device(x, "cpu") is x and backend.to_numpy(x) is x
    assert backend.is_device_name("cpu") and backend.is_device_name("cuda:0") and not backend.is_device_name("float32")
    with pytest.raises(TypeError, match="the array is of type list; accepted: .*numpy.ndarray"):
        backend.array_module([1.0])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1), (2, 1, 4, 4), (3, 4, 1, 5), (2, 3, 5, 1)])
def test_channels_last_is_a_matter_of_strides(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    y = backend.channels_last(x)
    assert np.array_equal(x, y) and backend.is_channels_last(y) and backend.channels_last(y) is y
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_slice_of_channels_passes_as_channels_last():
    wide = backend.empty_channels_last((2, 8, 3, 4), np.float32, like=np.ones(1))
    assert backend.channels_last(wide[:, 2:5]).base is not None
    assert backend.is_channels_last(wide[:, 2:5])
    assert not backend.is_channels_last(wide[:, ::2]) and not backend.is_channels_last(wide[:, :, :, ::3])


def test_a_pooled_block_comes_back_when_its_last_view_dies():
    shape = (300, 1001)
    first = backend.empty(shape, np.float32, like=np.ones(1))
    address = first.ctypes.data
    view = first[10:].T
    del first
    second = backend.empty(shape, np.float32, like=np.ones(1))
    assert second.ctypes.data != address and not np.shares_memory(second, view)
    del view
    third = backend.empty(shape, np.float32, like=np.ones(1))
    assert third.ctypes.data == address


@pytest.mark.parametrize("shape", [(), 0, 5, (0, 7), (1000, 100), [200, 200]])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "bool"])
def test_pooled_arrays_are_ordinary_arrays(shape, dtype):
    x = backend.empty(shape, dtype, like=np.ones(1))
    assert x.shape == np.empty(shape).shape and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable
    x[...] = 1
    assert (x == 1).all()


def test_random_numbers_are_a_function_of_the_seed():
    minidl.manual_seed(3)
    state = minidl.get_rng_state()
    a, b = minidl.randn(5), minidl.rand(5)
    minidl.set_rng_state(state)
    assert minidl.equal(a, minidl.randn(5)) and minidl.equal(b, minidl.rand(5))
    assert not minidl.equal(a, minidl.randn(5))
    minidl.manual_seed(4)
    assert not minidl.equal(a, minidl.randn(5))
