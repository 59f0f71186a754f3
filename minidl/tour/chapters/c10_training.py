# %% [markdown]
# # Training: rates, momentum, and overfitting seen
#
# A gradient says which way is down. It does not say how far to go, and it says nothing about images that were not
# there. These are the two questions of training.
#
# ## How far? A bowl with two slopes
#
# Near a minimum every smooth loss looks like a bowl. Take the simplest one that is not round: flat along `x`, steep
# along `y`.
#
#     L = (1 x² + 25 y²) / 2        x' = 1 x        y' = 25 y
#
# A step of gradient descent with the learning rate `lr` does
#
#     x ← x - lr · 1 x = (1 - lr) x            y ← y - lr · 25 y = (1 - 25 lr) y
#
# So in every step each direction is multiplied by a factor of its own, `1 - lr · curvature`. It shrinks as long as the
# factor lies between -1 and 1. That is: **as long as `lr < 2 / curvature`**.

# %%
import numpy as np

from minidl.tour import exercise, picture, predict, say, source

CURVATURE = np.array([1.0, 25.0])


def descend(lr, momentum=0.0, steps=40):
    """The places on the way, and momentum's buffer as in minidl's SGD."""
    place, buffer, places = np.array([10.0, 1.0]), np.zeros(2), []
    for _ in range(steps):
        places.append(place)
        buffer = momentum * buffer + CURVATURE * place
        place = place - lr * buffer
    return np.array(places)


predict("2 / 25 is 0.08. Rates 0.02, 0.076 and 0.082: which goes where? Look at x and at y after 40 steps.")
for lr in (0.02, 0.076, 0.082):
    x, y = descend(lr)[-1]
    print(f"rate {lr:<6} x = {x:6.3f}   y = {y:8.3f}")

# %% [markdown]
# The steep direction sets the limit, the flat one pays for it. At 0.02, `x` has hardly moved. At 0.076 it is better,
# and `y` flips its sign at every step. At 0.082 `y` runs away. The ratio of the curvatures, 25 here, is the *condition*
# of the problem. Real networks have conditions of thousands.
#
# ## Momentum
#
# Let a ball roll instead: keep a part `m` of the last step.
#
#     b ← m b + gradient        w ← w - lr · b
#
# Along `x` all gradients point the same way. They pile up: `1 + m + m² + ... = 1 / (1 - m)` times the rate. Along `y`
# they alternate, and cancel. So momentum is fast where it should be, and calm where it should be. It also allows larger
# rates: a direction is stable as long as `lr < 2 (1 + m) / curvature`.

# %%
def steps_needed(lr, momentum=0.0):
    places = descend(lr, momentum, steps=400)
    far = np.abs(places).max(axis=1) > 1e-3
    return int(np.flatnonzero(far)[-1]) + 1


without = min(steps_needed(lr) for lr in np.linspace(0.04, 0.079, 40))
momenta = (0.3, 0.5, 0.7)
tried = np.linspace(0.04, 0.14, 51)
with_m = {m: min(steps_needed(lr, m) for lr in tried) for m in momenta}
predict("At the best rate, plain descent needs more than 100 steps down to 0.001. How many with a good momentum?")
print("without momentum:", without, "steps")
for m, steps in with_m.items():
    print(f"momentum {m}:    {steps} steps")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing, chart

drawing = Drawing()
ways = (("rate 0.02", descend(0.02), "soft"), ("rate 0.076", descend(0.076), "b"),
        ("rate 0.076, momentum 0.5", descend(0.076, 0.5), "a"))
angles = np.linspace(0, 2 * np.pi, 60)
for k, (name, places, kind) in enumerate(ways):
    top = 110 * k
    for level in (3, 6.5, 10):
        ring = [(280 + 22 * level * np.cos(t), top + 40 + 3.6 * level * np.sin(t)) for t in angles]
        drawing.line(ring, "soft", 0.5)
    drawing.line([(280 + 22 * x, top + 40 - 36 * y) for x, y in places], kind if kind != "soft" else "c", 1.8)
    drawing.text(510, top + 40, name, "w", left=True)
picture(
    drawing,
    """Three descents in the same long bowl from its right end. A small rate crawls and does not arrive; a large one
    zigzags across the bowl; with momentum the path swings and arrives at the middle.""",
    "40 steps from the right towards the middle (the height is stretched). Slow; zigzag; and with momentum.",
)

# %% [markdown]
# In minidl an optimiser is one pass over each parameter. This is the whole of SGD:

# %% tags=["hide-input"]
from minidl.optim.sgd import sgd_update

source(sgd_update.__wrapped__)

# %% [markdown]
# ## The rate of a real network
#
# Now digits, with a small convolutional network in minidl. Six rates, three epochs each.

# %%
import minidl
from minidl import nn, optim
from minidl.data import digits

scans, labels = digits.read(side=8)
images = minidl.tensor(scans.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.3)
labels = minidl.tensor(labels)
test = slice(1400, None)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
    )


def loss_on(net, part):
    with minidl.no_grad():
        return minidl.cross_entropy(net(images[part]), labels[part]).item()


