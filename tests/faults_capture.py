"""Seeded faults in captured steps: memory, guards, arguments, what a replay puts back, machine code, the way out."""

import types as python_types
import warnings
from functools import partial

import numpy as np
import pytest
from faults import after, fault, instead, test_of

try:
    import test_capture as steps
    import test_capture_gradients as gradients
    import test_capture_native as native_steps
    import test_capture_objects as objects
    import test_capture_order as orders
    import test_capture_refusals as refusals

    from numba import types

    import minidl
    from minidl.kernels.cpu.capture import accesses, arguments, guards, leaving, loops, native, recorder, records
    from minidl.kernels.cpu.capture import replays, state, tensors, work
    from minidl.kernels.cpu.capture.arena import Arena
    from minidl.kernels.cpu.capture.guards import Guards
    from minidl.kernels.cpu.capture.program import Stretch
    from minidl.kernels.cpu.capture.recorded import Recorded
    from minidl.kernels.cpu.capture.records import Record, Snapshot
    from minidl.kernels.cpu.capture.state import State
    from minidl.optim import muon
    from minidl.kernels.cpu.machine import memory
except (ImportError, pytest.skip.Exception):
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


class Ended(list):
    """Rows after which there are none."""

    def __getitem__(self, place):
        return [] if isinstance(place, slice) else super().__getitem__(place)


def passing_errors_over(right, self):
    """A stretch that ends where a row has raised an error."""
    rows, self.rows = self.rows, Ended(self.rows)
    try:
        right(self)
    finally:
        self.rows = rows


def refused_by_kernels(test, *args):
    """A check that may also be noticed by a kernel, which reads no recorded array of another recording."""

    def check():
        try:
            test(*args)
        except TypeError as error:
            raise AssertionError(str(error)) from error

    return check


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
    faults_of_objects(), faults_of_first_calls(), faults_of_memory()
    faults_of_lookups(), faults_of_replays(), faults_of_words(), faults_of_order()
    faults_of_gradients(), faults_of_types(), faults_of_refusals()


def faults_of_types():
    """What is known of an argument's type."""
    found = native_steps.test_arguments_have_the_types_that_numba_finds
    for what, change in {
        "an array is taken for one that may be written": lambda x: x.copy("K"),
        "an array is taken for a dense one": np.ascontiguousarray,
    }.items():
        wrong = lambda right, x, change=change: right(change(x) if isinstance(x, np.ndarray) else x)  # noqa: E731
        fault("capture cpu", what, instead(native_steps, "kind_of", wrong), found)


def faults_of_gradients():
    """What eager steps between replays leave."""
    Guard, known = tensors.Guard, gradients.test_a_gradient_that_others_know_changes_where_they_look
    smaller = test_of(gradients.test_smaller_batches_in_between_need_no_other_record, 6, False)
    fault("capture cpu", "a gradient stays in another array", instead(Guard, "move", lambda *_: None), smaller)
    fault("capture cpu", "other arrays need another record", instead(Guard, "_may_move", lambda *_: False), smaller)
    for what in gradients.KNOWN:
        moved = instead(tensors, "is_own_gradient", lambda right, tensor: tensors.gradient_of(tensor) is not None)
        fault("capture cpu", f"a gradient is moved though others know {what}", moved, test_of(known, 6, what))
    rare = test_of(steps.test_a_rare_kind_of_call_runs_eagerly_where_calls_are_counted, 20, 1)
    fault("capture cpu", "rare kinds are recorded", lambda patch: patch.setattr(replays, "SELDOM", 1000), rare)
    shared = instead(Guard, "of", lambda right, tensor: right(tensor)._replace(is_own=True))
    test = gradients.test_gradients_that_shared_an_array_are_not_moved_into_it
    fault("capture cpu", "gradients are moved into an array that they shared", shared, test)


def faults_of_objects():
    """What the walk from a step finds."""
    seen = partial(test_of, objects.test_a_number_anywhere_is_seen_to_change)
    refused = partial(test_of, objects.test_what_may_change_unseen_is_refused)
    fault("capture cpu", "classes are not looked at", blind("classes", "definitions"), seen("a method"))
    attributes = blind("objects", "attributes", "attributed")
    fault("capture cpu", "functions are not looked at", attributes, seen("a function's defaults"))
    fault(
        "capture cpu",
        "an attribute that hides its class's is not looked for",
        instead(State, "_follow", lambda right, self, names, name, path, stored: right(self, names, name, path, False)),
        seen("an instance that hides its class"),
    )
    fault(
        "capture cpu",
        "attributes of Python's own objects are followed where the step names them only",
        instead(state, "has_own_code", lambda right, kind: kind.__module__.startswith("minidl") and right(kind)),
        seen("an event"),
    )
    fault(
        "capture cpu",
        "every object shows its changes",
        instead(state, "is_opaque", lambda right, value: False),
        refused("draws"),
    )
    fault(
        "capture cpu",
        "an array in a cell is a constant",
        instead(state, "Cell", lambda right, cell: python_types.MappingProxyType({})),
        refused("an array"),
    )
    fault(
        "capture cpu",
        "NumPy's draws are not seen",
        instead(records, "_numpy_draws", lambda right: 0),
        refused("NumPy's draws"),
    )


