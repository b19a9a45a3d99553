from itertools import chain

import torch
from hypothesis import given
from hypothesis import strategies as st

from san.training.data_module import GlobalBatches, shuffled


def order_of(n_examples, seed):
    return None if seed is None else shuffled(n_examples, seed)


@given(st.integers(1, 23), st.integers(1, 7), st.integers(1, 5), st.none() | st.integers(0, 3), st.integers(0, 3))
def test_ranks_share_the_batches_of_one_process(n_examples, batch_size, world_size, seed, epoch):
    def batches(rank, world_size):
        sampler = GlobalBatches(n_examples, batch_size, order_of(n_examples, seed), rank, world_size)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)
        return [batch.tolist() for batch in sampler]

    alone = batches(0, 1)
    shares = [batches(rank, world_size) for rank in range(world_size)]
    for index, batch in enumerate(alone):
        assert sorted(batch) == sorted(chain.from_iterable(share[index] for share in shares))
    assert sorted(chain.from_iterable(alone)) == list(range(n_examples))


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = GlobalBatches(100, 100, order_of(100, seed), 0, 1)
        sampler.set_epoch(epoch)
        return next(iter(sampler)).tolist()

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert order(None, 3) == list(range(100))


def test_order_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    list(GlobalBatches(10, 2, shuffled(10, 0), 0, 1))
    assert torch.equal(state, torch.get_rng_state())
