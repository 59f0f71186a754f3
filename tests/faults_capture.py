"""Seeded faults in captured steps: memory, guards, arguments, what a replay puts back, machine code, the way out."""

import warnings
from functools import partial

import pytest
from faults import after, fault, instead, test_of

try:
    import test_capture as steps
    import test_capture_native as native_steps
    import test_capture_order as orders

    from numba import types

    import minidl
    from minidl.kernels.cpu.capture import accesses, arguments, guards, leaving, loops, native, recorder, records
    from minidl.kernels.cpu.capture import replays, work
    from minidl.kernels.cpu.capture.arena import Arena
    from minidl.kernels.cpu.capture.guards import Guards
    from minidl.kernels.cpu.capture.program import Stretch
    from minidl.kernels.cpu.capture.recorded import Recorded
    from minidl.kernels.cpu.capture.records import Record, Snapshot
    from minidl.kernels.cpu.machine import memory
except (ImportError, pytest.skip.Exception):
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


def passing_errors_over(right, self):
    """A stretch that ends where a row has raised an error."""
    rows, self.rows = self.rows, []
    try:
        right(self)
    finally:
        self.rows = rows


def without(name):
    """A record whose replays leave one kind of their work out."""

    def replay(right, self, arrays):
        kept = getattr(self, name)
        setattr(self, name, [])
        try:
            return right(self, arrays)
        finally:
            setattr(self, name, kept)

    return instead(Record, "replay", replay)


def blind(*names):
    """Guards that do not look at some kinds of places."""

    def lay_out(right, self, place):
        right(self, place)
        for name in names:
            getattr(self, name).clear()

    return instead(Guards, "_lay_out", lay_out)


def instead_of_choices(wrong):
    """Another way from choices to launches."""
    return lambda monkeypatch: monkeypatch.setitem(loops.LAUNCHES, work.Choice, wrong)


def warned(test, *arguments):
    """A test in which a refusal is a failure of its own."""

    def check():
        with warnings.catch_warnings():
            warnings.simplefilter("error", minidl.CaptureWarning)
            try:
                test(*arguments)
            except minidl.CaptureWarning as refusal:
                raise AssertionError(str(refusal)) from None

    return check


def faults():
    """The rows of the table."""
    fault(
        "capture cpu",
        "whatever changed outside, a record is replayed",
        instead(Guards, "changed", lambda right, self: None),
        steps.test_what_changes_from_outside_is_seen,
    )
    fault(
        "capture cpu",
        "rows after an error in a call are left out",
        instead(Stretch, "run", passing_errors_over),
        test_of(native_steps.test_statistics_that_are_not_finite_are_left_to_python, float("inf")),
    )
    fault(
        "capture cpu",
        "a sum adds its lines from the last to the first",
        after(work, "sum_of", lambda found, *a: found and (found[0], *found[:0:-1])),
        test_of(native_steps.test_the_work_of_numpy_has_the_same_bits, "sum over the first", "dense"),
    )
    faults_of_memory(), faults_of_lookups(), faults_of_replays(), faults_of_words(), faults_of_order()


def faults_of_order():
    """What rows read and write, and what they wait for."""
    silent = {name: (reads, "") for name, (reads, _) in accesses.KERNELS.items()}
    fault(
        "capture cpu",
        "kernels do not say what they write",
        lambda monkeypatch: monkeypatch.setattr(accesses, "KERNELS", silent),
        test_of(orders.test_rows_write_only_what_they_say, "cnn"),
    )
    fault(
        "capture cpu",
        "rows wait for nothing but barriers",
        instead(accesses.Log, "clashes", lambda right, self, access: set()),
        test_of(orders.test_any_order_that_rows_allow_has_the_same_bits, "mlp"),
    )
    fault(
        "capture cpu",
        "slices of the same pixels wait for each other",
        after(accesses, "_apart", lambda found, *a: found & False),
        orders.test_only_shared_memory_clashes,
    )
    fault(
        "capture cpu",
        "the address of a recorded array is taken for that of its numbers",
        lambda monkeypatch: monkeypatch.setattr(memory, "ndarray", object),
        orders.test_a_recorded_array_is_refused_by_kernels_after_the_recording,
    )


def faults_of_memory():
    """The arena, and the way out of it."""
    fault(
        "capture cpu",
        "memory is free again while an array in it lives",
        after(Arena, "empty", lambda found, *a: (found[0], None)),
        warned(steps.test_every_layer_is_replayed, "layer norm"),
    )
    fault(
        "capture cpu",
        "memory is not filled with NaN before the first replay",
        instead(records, "_poison", lambda right, recorder: None),
        steps.test_rows_that_do_nothing_are_found_though_the_input_is_the_same,
    )
    fault(
        "capture cpu",
        "an arena says that it has no size",
        lambda monkeypatch: monkeypatch.setattr(Arena, "size", property(lambda self: 0)),
        steps.test_calls_before_the_first_record_and_its_memory_are_as_asked,
    )
    fault(
        "capture cpu",
        "what a dropped record made stays in lists",
        instead(leaving, "_exchange", lambda right, holder, *a: None if type(holder) is list else right(holder, *a)),
        steps.test_recorded_arrays_leave_dicts_lists_and_slots,
    )
    fault(
        "capture cpu",
        "gradients stay recorded where a record is dropped",
        instead(replays, "leave", lambda right, recorder: None),
        test_of(steps.test_a_step_whose_state_is_not_found_runs_eagerly_to_the_same_bits, 0),
    )
    fault(
        "capture cpu",
        "gradients stay recorded where a step fails",
        instead(records, "leave", lambda right, recorder: None),
        steps.test_a_step_that_fails_leaves_no_recorded_array_in_what_is_not_found,
    )


