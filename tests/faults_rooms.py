"""Seeded faults in what stands around training: shards, evaluation, captured steps, the page's doors, rare branches.

And in the checkers: one that accepts more, or compares less, has to fail its own tests.
"""

import copy
import importlib.util
import sys

import numpy as np
import test_distributed_group as groups
import test_evaluation as evaluating
import test_gradcheck as checking
import test_special_values as special
import test_training_branches as branches
import test_training_meaning as meaning
import test_training_metrics as metering
from faults import after, fast_form, fault, instead, test_of

from minidl import optim
from minidl.distributed import sampler, shards, tree
from minidl.gradcheck import differences, values
from minidl.ops import max_pooling, reduction
from minidl.optim import adam, updates
from minidl.training import TrainingState, atomic, checkpoint, facts, identity, info, metrics, settings, signals, state

HAVE_NUMBA, HAVE_STARLETTE = (importlib.util.find_spec(name) is not None for name in ("numba", "starlette"))
census, cost = (sys.modules[f"minidl.evaluation.{name}"] for name in ("census", "cost"))

# ---------------------------------------------------------------- shards of a batch


def last_only(right, self):
    total = right(self)
    total[:-1] = 0
    return total


def group(words, inject, check):
    """A fault in training by several processes."""
    fault("shards", words, inject, check)


whole_batch = groups.test_the_gradient_of_shards_is_that_of_the_batch
group(
    "all shards count alike",
    instead(shards.ShardedStep, "_weighted", lambda right, self, g, weight, b, size: right(self, g, 1, b, 1)),
    whole_batch,
)
group("the last shard's gradient only", instead(tree.TreeSum, "result", last_only), whole_batch)
group(
    "statistics not weighted by images",
    instead(shards.ShardedStep, "_weighted", lambda right, self, g, weight, b, size: right(self, g, weight, b, 1)),
    groups.test_running_statistics_move_towards_the_mean_of_the_shards,
)
group(
    "all shards draw from one stream",
    instead(shards.random, "use_shard", lambda right, number: None),
    groups.test_each_shard_draws_from_streams_of_its_own_and_a_step_counts_once,
)
group(
    "a broken step leaves its shard's stream",
    instead(shards.random, "use_shard", lambda right, number: right(number) if number else None),
    groups.test_a_step_that_is_broken_off_leaves_the_streams_of_whole_batches,
)
group(
    "the same part in every epoch",
    instead(sampler, "permutation", lambda right, n, seed, epoch=0: right(n, seed, 0)),
    test_of(groups.test_a_sampler_shares_the_data_out_anew_in_each_epoch, False),
)
group(
    "shards not taken back",
    instead(metrics.EpochMeter, "put", lambda right, self, loss, correct, size, lr: right(self, loss, correct, 1, lr)),
    branches.test_a_step_taken_back_and_put_together_counts_once,
)

# ---------------------------------------------------------------- evaluation


def evaluation(words, inject, check):
    """A fault in the figures of a trained network."""
    fault("evaluation", words, inject, check)


evaluation("intervals of 80 %",
           instead(evaluating, "interval", lambda right, v: [float(q) for q in np.quantile(v, [0.1, 0.9])]),
           evaluating.test_the_bootstrap_covers_the_truth_as_often_as_it_says)  # fmt: skip
evaluation("of equal ones the higher class", instead(evaluating, "top_k", lambda right, labels, p, k: right(
    np.asarray(p).shape[1] - 1 - np.asarray(labels), np.asarray(p)[:, ::-1], k)),
           evaluating.test_ties_go_to_the_lower_class)  # fmt: skip
evaluation("bins not weighted by images", after(evaluating, "calibration", lambda r, *a, **o: r | {
    "ece": float(np.mean([abs(b["accuracy"] - b["confidence"]) for b in r["bins"]]))}),
    evaluating.test_calibration_against_counting)  # fmt: skip
evaluation(
    "p-values by Bonferroni, above 1", instead(evaluating, "holm", lambda right, p: [len(p) * x for x in p]),
    evaluating.test_holm_against_its_definition,
)
evaluation("pictures without contrast alike",
           instead(census, "_vectors", lambda right, images: np.ones((len(images), 1))),
           evaluating.test_images_without_contrast_are_no_duplicates)  # fmt: skip
