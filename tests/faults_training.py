"""Seeded faults around the calculus: optimisers, schedules, clipping, averages, statistics, the order of the data."""

import contextlib
import math

import numpy as np
import test_averaging
import test_data_loader
import test_data_transforms as transformed
import test_fast_network as fast_network
import test_muon
import test_table_training as training
import test_training_crashes as crashes
import test_training_meaning as meaning
from faults import after, fast_form, fault, instead, plain_form, test_of

from minidl import optim
from minidl import training as training_room
from minidl.data import loader
from minidl.nn import functional
from minidl.nn import utils as _utils  # noqa: F401 (clipping stands there)
from minidl.ops import clipping
from minidl.data import AlternatingFlip, ImageFolder, splits
from minidl.data.catalogue import DataSplits
from minidl.nn import init
from minidl.optim import Lookahead, adam, lr_scheduler, muon, rmsprop, sgd
from minidl.training import TrainingState, atomic, identity, recipes, state


def optimiser(kernel, row, name, wrong, form=plain_form):
    """A fault in an optimiser's kernel that its row has to notice."""
    forms = "plain" if form is plain_form else "fast"
    fault(f"{kernel.plain.__name__} {forms}", name, form(kernel, wrong), test_of(training.test_optimiser, row, forms))


def decay_after_momentum(right, w, g, buffer, *, weight_decay, **o):
    before = w.copy()
    right(w, g, buffer, weight_decay=0, **o)
    w -= o["lr"] * weight_decay * before


def first_step_damped(right, w, g, buffer, *, first, **o):
    if first:
        buffer[...] = 0
    right(w, g, buffer, first=False, **o)


optimiser(sgd.sgd_update, "sgd momentum", "momentum before decay", decay_after_momentum)
optimiser(sgd.sgd_update, "sgd dampening", "dampening in the first step", first_step_damped)
optimiser(
    sgd.sgd_update,
    "sgd nesterov",
    "climbs where it should descend",
    lambda right, *a, **o: right(*a, **o | dict(maximize=False)),
)
optimiser(
    sgd.sgd_update,
    "sgd nesterov",
    "no look ahead",
    lambda right, *a, **o: right(*a, **o | dict(nesterov=False)),
    fast_form,
)
optimiser(
    sgd.sgd_update,
    "sgd momentum",
    "decay times the learning rate twice",
    lambda right, *a, **o: right(*a, **o | dict(weight_decay=o["weight_decay"] * o["lr"])),
    fast_form,
)


def adam_with(**changes):
    """Adam's kernel with some arguments changed by functions of all of them."""
    names = (
        "param grad exp_avg exp_avg_sq max_exp_avg_sq step lr beta1 beta2 eps weight_decay decoupled maximize".split()
    )

    def wrong(right, *a, **o):
        given = dict(zip(names, a)) | o
        return right(*[changes.get(name, lambda g, n=name: g[n])(given) for name in names])

    return wrong


optimiser(adam.adam_update, "adam", "bias correction missing", adam_with(step=lambda g: 10_000))
optimiser(adam.adam_update, "adam", "the step counted from 0", adam_with(step=lambda g: g["step"] + 1))
optimiser(
    adam.adam_update,
    "adam",
    "eps scaled with the correction",
    adam_with(eps=lambda g: g["eps"] * (1 - g["beta2"] ** g["step"]) ** 0.5),
)
optimiser(adam.adam_update, "adamw", "decay coupled to the gradient", adam_with(decoupled=lambda g: False), fast_form)
optimiser(
    adam.adam_update, "adam decay", "the largest average not kept", adam_with(max_exp_avg_sq=lambda g: None), fast_form
)
optimiser(
    adam.adam_update,
    "adam decay",
    "the two betas swapped",
    adam_with(beta1=lambda g: g["beta2"], beta2=lambda g: g["beta1"]),
)
optimiser(
    rmsprop.rmsprop_update,
    "rmsprop centered",
    "mean not subtracted",
    lambda right, w, g, square, mean, *a, **o: right(w, g, square, None, *a, **o),
)
optimiser(
    rmsprop.rmsprop_update,
    "rmsprop",
    "alpha and 1 - alpha swapped",
    lambda right, *a, **o: right(*a, **o | dict(alpha=1 - o["alpha"])),
    fast_form,
)


def schedule(name, words, wrong):
    """A fault in the formula of a schedule: ``wrong(right, schedule, epoch)``."""
    kind = getattr(lr_scheduler, name)
    fault(name, words, instead(kind, "multiplier", wrong), test_of(training.test_schedule, name))


