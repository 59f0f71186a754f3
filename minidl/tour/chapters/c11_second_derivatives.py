# %% [markdown]
# # Second derivatives: the largest eigenvalue of a GoogLeNet
#
# Chapter 10 found the limit of the learning rate for plain descent: `2 / curvature`. (With momentum `m` it is `1 + m`
# times that.) For the bowl we knew the curvature. For a network
# with a hundred thousand weights, what is it, and can it be computed? It can, by differentiating a gradient once more.
#
# ## Curvature in many directions
#
# The second derivatives of a loss with respect to `n` weights form a matrix, the *Hessian*: `H[i, j]` says how the
# slope along `i` changes when weight `j` moves. Near a point, the loss is
#
#     L(w + d) = L(w) + gradient · d + 1/2 d · H d + ...
#
# Along a direction `v` of length 1 the curvature is `v · H v`. It is largest along one special direction, the
# eigenvector of the largest eigenvalue. That eigenvalue is called the *sharpness*, and it sets the limit for the
# learning rate.
#
# The Hessian of a network cannot be written down: a hundred thousand by a hundred thousand numbers. But **a product
# `H v` can be computed without `H`.** The gradient `g(w)` is a function like any other. Take its product with a fixed
# `v`, one number, and differentiate that:
#
#     d (g · v) / dw = H v
#
# That is a backward of a backward. This is why every `backward` in minidl is written with operations that can be
# differentiated themselves.

# %%
import numpy as np

import minidl
from minidl.tour import exercise, picture, predict, say, source

w = minidl.tensor([1.0, 2.0], requires_grad=True)


def loss():
    return w[0] ** 2 * w[1]


(gradient,) = minidl.grad(loss(), w, create_graph=True)
v = minidl.tensor([1.0, 0.0])
predict("L = w0² w1 at (1, 2). On paper: the gradient, the Hessian, and its product with (1, 0)?")
print("gradient:", gradient.detach().numpy())
print("H v:     ", minidl.grad((gradient * v).sum(), w)[0].numpy())

# %% tags=["hide-input"]
say("The Hessian is `[[2 w1, 2 w0], [2 w0, 0]]`, here `[[4, 2], [2, 0]]`: `H v` is its first column.")

# %% [markdown]
# `create_graph=True` says: record the backward walk, as if it were a forward. Below is the graph of the *gradient* in
# this example. Everything in it is an operation of chapters 3 and 4, so it can be walked again.

# %% tags=["hide-input"]
(gradient,) = minidl.grad(loss(), w, create_graph=True)
picture(
    minidl.draw_graph(gradient, params={"w": w}),
    """The graph that computed the gradient of w0 squared times w1: slices of w, products and powers, put back into
    their places and added.""",
    "A gradient is computed by a graph, too.",
)

# %% [markdown]
# ## Power iteration
#
# Take a random vector and multiply it by `H`, again and again. Each time, its part along the eigenvector with the
# eigenvalue of largest *absolute value* grows most. After some rounds nothing else is left, and no matrix is ever
# written down. (A Hessian may have negative eigenvalues, too. If the one of largest absolute value were negative, we
# would see it: `v · H v` would be negative.)

# %%
H = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 1.0]])
vector = np.array([1.0, 0.0, 0.0])
predict("A 3 x 3 matrix with the largest eigenvalue {:.4f}. How many rounds to three digits: 3, 10 or 30?".format(
    np.linalg.eigvalsh(H)[-1]))
for k in range(1, 13):
    product = H @ vector
    value = vector @ product
    vector = product / np.linalg.norm(product)
    if k in (1, 2, 3, 6, 9, 12):
        print(f"round {k:>2}: {value:.4f}")

# %% [markdown]
# In minidl the same loop runs over all parameters of a network. `hessian_product` is the formula from above.

# %% tags=["hide-input"]
from minidl.gradcheck.sharpness import hessian_product, largest_eigenvalue

source(hessian_product)
source(largest_eigenvalue)

# %% [markdown]
# ## A GoogLeNet
#
# The network of chapter 9, all nine blocks, with an eighth of the channels. It learns 32 real digits for 30 steps. Then
# we ask for its sharpness.

# %%
from minidl import optim
from minidl.data import digits
from minidl.tour.googlenet import googlenet

scans, labels = digits.read(side=8)
images = minidl.tensor(scans[:32].transpose(0, 3, 1, 2).astype(np.float32) / 255)
targets = minidl.tensor(labels[:32])
minidl.manual_seed(0)
net = googlenet(width=1 / 8)
parameters = list(net.parameters())
optimizer = optim.SGD(parameters, lr=0.02, momentum=0.9)


def network_loss():
    return minidl.cross_entropy(net(images), targets)


for step in range(30):
    optimizer.zero_grad()
    network_loss().backward()
    optimizer.step()

sharpness, direction = largest_eigenvalue(network_loss, parameters, iterations=20, tol=1e-3)
count = sum(p.numel() for p in parameters)
predict("How large is the Hessian of this network? And its largest eigenvalue: nearer to 0.1, to 10 or to 1,000?")
print(f"{count:,} parameters; the Hessian would have {count**2:,} entries")
print(f"largest eigenvalue {sharpness:.2f}")
print(f"plain descent is stable below a rate of {2 / sharpness:.3f}")

