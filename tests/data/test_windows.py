"""Batches within windows: each example once an epoch, neighbours together, known by number."""

import pickle

import numpy as np
import pytest

from speechllm.data.windows import WindowSampler

LENGTHS = np.random.default_rng(0).gamma(4, 3, 1000)


@pytest.mark.parametrize("window", [1, 64, 300, 5000])
def test_each_example_once_an_epoch_and_bounded_batches(window):
    sampler = WindowSampler(LENGTHS, window, 120.0, seed=3)
    for epoch in (0, 2):
        batches = [sampler.batch(epoch * len(sampler) + i)[1] for i in range(len(sampler))]
        assert sorted(np.concatenate(batches)) == list(range(len(LENGTHS)))
        longest = max(LENGTHS)
        for batch in batches:
            assert len({i // window for i in batch}) == 1
            assert len(batch) * LENGTHS[batch].max() <= max(120.0, longest)


def test_windows_come_one_after_the_other_in_another_order_each_epoch():
    sampler = WindowSampler(LENGTHS, 100, 120.0)
    orders = []
    for epoch in range(2):
        numbers = range(epoch * len(sampler), (epoch + 1) * len(sampler))
        windows = [int(sampler.batch(i)[1][0]) // 100 for i in numbers]
        orders.append(list(dict.fromkeys(windows)))
        changes = sum(a != b for a, b in zip(windows, windows[1:], strict=False))
        assert changes == len(orders[-1]) - 1 == 9
    assert orders[0] != orders[1]


def test_a_batch_follows_from_its_number_alone():
    one, other = (WindowSampler(LENGTHS, 128, 90.0, seed=5) for _ in range(2))
    far = 7 * len(one) + 13
    walked = [one.batch(i) for i in range(far - 3, far + 1)][-1]
    epoch, indices = pickle.loads(pickle.dumps(other)).batch(far)
    assert epoch == walked[0] == 7 and (indices == walked[1]).all()
