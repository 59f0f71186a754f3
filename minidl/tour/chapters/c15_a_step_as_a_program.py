# %% [markdown]
# # A step as a program: capture
#
# Chapters 12 and 13 made the loops fast. In a small network the loops are not where the time goes. Here is a network of
# the size of chapter 5's, and what one step of its training takes.

# %%
import numpy as np

import minidl
from minidl import nn, optim
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.tile.tile import shape
from minidl.tour import exercise, picture, predict
from minidl.tour.measure import best_seconds, clock

team.set_num_threads(1)
images, labels = minidl.randn(50, 64), minidl.tensor(np.arange(50) % 10)


def start():
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def train(images, labels):
        loss = minidl.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return train, model, optimizer


train, *_ = start()
eager = best_seconds(lambda: train(images, labels))
products = 3 * 50 * (64 * 32 + 32 * 10) - 50 * 64 * 32   # images need no gradient
arithmetic = products / (2 * shape("float32").lanes * clock())     # two ports, chapter 12
predict("A quarter of a million multiply-adds. Which share of the step do they need: a half, a tenth, a hundredth?")
print(f"{eager * 1e6:.0f} µs, products {arithmetic * 1e6:.1f} µs: {arithmetic / eager:.1%}")

# %% [markdown]
# The rest is Python: functions are called, shapes are compared, nodes of the tape are made, arrays are placed in memory
# and given back. And in the next step *all of it happens again, with the same outcome*: the same shapes, the same tape,
# the same order. Only the numbers differ. So write down once what is computed, and from then on compute only that.
#
# ## A recorder in twenty lines
#
# NumPy asks an object that is not an array what `np.add` and its relatives, the ufuncs, should do with it. So it can
# write them down. A *row* says: run this function, on these arrays, into that array. (A sum is `np.add.reduce`.)

