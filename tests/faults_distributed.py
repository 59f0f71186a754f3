"""Faults in what shards and processes have in common."""

from contextlib import nullcontext
from functools import partial

import pytest
import test_distributed_group as groups
import test_distributed_nccl as gpus
import test_distributed_sync as sync
from faults import after, fault, instead

from minidl.distributed import Group, NCCLTransport, shards, strands
from minidl.distributed.tree import TreeSum
from minidl.ops import collective

in_step = sync.test_shards_in_step_have_the_gradient_and_the_statistics_of_the_whole_batch
second_order = sync.test_second_derivatives_go_through_the_statistics_of_all_shards



def gpus_answer():
    """A sum of two threads on the stand-in for NCCL."""
    with pytest.MonkeyPatch.context() as patch:
        gpus.tell_addresses(patch)
        gpus.test_a_sum_between_gpus_has_the_bits_of_the_tree(2)


def together(name, inject, check=in_step):
    """A fault of shards in step."""
    fault("shards in step", name, inject, check)


together("a loss reaches its own shard only", instead(collective.AllSum, "backward", lambda right, self, g: g))
together("second derivatives end at the statistics",
         instead(collective.AllSum, "backward", lambda right, self, g: right(self, g).detach()),
         second_order)  # fmt: skip
together("a sum of the shards after the first", instead(strands.TreeSum, "add", lambda right, self, array: right(
    self, array if self.waiting else 0 * array)))  # fmt: skip
together("running statistics move once for each shard",
         instead(shards._OwnState, "_exchange", lambda right, self, arrays: arrays))  # fmt: skip
together("shards draw from one stream", instead(shards._OwnState, "inside", lambda right, self: nullcontext()),
         sync.test_each_shard_in_step_draws_as_in_turn)  # fmt: skip
fault("SyncBatchNorm", "gradients of the first part only",
      instead(collective.Copies, "backward", lambda right, self, *g: g[0]),
      sync.test_its_derivatives_of_both_orders_are_right)  # fmt: skip


def in_turn(right, self, array):
    """One summand after the other, as the ranks come."""
    if self.waiting:
        self.waiting[0][1][...] += array
    else:
        self.waiting.append((0, array))


fault("sum over processes", "in the order of the ranks", instead(TreeSum, "add", in_turn),
      partial(groups.test_a_sum_over_processes_continues_the_tree_of_their_own_sums, 4))  # fmt: skip
fault("NCCL", "messages that begin one after the other",
      instead(NCCLTransport, "batch", lambda right, self: nullcontext()),
      gpus_answer)  # fmt: skip
fault("farewell", "one that has said that it goes on speaks too",
      after(Group, "answer_farewells", lambda nothing, group: group.answered.clear()),
      partial(groups.test_of_those_that_give_up_one_after_the_other_one_speaks, True))  # fmt: skip
