# %% [markdown]
# # A network by hand, on real digits
#
# Now all of it at once: a network that reads handwriting, with every gradient written by hand in NumPy, in twenty
# lines. scikit-learn brings 1,797 scans of digits, 8 by 8 pixels each, written by real people.

# %%
import numpy as np

import minidl
from minidl.data import digits
from minidl.tour import exercise, picture, predict, say, source

images, labels = digits.read(side=8)
images = images.reshape(len(images), 64) / 255.0
train, test = slice(0, 1400), slice(1400, None)
print(f"{len(images)} images of {images.shape[1]} pixels; the first labels: {labels[:10]}")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing, gray

drawing = Drawing()
for k in range(12):
    gray(images[k].reshape(8, 8), 76 * (k % 6), 96 * (k // 6), drawing)
    drawing.text(76 * (k % 6) + 32, 96 * (k // 6) + 76, str(labels[k]))
picture(drawing, f"Twelve scans of handwritten digits, dark ink on white, and the label under each: {labels[:12]}.")

# %% [markdown]
# The network has two layers. The first makes 32 numbers out of 64 pixels, and cuts off what is negative, which is
# called ReLU. The second makes 10 *logits*, one per digit. The largest is the answer.
#
#     H = max(X W1 + b1, 0)        Z = H W2 + b2
#
# ## The loss
#
# Logits are any numbers. *Softmax* turns them into probabilities: exponentiate, divide by the sum. Then the loss of an
# image is minus the logarithm of the probability that was given to the right digit. It is called *cross entropy*. Sure
# and right costs 0, unsure costs a little, sure and wrong costs a lot.

# %%
def softmax(Z):
    E = np.exp(Z - Z.max(axis=1, keepdims=True))     # less the largest: no overflow
    return E / E.sum(axis=1, keepdims=True)


def cross_entropy(P, labels):
    return -np.log(P[np.arange(len(P)), labels]).mean()


P = softmax(np.zeros((1, 10)))
predict("A network that knows nothing gives ten equal logits. What is its loss?")
print(f"loss {cross_entropy(P, [3]):.4f}, and log(10) = {np.log(10):.4f}")

# %% [markdown]
# Remember this number: a run whose first loss is not near `log(classes)` has a mistake before it has begun.
#
# ## The gradients, from the loss to the first weight
#
# **Loss and softmax together.** Let `r` be the right digit. Then `loss = -log p_r = -z_r + log(sum of exp(z_k))`. The
# slope of the first term is -1 at `r`. The slope of the second with respect to `z_k` is `exp(z_k) / sum = p_k`. So
#
#     z'_k = p_k - (1 if k is right, else 0)
#
# That is as simple as it can be: *what was said, minus what is true*. For the mean over `n` images divide by `n`.
#
# **Second layer.** `Z = H W2 + b2` is chapter 4: `W2' = Hᵀ Z'`, `H' = Z' W2ᵀ`, and `b2'` is the sum over the rows.
#
# **ReLU.** Its slope is 1 where it let the number through, 0 where it cut. So the gradient goes through at the same
# places.
#
# **First layer.** Like the second, with `X` for `H`.

# %%
def forward(X, weights):
    W1, b1, W2, b2 = weights
    H = np.maximum(X @ W1 + b1, 0)
    return H, softmax(H @ W2 + b2)


def gradients(X, labels, weights):
    W1, b1, W2, b2 = weights
    H, P = forward(X, weights)
    dZ = P.copy()
    dZ[np.arange(len(X)), labels] -= 1               # what was said, minus what is true
    dZ /= len(X)
    dH = dZ @ W2.T
    dA = dH * (H > 0)                                # through where ReLU let through
    return X.T @ dA, dA.sum(axis=0), H.T @ dZ, dZ.sum(axis=0)


rng = np.random.default_rng(0)
weights = [rng.standard_normal((64, 32)) * (2 / 64) ** 0.5, np.zeros(32),
           rng.standard_normal((32, 10)) * (2 / 32) ** 0.5, np.zeros(10)]
first = cross_entropy(forward(images[train], weights)[1], labels[train])
print(f"first loss {first:.3f}, and log(10) = {np.log(10):.3f}")

# %% [markdown]
# The factor `(2 / 64) ** 0.5` keeps numbers at their size. A sum of 64 random products is `sqrt(64)` times as large as
# one of them, so weights of size `1 / sqrt(64)` would leave it as large as the inputs. The 2 makes up for ReLU, which
# cuts off half (K. He and others, 2015). With much larger weights the first loss would be far above `log(10)`: the
# network would be sure, and wrong.
#
# Are the gradients right? We do not have to hope. minidl computes the same gradients with its tape of arrays, from the
# forward alone.

# %%
X, t = images[:50], labels[:50]
tensors = [minidl.tensor(w, requires_grad=True) for w in weights]
W1, b1, W2, b2 = tensors
logits = (minidl.tensor(X) @ W1 + b1).relu() @ W2 + b2
minidl.cross_entropy(logits, minidl.tensor(t)).backward()

predict("Twenty lines by hand against an engine. In how many digits will they agree?")
for name, mine, tensor in zip(("W1", "b1", "W2", "b2"), gradients(X, t, weights), tensors):
    largest = np.abs(mine - tensor.grad.numpy()).max()
    print(f"{name}: they differ by {largest:.1e}, of {np.abs(mine).max():.1e} at most")

# %% [markdown]
# ## It learns to read
#
# Take 50 images, a *batch*, compute the gradients, subtract half of each from its weights, take the next 50. Going once
# through all images is an *epoch*. The 397 images at the end of the set are kept apart. They are the test.

# %%
def accuracy(part):
    return (forward(images[part], weights)[1].argmax(axis=1) == labels[part]).mean()


history = [(accuracy(train), accuracy(test))]
for epoch in range(40):
    order = rng.permutation(1400)
    for batch in order.reshape(-1, 50):
        for w, g in zip(weights, gradients(images[batch], labels[batch], weights)):
            w -= 0.5 * g
    history.append((accuracy(train), accuracy(test)))

predict("After one epoch, 28 steps: how many of the 397 test images are read rightly? And after 40 epochs?")
for epoch in (0, 1, 5, 40):
    print(f"epoch {epoch:>2}: train {history[epoch][0]:.1%}, test {history[epoch][1]:.1%}")

# %% tags=["hide-input"]
from minidl.tour.drawing import chart

picture(
    chart({"train": [(k, a) for k, (a, _) in enumerate(history)], "test": [(k, b) for k, (_, b) in enumerate(history)]},
          xlabel="epoch", ylabel="share read rightly", height=220),
    f"""Accuracy over 40 epochs: both curves jump up in the first epochs; then the training curve reaches
    {history[-1][0]:.0%}, while the test curve stays below at {history[-1][1]:.0%}.""",
    "The gap between the curves is what was learnt about these images only. Chapter 10 looks at it.",
)

# %% [markdown]
# ## What it gets wrong, and what it looks at

# %% tags=["hide-input"]
P = forward(images[test], weights)[1]
wrong = np.flatnonzero(P.argmax(axis=1) != labels[test])
wrong = wrong[np.argsort(-P[wrong].max(axis=1))][:6]
drawing = Drawing()
for k, i in enumerate(wrong):
    gray(images[test][i].reshape(8, 8), 96 * k, 0, drawing)
    drawing.text(96 * k + 32, 76, f"said {P[i].argmax()}", "w s")
    drawing.text(96 * k + 32, 92, f"is {labels[test][i]}", "w s")
for k in range(6):
    gray(weights[0][:, k].reshape(8, 8), 96 * k, 120, drawing, ink=False)
words = "six of the 32 columns of W1, bright where ink counts for, dark where it counts against"
drawing.text(0, 200, words, "w s", left=True)
picture(
    drawing,
    f"""Above, the six surest mistakes; many are hard for a human, too. Below, six columns of the first weights as 8 by
    8 images: strokes and edges in bright and dark.""",
    "Above: the surest mistakes. Below: what six hidden numbers respond to. Strokes were found, not given.",
)
say(f"""
    {(P.argmax(axis=1) == labels[test]).sum()} of {len(P)} right, by {sum(w.size for w in weights):,} numbers that were
    drawn at random and then moved downhill {40 * 28:,} times.
    """)

# %% [markdown]
# ## What you know now
#
# - Cross entropy and softmax together have the gradient *said minus true*.
# - A layer `Z = H W + b` has `W' = Hᵀ Z'`, `H' = Z' Wᵀ`, `b' = ` sum of the rows of `Z'`. ReLU lets the gradient
#   through where it let the number through.
# - The first loss must be near `log(classes)`.
#
# ## Exercise
#
# Write the backward of one whole layer `Y = max(X W + b, 0)`, from `Y'` to the three gradients.

# %%
def layer(X, W, b):
    return np.maximum(X @ W + b, 0)


def layer_backward(dY, X, W, b):
    """The gradients with respect to X, W and b, in this order."""
    ...


# %%
def check(layer_backward):
    X, W, b = (rng.standard_normal(shape) for shape in ((4, 3), (3, 5), (5,)))
    dY = rng.standard_normal((4, 5))
    tensors = [minidl.tensor(a, requires_grad=True) for a in (X, W, b)]
    (tensors[0] @ tensors[1] + tensors[2]).relu().backward(minidl.tensor(dY))
    answer = layer_backward(dY, X, W, b)
    assert answer is not None, "nothing was returned: fill the hole"
    for name, mine, tensor in zip("XWb", answer, tensors):
        right = tensor.grad.numpy()
        note = f"{name}' has shape {np.shape(mine)}, not {right.shape}"
        assert np.shape(mine) == right.shape, note
        note = f"{name}' is off by up to {np.abs(mine - right).max():.3f}"
        assert np.allclose(mine, right), note


exercise(layer_backward, check)
