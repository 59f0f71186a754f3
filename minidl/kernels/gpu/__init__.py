"""Kernels for NVIDIA GPUs, written in tiles: Python that reads like NumPy on small arrays, compiled by cuTile.

A kernel is the program of one *block*. It knows its number, `ct.bid`, loads the tiles that are its share, computes with
whole tiles, and stores one. Thousands of blocks run at once, in no order, so that no block may read what another one
writes. Three rules follow:

- **One writer.** Every element of a result is written by one block. A sum over more than a block's share is taken in
  two stages: partial sums, one row for each block, and then a sum of the rows, in order. Atomic additions would save
  the second stage, and their order, and so the last bits of the result, would change from run to run.
- **Powers of two.** The sides of a tile are powers of two; what hangs over the edge of an array reads as padding and is
  not stored.
- **Numbers at compile time.** Arguments marked `Constant` are compiled in: sizes of tiles and yes-or-no options. Sizes
  of images are ordinary arguments, so that a network of sixty convolutions needs a handful of variants. A number with
  a fraction is a constant too, or comes in an array of one element: then it has the dtype of the data.

Read in this order:

1. ``tiles.py``: how a kernel is launched, and which tiles fit which array.
2. ``convolution.py``: two kernels, three maps.
3. ``reduction.py``: sums of columns in two stages.
4. ``products.py``: matrix products, which are not written here but asked of cuBLAS.
5. ``normalisation.py``, ``pooling.py``, ``losses.py``, ``random.py``, ``optimisers.py``: one family a file.
6. ``branches.py``: branches side by side, which is the block of ``kernels/cpu`` on these operations.

``capture.py`` has no kernels: it lets the driver repeat a whole step of them. Where cuTile is not installed, CuPy
computes everything; ``MINIDL_KERNELS=plain`` asks for the same where a driver is older than it takes (r580).
"""