def faults_of_lookups():
    """Guards, and the form of arguments."""
    another = partial(test_of, steps.test_a_number_that_is_replaced_is_another_record)
    fault("capture cpu", "cells are not looked at", blind("cells", "contents"), another("a cell"))
    fault("capture cpu", "attributes are not looked at", blind("homes", "names", "entries"), another("an object"))
    attributes = blind("objects", "attributes", "attributed")
    fault("capture cpu", "defaults are not looked at", attributes, another("a default"))
    fault("capture cpu", "slots are not looked at", attributes, another("an object with slots"))
    fault("capture cpu", "entries of lists are not looked at", blind("wholes", "lengths", "keys"), another("a list"))
    fault(
        "capture cpu",
        "values of dicts are not looked at",
        blind("dicts", "values"),
        steps.test_a_switch_to_evaluation_is_another_record,
    )
    fault(
        "capture cpu",
        "0.0 and -0.0 are the same in a guard",
        instead(guards, "_same_value", lambda right, found, kept: right(found, kept) or bool(found == kept)),
        another("an object"),
    )
    fault(
        "capture cpu",
        "0.0 and -0.0 are the same as arguments",
        after(arguments, "form_of", lambda found, value: (float, value) if type(value) is float else found),
        steps.test_arguments_are_known_by_name_and_to_the_bit,
    )
    fault(
        "capture cpu",
        "arguments are known by their order, not by name",
        instead(replays, "form_of", lambda right, value: (right(value[0]), *map(right, value[1].values()))),
        steps.test_arguments_are_known_by_name_and_to_the_bit,
    )
    fault(
        "capture cpu",
        "an argument with attributes is taken for a constant",
        instead(replays, "unfit", lambda right, leaves: None),
        test_of(steps.test_an_argument_that_may_change_is_refused, steps.InSlots),
    )
    fault(
        "capture cpu",
        "a record of one number of threads is replayed with another",
        after(replays, "_key", lambda found, *a: (*found[:2], *found[3:])),
        steps.test_another_number_of_threads_is_another_record,
    )
    fault(
        "capture cpu",
        "the first call is recorded, however many are to run eagerly",
        instead(replays.Replays, "__init__", lambda right, self, *a: right(self, *a[:3], 0, a[4])),
        steps.test_calls_before_the_first_record_and_its_memory_are_as_asked,
    )


def faults_of_replays():
    """What a replay reads anew, and what it leaves."""
    fault(
        "capture cpu", "a replay keeps its inputs", without("inputs"),
        steps.test_inference_follows_its_input_and_its_weights,
    )
    fault(
        "capture cpu", "a replay keeps its learning rate", without("rates"),
        steps.test_what_changes_from_outside_is_seen,
    )
    fault(
        "capture cpu",
        "a replay puts no gradients back",
        without("grads"),
        warned(steps.test_gradients_dropped_between_calls_are_put_back),
    )
    fault(
        "capture cpu",
        "a replay counts no change in place",
        without("versions"),
        steps.test_a_change_in_place_by_a_replay_is_seen_by_a_graph_from_before,
    )
    fault(
        "capture cpu",
        "all draws of a replay come from its first stream",
        instead(recorder, "_write_words", lambda right, *a: right(*a[:3], [a[3][0]] * len(a[3]), a[4])),
        steps.test_a_switch_to_evaluation_is_another_record,
    )
    fault(
        "capture cpu",
        "an audit does not compare",
        instead(records, "_difference", lambda right, *a: None),
        steps.test_an_audit_finds_a_row_that_does_something_else,
    )
    fault(
        "capture cpu",
        "a failed step is not taken back before it runs again",
        instead(Snapshot, "restore", lambda right, self: self.state.forget_what_is_new()),
        steps.test_a_step_that_fails_while_it_is_recorded_has_run_once,
    )
    fault(
        "capture cpu",
        "a recorded value becomes an index unnoticed",
        instead(Recorded, "__index__", lambda right, self: self.array.__index__()),
        test_of(steps.test_a_look_at_a_value_is_noted, "index"),
    )
    fault(
        "capture cpu",
        "an output that no operation computed is replayed",
        instead(recorder.Recorder, "refuse", lambda right, self, what, *a: "output" in what or right(self, what, *a)),
        steps.test_an_output_that_nothing_computed_is_refused,
    )


def faults_of_words():
    """Replays as machine code."""
    fault(
        "capture cpu",
        "a float32 argument has the word of a float64",
        instead(
            native, "words_of",
            lambda right, value, kind: right(value, types.float64 if kind == types.float32 else kind),
        ),
        warned(steps.test_every_layer_is_replayed, "dropout"),
    )
    fault(
        "capture cpu",
        "the last piece of a long line is left out",
        after(loops, "_cut", lambda found, *a: (max(1, found[0] - 1), found[1])),
        test_of(native_steps.test_large_arrays_are_shared_by_the_threads, 1),
    )
    fault(
        "capture cpu",
        "a choice takes the other array",
        instead_of_choices(lambda row, kept: loops._chosen(row._replace(x=row.y, y=row.x), kept)),
        test_of(native_steps.test_the_work_of_numpy_has_the_same_bits, "chosen", "dense"),
    )


if HAVE_NUMBA:
    faults()