evaluation("views kept as memory of their own", instead(cost, "_root", lambda right, array: array),
           evaluating.test_a_view_costs_nothing)  # fmt: skip

# ---------------------------------------------------------------- what a run means, once more


def run(words, inject, check):
    """A fault in the machinery of a run."""
    fault("run", words, inject, check)


class Aliased(np.ndarray):
    """An array whose copy is itself."""

    def copy(self, *_):
        return self


def by_training_loss(right, self, entry, *rest, **options):
    return right(self, entry | {"val_loss": entry["train_loss"]}, *rest, **options)


def at_every_step(right, self):
    right(self)
    self.schedule.step(9.0)


def every_other(right, self):
    self.turn = not getattr(self, "turn", False)
    if self.turn:
        right(self)


def of_one_image(right, self, *figures):
    right(self, *figures)
    self.sizes[-1] = 1


def without_labels(right, dataset):
    dataset = copy.copy(dataset)
    dataset.labels = 0 * dataset.labels
    return right(dataset)


plateau = branches.test_the_validation_loss_moves_a_plateau_schedule_once_an_epoch
digest = meaning.test_the_data_digest_covers_every_pixel_label_and_their_order
said = branches.test_memory_that_is_not_there_and_ctrl_c_are_one_line_each
run(
    "best weights not copied", after(state, "on_cpu", lambda r, *a: np.asarray(r).view(Aliased)),
    branches.test_the_best_weights_are_a_copy,
)
run("a plateau schedule moved by the training loss", instead(TrainingState, "finish_epoch", by_training_loss), plateau)
run(
    "entries without validation pass in every run",
    instead(facts, "_check_history", lambda right, found, validated: right(found, False)),
    meaning.test_an_entry_has_validation_where_the_run_has,
)
run("a plateau schedule moved at every step", instead(TrainingState, "after_step", at_every_step), plateau)
run("the average takes in every other step", instead(optim.AveragedModel, "update_parameters", every_other),
    branches.test_the_average_takes_in_the_weights_after_every_step)  # fmt: skip
run(
    "batches weighed alike", instead(metrics.EpochMeter, "add", of_one_image),
    metering.test_meter_weighs_batches_by_size,
)
run("a step put together weighed as one image", instead(metrics.EpochMeter, "put", of_one_image),
    branches.test_a_step_taken_back_and_put_together_counts_once)  # fmt: skip
run("the labels not in the digest", instead(identity, "_fingerprint", without_labels), digest)
run("numbers of any size are taken", lambda patch: patch.setattr(facts, "abs", lambda value: 0, raising=False),
    branches.test_a_number_that_no_float_can_hold_is_refused)  # fmt: skip
run("saved settings not looked at", instead(settings, "_check_saved", lambda right, *a: None),
    branches.test_a_saved_setting_out_of_range_and_one_that_is_not_known_are_refused)  # fmt: skip
run("a folder without a checkpoint resumed", instead(checkpoint, "newest", lambda right, path: ["one"]),
    branches.test_folders_that_no_run_can_have_are_refused)  # fmt: skip
run("an interrupted save leaves its file",
    instead(atomic.os, "unlink", lambda right, *path, **o: right(*path, **o) if o else None),
    branches.test_ctrl_c_in_a_save_leaves_the_old_file_and_no_other)  # fmt: skip
run("a full disk is written to for ever",
    instead(atomic, "_write_through", lambda right, path, data: open(path, "wb").close()),
    branches.test_a_disk_that_takes_no_more_bytes_is_an_error_with_the_path_and_leaves_no_file)  # fmt: skip
run(
    "plain forms called fast", instead(info, "kernels", lambda right: {"kernels": "fast"}),
    branches.test_what_is_said_of_kernels_and_devices,
)
run("a signal of another process forgotten", instead(signals, "ask", lambda right, number: None),
    branches.test_a_signal_that_another_process_had_is_one_of_this)  # fmt: skip
