# %% [markdown]
# # The same bits on any number of threads
#
# Run a training twice, with the same seed, and the second run should end with the same weights. To the last bit. In
# many programs it does not, as soon as two threads work. This chapter shows why, and what it takes.
#
# Why care? A mistake that cannot be repeated cannot be found. A run that was killed and resumed should be the run that
# was never killed. And a result that changes with the number of cores is not one result.

# %%
import numpy as np

from minidl.tour import exercise, picture, predict, say, source

predict("In float64: is (0.1 + 0.2) + 0.3 equal to 0.1 + (0.2 + 0.3)?")
print((0.1 + 0.2) + 0.3 == 0.1 + (0.2 + 0.3))
print((0.1 + 0.2) + 0.3, "and", 0.1 + (0.2 + 0.3))

# %% [markdown]
# Every addition rounds to the nearest float. Add in another order, and other roundings happen. So addition of floats is
# *not associative*, and **a sum is not determined by its terms, but by its terms and their order**.
#
# Now sum up a hundred thousand numbers on several threads, the way it is mostly done: every thread sums up its part,
# and the partial sums are added.

# %%
rng = np.random.default_rng(0)
x = rng.standard_normal(100_000).astype(np.float32)


def bits(number):
    return f"{np.float32(number).view(np.uint32):08x}"


def in_order(numbers):
    """One float32 addition after the other."""
    return np.add.accumulate(numbers, dtype=np.float32)[-1]


def a_part_per_thread(x, threads):
    return in_order([in_order(part) for part in np.array_split(x, threads)])


predict("1, 2, 3, 4 and 8 threads. How many different results?")
for threads in (1, 2, 3, 4, 8):
    total = a_part_per_thread(x, threads)
    print(f"{threads} threads: {total:.6f}, bits {bits(total)}")

# %% [markdown]
# All correct to five digits or so, and all different. The number of threads decides where the parts end, so it decides
# the order of the additions. (It gets worse where every thread adds to one shared total as soon as it is done. Then the
# order depends on who was first, and two runs on the *same* number of threads differ.)
#
# Does a difference in the last bit matter? That depends on what it meets. Here is the network of chapter 5 again, in
# float32. Two runs with the same seed, but in one of them one of 2,048 weights is nudged by 1e-7, about one rounding.

# %%
from minidl.data import digits

scans, labels = digits.read(side=8)
X = scans.reshape(-1, 64).astype(np.float32) / np.float32(255)


def train(nudge, rate, epochs=8):
    """The first weights after each epoch."""
    rng = np.random.default_rng(0)
    W1 = (rng.standard_normal((64, 32)) / 6).astype(np.float32)
    W2 = (rng.standard_normal((32, 10)) / 4).astype(np.float32)
    W1[20, 0] += np.float32(nudge)
    kept = [W1]
    for _ in range(epochs):
        for batch in rng.permutation(1400).reshape(-1, 50):
            H = np.maximum(X[batch] @ W1, 0)
            Z = H @ W2
            P = np.exp(Z - Z.max(axis=1, keepdims=True))
            P /= P.sum(axis=1, keepdims=True)
            P[np.arange(50), labels[batch]] -= 1
            dA = P @ W2.T * (H > 0)
            W2 = W2 - np.float32(rate / 50) * (H.T @ P)
            W1 = W1 - np.float32(rate / 50) * (X[batch].T @ dA)
        kept.append(W1)
    return kept


def gaps(rate):
    return [float(np.abs(a - b).max()) for a, b in zip(train(0, rate), train(1e-7, rate))]


calm, bold = gaps(0.5), gaps(2.0)
predict("Learning rates of 0.5 and of 2. How far apart are the two runs after 8 epochs, in the worst weight?")
print("rate 0.5:", *(f"{gap:.0e}" for gap in calm))
print("rate 2:  ", *(f"{gap:.0e}" for gap in bold))

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing, chart

picture(
    chart({"rate 0.5": list(enumerate(calm)), "rate 2": list(enumerate(bold))}, logy=True, xlabel="epoch",
          ylabel="largest difference of a weight", height=200),
    f"""The largest difference between the weights of two runs over 8 epochs, on a logarithmic axis. At the calm rate it
    ends at {calm[-1]:.0e}, at the bold one at {bold[-1]:.0e}.""",
    "Where training is calm, a rounding error stays one. Where steps are as large as they can be (chapter 11 says how "
    "large), it grows until the two runs have nothing in common but their accuracy.",
)

# %% [markdown]
# ## The remedy: chunks of a fixed size
#
# Cut the numbers into chunks whose size does *not* depend on the number of threads: 4,096 each, say. Any thread may sum
# up any chunk, in any order in time. Store each chunk's sum at the chunk's own place. At the end, add the chunk sums
# *in the order of their places*. Threads decide who does what and when, but not what is added to what.

# %%
def in_chunks(x, threads, size=4096):
    """Chunks handed out to threads in a random order, as it happens in life."""
    chunks = [x[k : k + size] for k in range(0, len(x), size)]
    sums = np.zeros(len(chunks), np.float32)
    for thread in np.random.default_rng(threads).permutation(threads):
        for k in range(thread, len(chunks), threads):        # the chunks of this thread
            sums[k] = in_order(chunks[k])
    return in_order(sums)


