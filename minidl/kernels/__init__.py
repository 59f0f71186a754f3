"""The second storey: faster forms of what the first storey defines, and nothing else.

Delete this folder and minidl computes the same, slower. Nothing on the first storey imports it; `minidl/dispatch.py`
looks one table up, :mod:`minidl.kernels.table`, which names the module of every faster form. The forms import the
first storey freely: the definition of an operation, its geometry, its checks.

This is a second book. Read it in this order:

1. ``table.py``: what is faster where.
2. ``cpu/machine``: what every kernel stands on. ``compilation`` (one way to compile, one digest), ``simd``, ``memory``,
   ``team`` and ``counter`` (threads that share tasks), ``flat`` (element loops that vectorise), ``vectors`` (loops
   whose vectors are written down), ``launch``, ``kept``, ``description`` (sizes that follow from the processor).
3. ``cpu/elementwise``, ``cpu/reduction``, ``cpu/exponential``, ``cpu/losses``, ``cpu/optimisers``, ``cpu/random``:
   kernels of one loop. Write constants in them as ``x.dtype.type(2)``: to Numba, an integer times a float32
   is a float64.
4. ``cpu/normalisation`` and ``cpu/pooling``: kernels that walk over the pixels of channels-last images.
5. ``cpu/tile``: a register tile at the processor's peak, and how panels of weights feed it; ``cpu/products``.
6. ``cpu/convolution``: one algorithm a file, and ``algorithms``, the table that chooses.
7. ``cpu/blocks``: branches side by side, folded networks, many small layers in one launch.
8. ``cpu/capture``: steps that are written down once and replayed: ``recorded`` and ``recorder`` (the rows), ``state``,
   ``guards`` and ``kinds`` (what they depend on), ``records`` and ``replays``, ``work``, ``loops``, ``native`` and
   ``program`` (the rows as machine code).
9. ``gpu``: the same operations in tiles, for NVIDIA GPUs. Its door tells the rules.

A faster form has the name and the parameters of what it replaces, takes the same arrays in any memory order, returns
the same values within rounding, and may return NotImplemented. To add one: write it in the file of its family, name it
in ``table.py``, and let a test hold it to the plain form (``tests/test_kernels_*.py``).
"""