run(
    "Ctrl-C called a usage error",
    instead(settings, "fail", lambda right, message, program=None, status=2: right(message, program)), said,
)

# ---------------------------------------------------------------- special values, and the checkers


def finite(right, *arguments, **options):
    result = right(*arguments, **options)
    return tuple(map(np.nan_to_num, result)) if isinstance(result, tuple) else np.nan_to_num(result)


def without_nan(right, param, grad, *rest, **options):
    return right(param, np.nan_to_num(grad), *rest, **options)


def survey(kernel, name, words, wrong):
    """A fault in a faster form that only special values show."""
    check = test_of(special.test_forms_agree_on_special_values, name, "float32")
    fault(f"{kernel.plain.__name__} cpu", words, fast_form(kernel, wrong), check)


if HAVE_NUMBA:
    survey(reduction.sum_forward, "sum", "infinities become finite", finite)
    survey(max_pooling.max_pool2d_values, "max_pool2d without gradient", "NaN becomes a number", finite)
    survey(adam.adam_update, "Adam", "a NaN gradient is passed over", without_nan)
    survey(updates.lerp, "lerp", "a NaN weight is passed over", without_nan)


def strides():
    """Faults in the gradient to the input where most places are reached by no window."""
    import test_kernels_convolution as convolutions

    from minidl.kernels.cpu.convolution import direct

    check = convolutions.test_a_stride_beyond_the_window_costs_no_more_than_the_zeros_between
    fault(
        "conv2d_input_grad cpu", "a reached phase is left out",
        after(direct, "phases", lambda r, *a: r[:2] if a[2] > 3 else r), check,
    )
    fault("conv2d_input_grad cpu", "places between windows not written",
          lambda patch: patch.setattr(direct, "min", lambda *a: 0, raising=False), check)


if HAVE_NUMBA:
    strides()


def checker(words, inject, check):
    """A fault in the gradient checker, or in a comparison of the tests."""
    fault("checker", words, inject, check)


def caught(name):
    return test_of(checking.test_a_fault_is_caught_and_named, name)


checker(
    "special values: no kinds compared", instead(special, "unlike", lambda right, a, b: None),
    special.test_every_difference_is_needed,
)
checker("kinks are smooth", instead(values, "kink", lambda right, *a: 0.0), caught("kink of relu"))
checker(
    "every estimate agrees", instead(differences, "richardson", lambda right, phi, h: (np.nan, 0.0)), caught("half")
)
checker(
    "declared zeros are not looked at", instead(values, "_check_zero", lambda right, *a: None),
    checking.test_declared_zeros_are_held_to,
)

# ---------------------------------------------------------------- the page's doors


def doors():
    """Faults in the application that answers on this machine."""
    import test_serve

    from minidl.serve import answers, application

    def door(words, inject, check, *arguments):
        fault("serve", words, inject, lambda: check(_app(test_serve), *arguments))

    picture = test_serve.drawn()
    door("other pages may ask", instead(application, "_same_origin", lambda right, request: None),
         test_serve.test_bodies_that_are_refused, picture, *test_serve.REFUSED[-1])  # fmt: skip
    door("bodies of any size", lambda patch: patch.setattr(application, "MAX_BODY", 1 << 40),
         test_serve.test_bodies_that_are_refused, picture, *test_serve.REFUSED[6])  # fmt: skip
    door("other hosts may ask", lambda patch: patch.setattr(application, "HOSTS", ["*"]),
         test_serve.test_other_methods_and_hosts_are_refused, picture)  # fmt: skip
    door("scripts from elsewhere",
         lambda patch: patch.setitem(application.HEADERS, "Content-Security-Policy", "default-src *"),
         test_serve.test_the_page_needs_nothing_from_elsewhere)  # fmt: skip
    door("probabilities of half the logits", instead(answers, "_softmax", lambda right, logits: right(logits / 2)),
         lambda app: test_serve.test_the_answer_is_the_networks(app, test_serve.network(), picture))  # fmt: skip


def _app(test_serve):
    return test_serve.doors.application(test_serve.Answerer(test_serve.network()))


if HAVE_STARLETTE:
    doors()