def faults_of_first_calls():
    """The call that is recorded, and arguments that lie in the memory of a record."""
    fault(
        "capture cpu",
        "a change of an argument in place is lost",
        instead(records, "_note_changed_inputs", lambda right, *a: None),
        test_of(objects.test_a_change_of_arguments_in_place_is_made_once, "an argument", False),
    )
    fault(
        "capture cpu",
        "a part of an argument is an argument of its own",
        lambda monkeypatch: monkeypatch.setattr(Record, "has_strayed", never, False),
        test_of(objects.test_a_change_of_arguments_in_place_is_made_once, "a part of another", False),
    )
    fault(
        "capture cpu",
        "arguments are copied one after the other",
        instead(records, "_share", lambda right, *a: False),
        objects.test_outputs_may_be_the_next_arguments_in_any_order,
    )
    fault(
        "capture cpu",
        "a rate that the step changes is put back",
        instead(records.Rates, "__exit__", keeping_no_note),
        objects.test_a_schedule_within_the_step_is_stepped_once_a_call,
    )
    fault(
        "capture cpu",
        "Python objects are not put back before a step runs again",
        instead(State, "put_back", lambda right, self: None),
        objects.test_a_schedule_within_the_step_is_stepped_once_a_call,
    )
    fault(
        "capture cpu",
        "the rate that a step reads is an array",
        instead(State, "_read_code", reading_no_rates),
        objects.test_a_rate_that_the_step_reads_is_the_number_that_it_is,
    )
    fault(
        "capture cpu",
        "outputs of any type are replayed",
        instead(recorder.Recorder, "refuse", passing_outputs_over),
        test_of(objects.test_outputs_of_other_types_are_refused_and_hold_plain_arrays, "Pair"),
    )
    fault(
        "capture cpu",
        "the rate of Muon is rounded before its factors",
        instead(muon, "scalar", rounded_before),
        warned(objects.test_muon_within_a_joint_optimiser_has_the_bits_of_eager_steps),
    )


never = property(lambda self: False, lambda self, value: None)  # an attribute that is always False


def passing_outputs_over(right, self, what, *line):
    """A recorder to which all outputs are the same."""
    return None if "output of type" in what else right(self, what, *line)


def rounded_before(right, value, like):
    """An array of a product that was rounded once more than the number."""
    return value if type(value) is float else right(right(value, like) * 3, like) / 3


def keeping_no_note(right, self, *exception):
    """The end of a recording after which no rate has changed."""
    right(self, *exception)
    self.have_changed = False


def reading_no_rates(right, self, *args):
    """A walk that does not look for the word of a learning rate."""
    right(self, *args)
    self._reads_rates = False


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
        refused_by_kernels(steps.test_a_step_whose_state_is_not_found_runs_eagerly_to_the_same_bits, 0),
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
        instead(Snapshot, "restore", lambda right, self: self.state.put_back()),
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


def faults_of_refusals():
    """What no row can express, passed over."""
    fault(
        "capture cpu",
        "an array that the step makes is filled at the recording only",
        instead(recorder.Recorder, "_check_target", lambda right, self, target, name: None),
        test_of(refusals.test_what_no_row_can_express_is_refused, "add"),
    )
    fault(
        "capture cpu",
        "a shape that depends on values is that of the recording",
        lambda monkeypatch: monkeypatch.setattr(recorder, "SHAPED_BY_VALUES", frozenset()),
        test_of(refusals.test_what_no_row_can_express_is_refused, "argwhere"),
    )
    fault(
        "capture cpu",
        "a decision by values is that of the recording",
        lambda monkeypatch: monkeypatch.setattr(recorder, "DESCRIPTIONS", recorder.DESCRIPTIONS | {"allclose"}),
        test_of(refusals.test_what_no_row_can_express_is_refused, "allclose"),
    )
    fault(
        "capture cpu",
        "a function that changes an array in place has no row",
        instead(
            recorder.Recorder, "_numpy", lambda right, self, name, *a, **o: name == "fill" or right(self, name, *a, **o)
        ),
        test_of(refusals.test_what_looks_like_them_and_has_rows_is_replayed, "filled"),
    )


if HAVE_NUMBA:
    faults()