# %%
class Recorded(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that writes down what is computed of it."""

    def __init__(self, array, rows):
        self.array, self.rows = array, rows

    def __array_ufunc__(self, ufunc, method, *inputs, out=(None,), **options):
        inputs = [plain(value) for value in inputs]
        run = getattr(ufunc, method)
        output = run(*inputs, out=plain(out[0]), **options)
        self.rows.append((run, inputs, dict(options, out=output)))
        return Recorded(output, self.rows)

    @property
    def T(self):
        return Recorded(self.array.T, self.rows)

    def __bool__(self):
        return bool(self.array)


def plain(value):
    return value.array if isinstance(value, Recorded) else value


def record(step, *arrays):
    rows = []
    output = step(*[Recorded(array, rows) for array in arrays])
    return rows, plain(output)


def replay(rows):
    for run, inputs, options in rows:
        run(*inputs, **options)


def layer(x, W, b):
    return np.maximum(x @ W + b, 0)


rng = np.random.default_rng(0)
x, W, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 2)), rng.standard_normal(2)
rows, y = record(layer, x, W, b)
for run, _, options in rows:
    print(run.__self__.__name__, options["out"].shape)

# %% [markdown]
# Three rows, and each knows *where its arrays lie*, not their numbers. Put another image into `x` and run the rows:

# %%
x[...] = rng.standard_normal((4, 3))
replay(rows)
predict("No line of `layer` ran. Is `y` the result for the old x, or for the new one?")
print("the new one's bits:", np.array_equal(y, layer(x, W, b)))

# %% [markdown]
# ## Three traps
#
# A recorder sees what is done *to its arrays*, and nothing else. First: a learning rate.

# %%
rate, box = 0.1, np.array(0.1)                      # as a number, and in memory


def descend(w, g):
    return w - rate * g, w - Recorded(box, w.rows) * g


rows, (one, other) = record(descend, np.array([1.0]), np.array([1.0]))
rate = box[...] = 0.001                             # a schedule lowers both
replay(rows)
predict("1 - rate · 1, with the rate lowered to 0.001. What does the replay compute from each?")
print("from the number:", one.array, " from memory:", other.array)

# %% [markdown]
# A number of Python's is copied into the row, for good. Whatever may change has to lie in memory, and rows have to
# *read* it: learning rates, the count of steps, the key of a dropout's random numbers (chapter 14). minidl's capture
# knows the learning rates of optimisers: it copies them, and the inputs, to their places before each replay. A new
# shape is recorded anew. Second trap: a decision.

# %%
def absolute(x):
    if x > 0:
        return x * 1
    return x * -1


x = np.array([3.0])
rows, y = record(absolute, x)
x[...] = -3
replay(rows)
predict("Recorded with x = 3, replayed with x = -3. The absolute value is?")
print(y)

# %% [markdown]
# The rows hold the branch that was taken, not the question. Nothing failed, and the answer is wrong. A recorder that
# can be trusted *refuses*: it notices that Python asks for a value, and says so. In minidl:

# %%
import warnings

absolute = minidl.capture(absolute)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    answers = [absolute(minidl.tensor([value])).item() for value in (3.0, -3.0, -3.0)]
predict("Called with 3, -3 and -3 again. Right or wrong?")
print(answers)
print(str(told[0].message).partition(": ")[2].split(" at ")[0])

# %% [markdown]
# It runs such a step as if it had not been captured: slower, and right. There is one more safety net. The second call
# of a captured step is a *test*: the rows are run, everything they changed is put back, the step is run as it was
# written, and all bits are compared. Third trap: an output lies where it lay.

# %%
double = minidl.capture(lambda x: x * 2)
kept = [double(minidl.tensor([value])) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]
predict("Five results, kept in a list. Which numbers are in it at the end?")
print([result.item() for result in kept])

# %% [markdown]
# All results lie in one piece of memory, which each replay overwrites; only the second stands apart, for the test ran
# the step as it was written. That is the price of a fixed place. What has to stay is copied: `double(x).clone()`.
#
# ## Memory
#
# If every row wrote into an array of its own, a step would need much memory, and memory is slow (chapter 12). But an
# array *lives* only from the row that makes it to the last row that reads it; a result of the step lives on to the end.
# Afterwards its place can be used again. Here are the lives in a whole training step, the network by hand of chapter 5.
# Its results are the weights, which were there before and stay where they are.

# %%
def by_hand(X, T, W1, b1, W2, b2):
    H = np.maximum(X @ W1 + b1, 0)
    Z = H @ W2 + b2
    E = np.exp(Z - np.maximum.reduce(Z, axis=1, keepdims=True))
    dZ = (E / np.add.reduce(E, axis=1, keepdims=True) - T) / len(images)
    dA = (dZ @ W2.T) * np.sign(H)
    for W, b, inputs, grad in ((W1, b1, X, dA), (W2, b2, H, dZ)):
        W -= 0.1 * (inputs.T @ grad)
        b -= 0.1 * np.add.reduce(grad)


X, T = images.numpy(), np.eye(10, dtype=np.float32)[labels.numpy()]
weights = [np.zeros(shape, np.float32) for shape in ((64, 32), 32, (32, 10), 10)]
rows, _ = record(by_hand, X, T, *weights)


def lifetimes(rows, given):
    """(first row, last row, bytes) of what the rows make, other than what was given."""
    lives, given = {}, {id(array) for array in given}
    for k, (_, inputs, options) in enumerate(rows):
        for array in (options["out"], *inputs):
            if getattr(array, "base", None) is not None:
                array = array.base                  # W.T lies where W lies
            if id(array) in lives:
                lives[id(array)][1] = k
            elif array is options["out"] and id(array) not in given:
                lives[id(array)] = [k, k, array.nbytes]
    return [tuple(life) for life in lives.values()]


def most_alive(lives):
    return max(sum(size for first, last, size in lives if first <= k <= last)
               for _, k, _ in lives)


lives = lifetimes(rows, weights)
together, alive = sum(size for *_, size in lives), most_alive(lives)
predict("Their sizes together, against the most that is alive at once: the same, twice, four times as much?")
print(f"{len(rows)} rows make {len(lives)} arrays of {together:,} bytes together")
print(f"alive at once: {alive:,} bytes at most")

# %% tags=["hide-input"]
from minidl.tour.drawing import memory

drawing, top = memory(lives, len(rows))
picture(
    drawing,
    f"{len(lives)} rectangles, one for each array: its width is its life in rows, its height its size. None overlap.",
    "Each rectangle is an array: as wide as its life is long, as high as it is large. Placed so that none overlap, "
    f"they need {top:,} bytes. The exercise asks for such a placement.",
)

# %% [markdown]
# ## What it brings
#
# Now the step from the beginning for 20 steps with a learning rate that falls, first as it is, then captured.

# %%
runs = []
for wrap in (lambda train: train, minidl.capture):
    train, model, optimizer = start()
    step = wrap(train)
    for k in range(20):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + k)
        step(images, labels)
    runs.append([p.detach().numpy().copy() for p in model.parameters()])
replayed = best_seconds(lambda: step(images, labels))
predict("Do the weights agree to ten digits, or to the last bit? And which factor is won?")
print("the same bits:", all(np.array_equal(a, b) for a, b in zip(*runs)))
print(f"{eager * 1e6:.0f}, {replayed * 1e6:.0f} µs: {eager / replayed:.1f} times as fast")

# %% [markdown]
# The products alone would take far less still: small ones do not reach the peak, and each row costs a call, though one
# of machine code. A large network gains little, for its rows are long. A compiler goes further and fuses rows into new
# loops, after a long wait before the first step. On a GPU the same idea is called a *graph*: the driver gets all
# launches of a step at once.
#
# ## What you know now
#
# - A step does the same in the same order every time, so it can be recorded as rows: function, inputs, output.
# - Rows know places, not numbers. What changes must lie in memory; what is decided in Python cannot be replayed.
# - An array's place is free again after its last reader, unless it is a result.
#
# ## Exercise
#
# Write `place`. It gets the lives of arrays in the order in which they are made, each as (first row, last row, size),
# and returns where each begins, in bytes from 0. Two arrays that are alive in the same row must not overlap. An array
# that dies in row 7 is read in row 7, so one that is made in row 7 cannot have its place yet. Keep the total small.

# %%
def place(lives):
    """The start of each array."""
    ...


# %%
def check(place):
    rng = np.random.default_rng(0)
    for case in range(20):
        firsts = np.sort(rng.integers(0, 40, 30)).tolist()
        lives = [(f, f + int(rng.integers(1, 12)), int(rng.integers(64))) for f in firsts]
        starts = place(lives)
        assert starts is not None, "nothing was returned: fill the hole"
        assert len(starts) == len(lives) and min(starts) >= 0, f"{len(lives)} arrays"
        for i, (first, last, size) in enumerate(lives):
            for (_, dies, other), start in zip(lives[:i], starts):
                apart = starts[i] + size <= start or start + other <= starts[i]
                both = f"{size} bytes at {starts[i]} and {other} at {start}"
                assert apart or dies < first, f"{both} overlap, alive in row {first}"
        total = max(start + size for start, (_, _, size) in zip(starts, lives))
        most = most_alive(lives)
        assert total <= 1.6 * most, f"{total} bytes, but {most} alive: use places again"


exercise(place, check)
