# %% [markdown]
# # A derivative you can check
#
# A network learns by one question, asked a million times: *if I change this number a little, what happens to the
# error?* The answer is a derivative. Everything in this book computes derivatives, or computes them faster. So we begin
# with a way to know that one is right.
#
# Take the function `f(x) = x³`. School says that its derivative is `3 x²`. At `x = 2` that is 12. It means: move `x` by
# a small `h`, and `f` moves by about `12 h`.

# %%
from minidl.tour import exercise, picture, predict, say, source


def f(x):
    return x**3


x, slope = 2.0, 12.0
predict("x moves from 2 to 2.01. By how much does f move? Say a number before you look.")
print("f moves by        ", f(2.01) - f(2.0))
print("the slope promised", slope * 0.01)

# %% [markdown]
# Nearly, but not quite. The rest is the curve bending away from its tangent. Halve the step, and the rest falls to a
# quarter: it is of the order of `h²`. That is the definition at work. Write `df/dx` for the slope of `f` at `x`:
#
#     f(x + h) = f(x) + df/dx h + something of the order of h²
#
# Turn it around, and a computer can *measure* a slope, for any function, without knowing a rule of calculus:
#
#     df/dx  ≈  (f(x + h) - f(x)) / h
#
# What should `h` be? Smaller is better, says the formula.

# %%
def forward_difference(f, x, h):
    return (f(x + h) - f(x)) / h


predict("h shrinks from 1e-1 to 1e-15, by a factor of 100 each time. Does the error shrink all the way?")
for k in range(1, 16, 2):
    measured = forward_difference(f, x, 10.0**-k)
    print(f"h = 1e-{k:<2}   {measured:.12f}   error {abs(measured - slope):.1e}")

# %% [markdown]
# It shrinks, and then it grows again. Two errors are at work. The first is the bend of the curve, of the order of `h`.
# The second is rounding. A float64 holds about 16 digits, so `f(x + h)` is wrong by about `1e-16 · f(x)`, and dividing
# by `h` blows that up to `1e-16 / h`. When `h` is tiny, the two values of `f` agree in nearly all their digits. The
# subtraction cancels what they share, and leaves the rounding.
#
# There is a better way to spend two evaluations: step to both sides.
#
#     df/dx  ≈  (f(x + h) - f(x - h)) / 2h
#
# The bend pushes both values of `f` the same way, so it cancels. What remains is of the order of `h²`.

# %%
def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


predict("How much better is the best central difference than the best one-sided one: 3 times, 30, or more than 300?")
steps = [10.0 ** (-k / 2) for k in range(2, 31)]
one_sided = [(h, abs(forward_difference(f, x, h) - slope)) for h in steps]
central = [(h, abs(central_difference(f, x, h) - slope)) for h in steps]
best_one = min(one_sided, key=lambda point: point[1])
best_two = min(central, key=lambda point: point[1])
print(f"one-sided: error {best_one[1]:.1e} at h = {best_one[0]:.0e}")
print(f"central:   error {best_two[1]:.1e} at h = {best_two[0]:.0e}")

# %% tags=["hide-input"]
import math

from minidl.tour.drawing import chart

picture(
    chart({"one-sided": one_sided, "central": central}, logx=True, logy=True, xlabel="step h", ylabel="error"),
    """Error of two measured slopes over the step, both axes logarithmic. From right to left both fall in a straight
    line, the central difference twice as steeply; then rounding takes over and both rise again, the smaller h is.""",
    "Read it from right to left. The bend of the curve falls with `h` (one-sided) or `h²` (central). Rounding rises as "
    "`1/h`. The best step is where they meet.",
)
say(f"""
    The best central difference is {best_one[1] / best_two[1]:,.0f} times better than the best one-sided one. It gives
    {-math.log10(best_two[1] / slope):.0f} correct digits. That is no luck: **when a derivative
    agrees with differences in ten digits, it is almost certainly right at this point.**
    """)

# %% [markdown]
# ## A checker
#
# That is a test for any derivative, however it was written. minidl has it as `check_gradients`. It takes any function,
# asks minidl for the derivative, measures it by differences, and compares. Here it meets `tanh`.

# %%
import numpy as np

import minidl
from minidl import check_gradients

print(check_gradients(minidl.tanh, np.array([0.5, -1.0])))

# %% [markdown]
# Every line of the table is another way to be wrong. Ignore all but 'direction' and 'Taylor' for now. *Direction*
# compares the slope along a random direction with a central difference. *Taylor* does not compare two slopes: it asks
# whether the rest after the tangent really falls as `h²`, as we saw above. And look at the second order: the checker
# differentiates the derivative and checks that, too. Chapter 11 needs it.
#
# Now break something on purpose. A function with its derivative is a class with `forward` and `backward` here. The
# argument `grad` will be explained in chapter 3; for now, multiply by it.

# %%
class WrongCube(minidl.Function):
    def forward(self, x):
        self.save_for_backward(x)
        return x**3

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * 2 * x**2  # a slip: 3 became 2


predict("What could a checker tell you about this slip, beyond 'wrong'?")
report = check_gradients(WrongCube, np.array([0.5, 2.0]), raise_exception=False)
print(report.failures[0])

# %% [markdown]
# It names the worst place and both values there, and the *ratio*: 2/3 everywhere, so a factor is wrong, not an index or
# a sign. This is how a professional finds the slip in minutes.
#
# ## What you know now
#
# - A derivative is a promise: move `x` by `h`, and `f` moves by `df/dx h`, up to a rest of the order of `h²`.
# - A central difference measures it to about ten digits; its best step is where bend and rounding meet.
# - So no derivative in this book has to be believed.
#
# ## Exercise
#
# Softplus, `log(1 + exp(x))`, is a smooth ramp. Write its derivative, and let the differences judge. The checker speaks
# under the hole; its hints are what you have just learnt to read.

# %%
def softplus_slope(x):
    """The derivative of log(1 + exp(x)) at x, a number."""
    ...


# %%
def check(softplus_slope):
    for x in (-2.0, 0.0, 0.7, 3.0):
        measured = central_difference(lambda x: np.log1p(np.exp(x)), x, 1e-5)
        said = softplus_slope(x)
        assert said is not None, "softplus_slope returned nothing: fill the hole"
        note = f"at x = {x} the difference measures {measured:.6f}, you say {said:.6f}"
        assert abs(said - measured) < 1e-7, f"{note}; ratio {said / measured:.4f}"


exercise(softplus_slope, check)
