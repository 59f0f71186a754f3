# %% [markdown]
# # 94 % in ten minutes
#
# CIFAR-10 has 60,000 small photographs of ten kinds of things, 10,000 of them to test with. A person who tried named
# 94 % of a few hundred right (A. Karpathy, 2011). Networks have come to that in fewer and fewer epochs, by a list of
# small ideas. None of them is deep, and each is an answer to one question: *what does the network waste its first
# epochs on?*
#
# `python train.py --preset cifar10-fast` is that network in minidl, and the README says what it reaches. Here are the
# ideas one by one, each seen at work. (K. Jordan, arXiv 2404.00498, has them all, with what each is worth.)

# %%
import numpy as np

import minidl
from minidl import nn, optim
from minidl.nn import init
from minidl.tour import exercise, picture, predict, source

# %% [markdown]
# ## Begin with what is known of images
#
# scikit-learn brings two photographs. Neighbouring pixels of a photograph are nearly equal, and so are the three
# colours of a pixel. Cut them into windows of 2 x 2 pixels, 12 numbers each, and ask in which directions these vary.

# %%
from sklearn.datasets import load_sample_images

photographs = np.stack(load_sample_images().images)[:, ::2, ::2].astype(np.float32) / 255
photographs -= photographs.mean((0, 1, 2))
images = minidl.tensor(photographs.transpose(0, 3, 1, 2).copy())
windows = minidl.im2col(images, 2).numpy().astype(float)
variances, directions = np.linalg.eigh(windows.T @ windows / len(windows))
share = variances[::-1] / variances.sum()
predict("12 numbers. Which share of the variance lies in the first direction: a twelfth, a half, more than 80 %?")
print(f"first {share[0]:.0%}, second {share[1]:.1%}, last {share[-1]:.2%}")
first = directions[:, -1] / np.abs(directions[:, -1]).max()
print("first direction:", (first * np.sign(first[0])).round(1))

# %% [markdown]
# The first direction is the brightness of the whole window: all 12 numbers nearly alike. It drowns the edges and
# colours that tell a cat from a dog. Chapter 10 had a name for that: a bowl that is steep in one direction and flat in
# the others is badly *conditioned*, and the steep one limits the rate for all.
#
# *Whitening* divides each direction by its deviation. (`eps` keeps those of hardly any variance from being blown up.)
# The filters need no training, they are known before the first step. Each comes twice, with both signs, since a ReLU
# lets one sign through:

# %%
source(init.whiten_)
filters = init.whiten_(minidl.zeros(24, 3, 2, 2), images, eps=0.0)
answers = minidl.conv2d(images, filters).numpy().astype(float)
answers = answers.transpose(0, 2, 3, 1).reshape(-1, 24)[:, :12]      # the rest are negated
products = answers.T @ answers / len(answers)
predict("After this layer: how large is the mean square of each answer, and the mean product of two?")
print("mean squares", products.diagonal().round(2))
print(f"largest product of two {np.abs(np.triu(products, 1)).max():.0e}")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