schedule("StepLR", "one epoch early", lambda right, self, epoch: right(self, epoch + 1))
schedule("MultiStepLR", "one epoch late", lambda right, self, epoch: right(self, epoch - 1))
schedule("LinearLR", "one step too few", lambda right, self, epoch: right(self, epoch * 5 / 4))
schedule("PolynomialLR", "power forgotten", lambda right, self, epoch: right(self, epoch) ** 0.5)
schedule("ConstantLR", "until the last epoch included", lambda right, self, epoch: right(self, max(epoch - 1, 0)))
fault(
    "CosineAnnealingLR",
    "a whole cosine",
    instead(
        lr_scheduler.CosineAnnealingLR,
        "get_lr",
        lambda right, self: [b * (1 + math.cos(2 * math.pi * self.last_epoch / self.T_max)) / 2 for b in self.base_lrs],
    ),
    test_of(training.test_schedule, "CosineAnnealingLR"),
)
fault(
    "schedules",
    "rates of the group before",
    instead(lr_scheduler.ExponentialLR, "multiplier", lambda right, self, epoch: right(self, max(0, epoch - 1))),
    test_of(training.test_schedule, "ExponentialLR"),
)

fault(
    "clip_grad_norm_",
    "norm of the largest tensor only",
    instead(clipping, "_norm", lambda right, arrays, p: max(right([a], p) for a in arrays)),
    training.test_clipping_scales_all_gradients_by_their_common_norm,
)
fault(
    "BatchNorm2d",
    "biased running variance",
    instead(
        functional,
        "update_running",
        lambda right, m, v, mean, var, count, momentum: right(m, v, mean, var, 10**9, momentum),
    ),
    training.test_running_statistics,
)
fault(
    "BatchNorm2d",
    "momentum of the old and of the new swapped",
    instead(functional, "update_running", lambda right, *a: right(*a[:5], 1 - a[5])),
    training.test_running_statistics,
)
fault(
    "BatchNorm2d",
    "stale running statistics",
    instead(functional, "update_running", lambda right, *a: None),
    training.test_running_statistics,
)
fault(
    "ExponentialMovingAverage",
    "decay and 1 - decay swapped",
    after(optim.ExponentialMovingAverage, "weight", lambda w, self, n: np.where(n == 0, 1.0, 1 - w)),
    test_of(test_averaging.test_averages_equal_the_definition, "ema", "float64", 1e-12, False),
)
fault(
    "AveragedModel",
    "n in place of n + 1",
    after(optim.AveragedModel, "weight", lambda w, self, n: np.where(n == 0, 1.0, 1 / np.maximum(n, 1))),
    test_averaging.test_polyak_average_is_the_mean,
)

fault(
    "DataLoader",
    "the same order in every epoch",
    instead(loader, "permutation", lambda right, n, seed, epoch=0: right(n, seed, 0)),
    test_data_loader.test_order_is_a_function_of_seed_and_epoch,
)
fault(
    "DataLoader",
    "an image twice, another never",
    after(loader, "permutation", lambda order, *a: np.concatenate([order[:1], order[:-1]])),
    test_data_loader.test_order_is_a_function_of_seed_and_epoch,
)
def swapped(first, second, *rest):
    return [second, first, *rest]