def right_on(net, part):
    with minidl.no_grad():
        return (net(images[part]).argmax(1) == labels[part]).float().mean().item()


def train(count, epochs, lr, momentum=0.9, weight_decay=0.0):
    """Train on the first `count` images; the network, and (train, test) losses by epoch."""
    minidl.manual_seed(0)
    net, rng = network(), np.random.default_rng(0)
    optimizer = optim.SGD(net.parameters(), lr, momentum, weight_decay=weight_decay)
    losses = [(loss_on(net, slice(0, count)), loss_on(net, test))]
    for _ in range(epochs):
        for batch in rng.permutation(count).reshape(-1, 50):
            loss = minidl.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append((loss_on(net, slice(0, count)), loss_on(net, test)))
    return net, losses


rates = (0.0003, 0.003, 0.03, 0.1, 0.3, 1.0)
ends = [train(1400, 3, lr)[1][-1][1] for lr in rates]
predict("From 0.0003 to 1. Which rate ends lowest, and what happens at the two ends?")
for lr, loss in zip(rates, ends):
    print(f"rate {lr:<7} test loss {loss:.3f}")

# %% [markdown]
# Both ends are near `log(10)`, which is guessing (chapter 5). Too small has not left it yet, too large has fallen back
# on it (or ends at `nan`). In between lies a broad valley, so a search by factors of three is fine enough. `python
# train.py --lr-find` does it within one run.
#
# ## Overfitting, seen
#
# Take only 100 images to learn from, and watch two losses: on these 100, and on the 397 of the test, which the network
# never learns from.

# %%
few, losses = train(100, 100, 0.03)
train_loss, test_loss = zip(*losses)
lowest = int(np.argmin(test_loss))
predict("100 epochs on 100 images. The training loss goes to 0. Does the test loss keep falling, too?")
for epoch in (0, lowest, 100):
    print(f"epoch {epoch:>3}: train {train_loss[epoch]:.3f}, test {test_loss[epoch]:.3f}")
known, new = right_on(few, slice(0, 100)), right_on(few, test)
print(f"right: {known:.1%} of the 100, {new:.1%} of the test")

# %% tags=["hide-input"]
picture(
    chart({"train": [(k, max(v, 1e-4)) for k, v in enumerate(train_loss)], "test": list(enumerate(test_loss))},
          xlabel="epoch", ylabel="loss", logy=True),
    f"""Training and test loss over 100 epochs, logarithmic. Both fall at first. The training loss goes on falling to
    {train_loss[-1]:.1e}; the test loss is lowest at epoch {lowest} and rises again to {test_loss[-1]:.2f}.""",
    "The curves part. From there on the network learns these hundred images, not digits. This is *overfitting*.",
)

# %% [markdown]
# The training loss says how well the network knows what it has seen. Only the test says what it has learnt. What helps
# against overfitting? Above all more images; and the rest of the means are ways to pretend to have more, or to forbid
# the network to be sure.

# %%
remedies = {
    "100 images": dict(count=100, epochs=100),
    "and stop at the lowest": dict(count=100, epochs=max(lowest, 1)),
    "and weight decay 0.03": dict(count=100, epochs=100, weight_decay=0.03),
    "400 images": dict(count=400, epochs=25),
    "1,400 images": dict(count=1400, epochs=20),
}
predict("Which remedy against having 100 images helps most? By how much?")
for name, settings in remedies.items():
    net, losses = train(lr=0.03, **settings)
    print(f"{name:<24} test loss {losses[-1][1]:.3f}, right {right_on(net, test):.1%}")

# %% [markdown]
# (To be honest we looked at the test to find the lowest epoch. A real project keeps a third part, the *validation* set,
# for such choices, and looks at the test once. minidl's `train.py` does.)
#
# ## What you know now
#
# - In each direction a step multiplies the distance by `1 - lr · curvature`. Plain descent is stable for
#   `lr < 2 / curvature`, momentum `m` for `lr < 2 (1 + m) / curvature`.
# - Momentum adds up what agrees and cancels what alternates.
# - The gap between training and test loss is overfitting. More images help most.
#
# ## Exercise
#
# Write a step of SGD with momentum *and weight decay*: first `gradient + decay · w` takes the gradient's place. Return
# the new weight and the new buffer. minidl's own optimiser is the checker.

# %%
def sgd_step(w, gradient, buffer, lr, momentum, decay):
    """The new w and the new buffer."""
    ...


# %%
def check(sgd_step):
    rng = np.random.default_rng(3)
    w = rng.standard_normal(5)
    tensor, buffer = minidl.tensor(w, requires_grad=True), np.zeros(5)
    theirs = optim.SGD([tensor], lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(4):
        gradient = rng.standard_normal(5)
        tensor.grad = minidl.tensor(gradient)
        theirs.step()
        answer = sgd_step(w, gradient, buffer, 0.1, 0.9, 0.01)
        assert answer is not None, "nothing was returned: fill the hole"
        w, buffer = answer
        right = tensor.detach().numpy()
        note = f"step {step}: the weights should be {right.round(4)}, they are {w.round(4)}"
        assert np.allclose(w, right), note


exercise(sgd_step, check)