drawing = Drawing()
kept = filters.numpy()[:12]
for k, one in enumerate(kept):
    tone = one / np.abs(one).max() * 0.5 + 0.5
    for row in range(2):
        for column in range(2):
            red, green, blue = (255 * tone[:, row, column]).astype(int)
            x, y = 92 * (k % 6) + 34 * column, 110 * (k // 6) + 34 * row
            drawing.parts.append(f'<rect x="{x}" y="{y}" width="34" height="34" fill="rgb({red},{green},{blue})"/>')
    drawing.box(92 * (k % 6), 110 * (k // 6), 68, 68)
    drawing.text(92 * (k % 6) + 34, 110 * (k // 6) + 84, f"{share[k]:.1%}", "s")
picture(
    drawing,
    "Twelve filters of 2 x 2 pixels in colour, in the order of their variance, each with its share: brightness, a flat "
    "colour, three edges, another flat colour, edges of colours.",
    "The filters, with the share of the variance in each direction: brightness, a colour, three edges, another colour, "
    "then edges of colours.",
)

# %% [markdown]
# ## Begin as the identity
#
# A random convolution mixes its input, and six of them mix it beyond recognition. Give half of the channels that
# arrive a filter each that passes them on, and only the other filters random numbers (`dirac_`). Now the last layer
# sees half of the channels unmixed, from the first step on.

# %%
def stack(dirac, layers=6, channels=16):
    """Convolutions of 8, then 16 channels, without anything between."""
    minidl.manual_seed(0)
    inputs = [8] + [channels] * (layers - 1)
    convs = [nn.Conv2d(C, channels, 3, padding=1, bias=False) for C in inputs]
    for conv in convs if dirac else ():
        init.dirac_(conv.weight.detach()[: conv.in_channels // 2])
    return nn.Sequential(*convs)


x = minidl.randn(4, 8, 12, 12)
found = {}
for dirac in (False, True):
    y = stack(dirac)(x).detach().numpy()
    one = x.numpy()[:, 0].ravel()
    found[dirac] = max(abs(np.corrcoef(one, y[:, k].ravel())[0, 1]) for k in range(16))
predict("How strongly does some channel after six layers correlate with the first channel of the input, in each?")
print(f"random {found[False]:.2f}, with an identity {found[True]:.2f}")

# %% [markdown]
# ## Steps that use all directions
#
# The gradient of a weight matrix is a sum over images, and images are alike. So a few directions of the matrix get
# nearly all of the step. In numbers: its *singular values*, the lengths of the axes of the ellipsoid that it makes of
# a ball.

# %%
from minidl.data import digits

scans, labels = digits.read(side=8)
X = minidl.tensor(scans.reshape(-1, 64).astype(np.float32) / 255 - 0.3)
T = minidl.tensor(labels)


def network():
    minidl.manual_seed(0)
    layers = nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    return nn.Sequential(*layers)


net = network()
minidl.cross_entropy(net(X[:500]), T[:500]).backward()
G = net[2].weight.grad.numpy().astype(float)
singular = np.linalg.svd(G, compute_uv=False)
predict("64 directions. How many of them share 90 % of the gradient's square?")
print(int((np.cumsum(singular**2) / (singular**2).sum() < 0.9).sum()) + 1)

# %% [markdown]
# *Muon* replaces the step by the orthogonal matrix nearest to it, in which all directions are equally long. A
# decomposition would be slow, but there is a trick made of products alone. If `X = P S Qᵀ`, then `X Xᵀ X = P S³ Qᵀ`:
# an odd polynomial of a matrix is that polynomial *of its singular values*. Choose one that lifts small values fast.
# Muon's,
#
#     3.4445 s - 4.775 s³ + 2.0315 s⁵
#
# lifts them by 3.4 in each step of a *Newton-Schulz* iteration. It does not settle at 1, but between 0.7 and 1.2,
# which is near enough. The length of a step then no longer depends on the gradient's: the learning rate alone sets it.

# %%
from minidl.optim.muon import orthogonalised

source(orthogonalised)
after = {f"{steps} steps": np.linalg.svd(orthogonalised(G, steps), compute_uv=False)
         for steps in (0, 2, 5)}
predict("After 5 steps: how many of the 64 are near 1?")
for name, values in after.items():
    near = ((values > 0.5) & (values < 1.3)).sum()
    print(f"{name}: first {values[0]:.2f}, 32nd {values[31]:.3f}, near 1: {near}")

# %% tags=["hide-input"]
from minidl.tour.drawing import chart

picture(
    chart({name: [(k + 1, v) for k, v in enumerate(values)] for name, values in after.items()},
          xlabel="singular values, from the largest", ylabel="size", height=200),
    "The singular values of the gradient in falling order. At first a few are large; after two steps more are, and "
    "after five most are of the order of 1.",
    "A few directions held the whole step. After five steps of three products some forty of the 64 are near 1. What "
    "was below a thousandth has not arrived yet.",
)

# %% [markdown]
# Does it pay? Two optimisers for the same network, each with the best of four learning rates, and the loss that they
# reach on the training images in the same number of steps.

# %%
def reached(optimizers_of, lr, epochs=4):
    net = network()
    optimizers = optimizers_of(net, lr)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for batch in rng.permutation(1400).reshape(-1, 100):
            loss = minidl.cross_entropy(net(X[batch]), T[batch])
            net.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
    return minidl.cross_entropy(net(X[:1400]), T[:1400]).item()


def with_sgd(net, lr):
    return [optim.SGD(net.parameters(), lr=lr, momentum=0.9)]


def with_muon(net, lr):
    """Muon for the hidden matrices, SGD for biases and for the last layer."""
    hidden = [net[0].weight, net[2].weight]
    others = [net[0].bias, net[2].bias, *net[4].parameters()]
    muon = optim.Muon(hidden, lr=lr, weight_decay=0.0)
    return [muon, optim.SGD(others, lr=0.1, momentum=0.9)]


sgd = min(reached(with_sgd, lr) for lr in (0.03, 0.1, 0.3, 1.0))
muon = min(reached(with_muon, lr) for lr in (0.003, 0.01, 0.03, 0.1))
predict("56 steps each. Whose loss is lower, and is it close?")
print(f"SGD {sgd:.3f}, Muon {muon:.3f}")

# %% [markdown]
# ## Look more than once
#
# A photograph and its mirror image show the same thing. So at the test show the network both, and shifted copies, and
# take the mean of the logits: that costs no training. And in training mirror each image in every other epoch
# (*alternating flip*), not by chance: so in two epochs the network sees each image both ways.

# %%
flips = np.random.default_rng(0).random((2, 50_000)) < 0.5
predict("Flips by chance: of 50,000 images, how many are seen the same way in two epochs?")
alternating = np.stack([flips[0], ~flips[0]])
for way, (one, other) in {"by chance": flips, "alternating": alternating}.items():
    print(f"{way}: {(one == other).mean():.0%}")

# %% [markdown]
# ## What you know now
#
# - Whiten what is known, begin as the identity: the first steps need not find out that images are images.
# - A gradient has a few long directions. Made orthogonal, a step uses all.
# - Every idea has a price and a gain; `python -m benchmarks ablation` measures those of this network.
#
# ## Exercise
#
# Write `orthogonal` with the simplest such polynomial, `1.5 s - 0.5 s³`: it leaves 1 where it is, and lifts what is
# below. Divide by the Frobenius norm first, so that no singular value is above 1, and use products of matrices only.

# %%
def orthogonal(G, steps=30):
    """The orthogonal matrix nearest to G, of shape (n, n)."""
    ...


# %%
def check(orthogonal):
    G = np.random.default_rng(1).standard_normal((8, 8))
    X = orthogonal(G)
    assert X is not None, "nothing was returned: fill the hole"
    P, _, Q = np.linalg.svd(G)
    values = np.linalg.svd(X, compute_uv=False)
    note = f"singular values from {values.min():.3g} to {values.max():.3g}, not 1"
    assert values.max() < 1.01, f"{note}: the norm? X Xᵀ X, or each element cubed?"
    assert values.min() > 0.99, f"{note}: 1.5 X - 0.5 X Xᵀ X?"
    assert np.allclose(X, P @ Q, atol=0.02), "orthogonal, but not the nearest to G"


exercise(orthogonal, check)