fault(
    "DataLoader",
    "workers' batches in the order of their end",
    instead(
        loader.DataLoader, "_prefetched", lambda right, self, parts, epoch: right(self, swapped(*parts), epoch)
    ),
    test_of(test_data_loader.test_workers_do_not_change_a_bit, 2),
)
fault(
    "DataLoader",
    "the last batch dropped",
    after(loader.DataLoader, "__len__", lambda n, self: len(self.dataset) // self.batch_size),
    test_data_loader.test_lengths_and_drop_last,
)
fault(
    "DataLoader",
    "augmentation by place in the batch",
    instead(loader, "ImageRandom", lambda right, seed, epoch, indices: right(seed, epoch, np.arange(len(indices)))),
    test_data_loader.test_augmentation_belongs_to_the_image_not_to_its_batch,
)


# ---------------------------------------------------------------- what a run means


def run(words, inject, check):
    """A fault in the machinery of a run."""
    fault("run", words, inject, check)


resumed = meaning.test_a_run_broken_off_within_an_epoch_goes_on_with_everything_it_had
tested, chosen = (
    meaning.test_the_weights_tested_at_the_end_are_those_of_the_best_epoch,
    meaning.test_the_best_epoch_is_chosen_on_validation_accuracy_within_a_standard_error,
)


def last_weights(right, run, state, *rest):
    state.best_weights = state.model.state_dict()
    return right(run, state, *rest)


run("the last weights tested", instead(training_room, "finish", last_weights), tested)
run("the last epoch is always the best", instead(state, "as_good", lambda right, *a, **o: True), tested)
run("only a higher accuracy counts", instead(state, "as_good", lambda right, now, best, n: now >= best), chosen)
run(
    "chosen by training accuracy",
    instead(
        TrainingState,
        "finish_epoch",
        lambda right, self, entry, *a, **o: right(self, entry | {"val_accuracy": entry["train_accuracy"]}, *a, **o),
    ),
    chosen,
)
run(
    "validation with the newest weights",
    instead(TrainingState, "averaged", lambda right, self: contextlib.nullcontext()),
    meaning.test_validation_and_best_weights_are_those_of_the_average,
)
run(
    "validation images augmented",
    instead(DataSplits, "transform", lambda right, self, name="none": right(self, "strong")),
    meaning.test_images_to_validate_and_test_are_normalised_and_nothing_else,
)
run(
    "statistics over validation pictures too",
    instead(splits, "survey", lambda right, part: right(ImageFolder(part.root))),
    meaning.test_statistics_of_a_folder_are_those_of_its_training_part,
)
run(
    "a schedule one epoch too long",
    lambda monkeypatch: monkeypatch.setitem(
        recipes.SCHEDULES, "cosine", lambda optimizer, lr, steps, n: recipes._cosine(optimizer, lr, steps + n, n)
    ),
    test_of(meaning.check_rates, "cosine"),
)
run(
    "the digest of a sample of the pictures",
    instead(identity, "_unwrapped", lambda right, dataset: (right(dataset)[0], right(dataset)[1][::50])),
    meaning.test_the_data_digest_covers_every_pixel_label_and_their_order,
)


def slots_shifted(saved, *_):
    return saved | {"state": {number ^ 1: slots for number, slots in saved["state"].items()}}


run(
    "slots of the next parameter",
    after(optim.Optimizer, "state_dict", slots_shifted),
    meaning.test_slots_come_back_to_their_parameters_in_all_groups,
)


def not_loaded(owner, name):
    """A part of the state that a resumed run begins anew; nothing else in it notices."""
    return instead(owner, name, lambda right, self, *a, **o: None)


run("resumed at the first batch of the epoch", not_loaded(loader.DataLoader, "load_state_dict"), resumed)
run("resumed without the averaged weights", not_loaded(optim.AveragedModel, "load_state_dict"), resumed)
run("resumed with the schedule's beginning", not_loaded(lr_scheduler.LRScheduler, "load_state_dict"), resumed)
run("resumed without momentum", not_loaded(optim.Optimizer, "load_state_dict"), resumed)
run(
    "resumed with fresh random streams",
    instead(state.minidl, "set_rng_state", lambda right, saved: right(saved | {"uses": {}})),
    resumed,
)
run(
    "resumed without the sums of the epoch",
    instead(state.EpochMeter, "load_state_dict", lambda right, self, s: right(self, s | {"losses": 0 * s["losses"]})),
    resumed,
)
run(
    "a file written in place",
    instead(atomic, "write_bytes", lambda right, path, data: atomic._write_through(path, data)),
    crashes.test_a_file_is_the_old_one_or_the_new_one_wherever_its_writer_dies,
)

fault(
    "AlternatingFlip",
    "a coin is tossed in every epoch",
    instead(AlternatingFlip, "choose", lambda right, self, random: random.uniform(1)[:, 0] < self.p),
    transformed.test_an_alternating_flip_mirrors_each_image_in_every_other_epoch,
)
fault(
    "AlternatingFlip",
    "the numbers that move the images in the first epoch",
    instead(AlternatingFlip, "choose", lambda right, self, random: type(random)(
        random.seed, 0, random.indices[:, 0]).uniform(1)[:, 0] < 0.5),
    transformed.test_which_images_begin_mirrored_has_nothing_to_do_with_how_they_are_moved,
)  # fmt: skip
fault(
    "Lookahead",
    "the fast weights go their own way",
    instead(Lookahead, "_meet", lambda right, self, params: None),
    test_muon.test_lookahead_follows_its_formula,
)
fault(
    "Muon",
    "one Newton-Schulz step too few",
    instead(muon, "orthogonalised", lambda right, matrix, steps, *rest: right(matrix, steps - 1, *rest)),
    lambda: test_muon.test_muon_follows_its_formula(True, None),
)
fault(
    "whiten_",
    "divided by the variance, not by its root",
    instead(init, "_patch_covariance", lambda right, *a: right(*a) @ right(*a)),
    lambda: fast_network.test_whitened_answers_are_uncorrelated_and_have_variance_one(3, (2, 2)),
)