predict("The same five numbers of threads. How many different results now?")
for threads in (1, 2, 3, 4, 8):
    total = in_chunks(x, threads)
    print(f"{threads} threads: {total:.6f}, bits {bits(total)}")

# %% tags=["hide-input"]
drawing = Drawing()


def bar(top, title, cuts, kinds, ends):
    drawing.text(0, top - 14, title, "w", left=True)
    for k, (a, b) in enumerate(zip(cuts, cuts[1:])):
        drawing.box(a, top, b - a, 26, kinds[k])
        drawing.text((a + b) / 2, top + 13, ends[k], "s")


bar(0, "a part per thread: 2 threads", (0, 288, 576), "ab", ("thread 1", "thread 2"))
bar(66, "a part per thread: 3 threads", (0, 192, 384, 576), "abc", ("thread 1", "thread 2", "thread 3"))
cuts = [72 * k for k in range(9)]
bar(150, "fixed chunks: 2 threads", cuts, "abbabaab", "12212112")
bar(216, "fixed chunks: 3 threads", cuts, "abcbacca", "12321331")
picture(
    drawing,
    """Above, two bars cut into two and into three parts, a part per thread: the cuts lie at different places. Below,
    two bars cut into the same eight chunks, which threads 1, 2 and 3 take in any order: the cuts are the same.""",
    "A part per thread moves the cuts with the number of threads. With fixed chunks the cuts stay, whichever thread "
    "does the work.",
)

# %% [markdown]
# It costs nothing: the work is the same, and with more chunks than threads a thread that is late is helped by the
# others. In minidl every parallel sum is made so. The gradient with respect to a weight is the longest: a sum over all
# pixels of all images. Here it is on one to three threads of this machine:

# %%
from minidl.kernels.cpu.machine import team
from minidl.ops.convolution import conv2d_weight_grad

images = rng.standard_normal((8, 16, 16, 16)).astype(np.float32)
grads = rng.standard_normal((8, 32, 14, 14)).astype(np.float32)
before, found = team.num_threads(), []
for threads in (1, 2, 3):
    team.set_num_threads(threads)
    found.append(conv2d_weight_grad(grads, images, (32, 16, 3, 3)))
team.set_num_threads(before)
predict("4,608 weights, each the sum of 1,568 products. How many differ between 1, 2 and 3 threads?")
for threads, weight in zip((1, 2, 3), found):
    print(f"{threads} threads: {(weight != found[0]).sum()} of {weight.size} differ")

# %% [markdown]
# ## Random numbers
#
# One more source of disorder: *dropout*, which sets a random part of a layer's numbers to zero while it trains. If all
# layers and threads draw from one stream of random numbers, who comes first decides what is drawn. minidl's random
# numbers are named instead: by a seed, a layer and a step.

# %%
from minidl.philox import fill_uint32

whole = np.empty(8, np.uint32)
fill_uint32(whole, seed=1, layer=2, step=3)
predict("Twice the same call: the same numbers, or the next ones of the stream?")
again = np.empty(8, np.uint32)
fill_uint32(again, seed=1, layer=2, step=3)
print(whole)
print(again)
say("""
    The same: there is no stream, and no state to go on from. It is a *function*. Philox, a cipher of ten rounds, turns
    a key and a counter into random bits. The key is made of seed, layer and step, the counter is the place in the mask.
    So any thread, and any device, can compute any piece of a mask, at any time.
    """)

# %% [markdown]
# ## What you know now
#
# - Addition of floats is not associative: a sum needs an order.
# - Fix the chunks, not the parts; store each sum at its place; add in the order of the places.
# - Random numbers as a function of (seed, layer, step, place) need no order at all.
#
# ## Exercise
#
# A dot product on threads. `run(tasks, threads)` calls every task once, in an order that depends on the threads. Write
# `dot` so that its bits do not depend on them. Every product should be done within a task.

# %%
def run(tasks, threads):
    for k in np.random.default_rng(threads).permutation(len(tasks)):
        tasks[k]()


def dot(a, b, threads, run):
    """The sum of a * b, float32, the same bits for every number of threads."""
    ...


# %%
def check(dot):
    a, b = (rng.standard_normal(50_000).astype(np.float32) for _ in range(2))
    counts, answers = [], []

    def counted_run(tasks, threads):
        counts.append(len(tasks))
        run(tasks, threads)

    for threads in (1, 2, 3, 5, 8):
        answers.append(dot(a, b, threads, counted_run))
    assert answers[0] is not None, "nothing was returned: fill the hole"
    assert counts and min(counts) > 1, "the work was not given to `run` in several tasks"
    right, first = float(a.astype(float) @ b.astype(float)), answers[0]
    assert abs(first - right) < 0.01, f"the sum is {right:.4f}, you say {first:.4f}"
    count = len({bits(answer) for answer in answers})
    assert count == 1, f"{count} different results for 5 numbers of threads"


exercise(dot, check)