# %% [markdown]
# Is that number true? Go along the eigenvector, a little back and forth, and look at three losses. On top of the slope
# the loss should grow like `s/2 · d²`.

# %%
def loss_at(distance):
    for p, d in zip(parameters, direction):
        p.data[...] += distance * d.data
        p.bump_version()      # so that minidl knows that we wrote into it
    with minidl.no_grad():
        value = network_loss().item()
    for p, d in zip(parameters, direction):
        p.data[...] -= distance * d.data
        p.bump_version()
    return value


def curvature(far):
    return (loss_at(far) - 2 * loss_at(0) + loss_at(-far)) / far**2


more, _ = largest_eigenvalue(network_loss, parameters, iterations=40, tol=1e-4)
predict("The curvature along the eigenvector by three losses. Will it be the eigenvalue?")
print(f"by power iteration {sharpness:.2f}, with twice the rounds {more:.2f}")
for far in (0.02, 0.01, 0.005):
    print(f"by three losses, {far} apart: {curvature(far):.2f}")

# %% [markdown]
# Nearly: the rest is not for want of rounds. Perhaps it is the kinks of ReLU and max pooling: on the way from one place
# to the other some pixels cross one.
#
# ## The edge of stability
#
# Sharpness is no constant: it changes while a network learns. The small network below is trained by plain descent on 60
# digits, all at once in every step, at four rates. Each rate has its own limit, `2 / rate`. Every 25 steps the
# sharpness is computed.

# %%
X = minidl.tensor(scans[:60].reshape(60, 64) / 255.0)
T = minidl.tensor(np.eye(10)[labels[:60]])


def sharpness_on_the_way(rate, steps=400, every=25):
    rng = np.random.default_rng(0)
    shapes = (64, 16), (16, 10)
    drawn = [rng.standard_normal(shape) / shape[0] ** 0.5 / 2 for shape in shapes]
    weights = [minidl.tensor(array, requires_grad=True) for array in drawn]

    def loss():
        return (((X @ weights[0]).tanh() @ weights[1] - T) ** 2).sum() / 60

    found = []
    for step in range(steps + 1):
        if step % every == 0:
            found.append(largest_eigenvalue(loss, weights, iterations=30, tol=1e-2)[0])
        for w, g in zip(weights, minidl.grad(loss(), weights)):
            w.data[...] -= rate * g.data
            w.bump_version()
    return found


rates = (0.1, 0.15, 0.2, 0.3)
on_the_way = {rate: sharpness_on_the_way(rate) for rate in rates}
predict("Every run begins at the same weights, so at the same sharpness. Where does each one end?")
for rate, found in on_the_way.items():
    last = np.mean(found[-6:])
    words = f"rate {rate:<4}  begins at {found[0]:.1f}, ends around {last:4.1f}"
    print(f"{words}; 2 / rate is {2 / rate:4.1f}")

# %% tags=["hide-input"]
from minidl.tour.drawing import chart

curves = {f"rate {rate}": [(25 * k, value) for k, value in enumerate(found)] for rate, found in on_the_way.items()}
drawing = chart(curves, xlabel="step", ylabel="sharpness", height=260)
picture(
    drawing,
    """The sharpness over 400 steps for four learning rates. All begin at the same value; then each goes to a level of
    its own, near 2 divided by its rate, and stays there, swinging a little.""",
    "Each run settles near its own limit, `2 / rate`: 20, 13.3, 10 and 6.7.",
)

# %% [markdown]
# The limit is not a wall that training must keep away from. It is where training *goes*. Above the limit, the steps
# swing wider and wider along the steepest direction, until they have left the narrow place for a flatter one. Below it,
# the way down leads into narrower places. So the sharpness settles at the edge. It is called the *edge of stability*
# (Cohen and others, 2021), and it was found by what you have just done: power iteration during training. It also says
# why large rates find flat places.
#
# ## What you know now
#
# - `H v` is the gradient of `gradient · v`: a backward of a backward, without `H`.
# - Power iteration with it finds the sharpness. `2 / sharpness` bounds the learning rate.
# - Plain descent settles where the sharpness is `2 / rate`.
#
# ## Exercise
#
# Write the product of the Hessian with a vector for any function of one Tensor. Two calls of `minidl.grad` are enough.

# %%
def hessian_vector(f, x, v):
    """H v of f at x, a Tensor that requires grad; f(x) is one number."""
    ...


# %%
def check(hessian_vector):
    x = minidl.tensor([0.3, -0.7, 1.1], dtype="float64", requires_grad=True)
    v = minidl.tensor([1.0, 2.0, -1.0], dtype="float64")

    def f(x):
        return (x * x * x).sum() + (x[0] * x[1]).tanh()

    answer, h = hessian_vector(f, x, v), 1e-5
    assert answer is not None, "nothing was returned: fill the hole"
    up, down = ((x.detach() + s * h * v).requires_grad_() for s in (1, -1))
    slopes = [minidl.grad(f(place), place)[0].numpy() for place in (up, down)]
    right = (slopes[0] - slopes[1]) / (2 * h)
    found = answer.numpy()
    note = f"differences of the gradient give {right.round(6)}, you say {found.round(6)}"
    assert np.allclose(found, right, atol=1e-7), note


exercise(hessian_vector, check)
