"""Side-by-side measurements of minidl and other engines; ``python -m benchmarks`` lists them.

Every benchmark goes the same way:

1. each contender works in a process of its own (`worker`), with the same number of threads;
2. its results are compared with float64 ones, before the race and after it, and no time of what is wrong
   is shown (`compare`);
3. the contenders take turns, round after round (`race`), so that a slow moment of the machine
   falls on all of them; the figure is the median of the rounds, with the smallest and largest;
4. ratios are formed within one run, never between two.
"""
