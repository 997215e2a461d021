"""CTC scores of beginnings: the textbook's recursion, all strings one by one, torch's own loss."""

import itertools
import math

import pytest
import torch

from speechllm.decode.prefix import NEVER, Prefixes


def logits(frames: list[int], units: int, seed: int = 0, scale: float = 3.0):
    """Random logits (B, T, C + 1) of rows with so many frames; what lies beyond is rubbish."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(len(frames), max(frames), units + 1, generator=generator)


def textbook(scores, text):
    """Watanabe et al. 2017, algorithm 2, frame by frame: (of a beginning, of the whole text)."""
    scores, n_frames = scores.double().log_softmax(-1).tolist(), len(scores)
    add = lambda *x: torch.tensor(x, dtype=torch.float64).logsumexp(0).item()  # noqa: E731
    never = -math.inf
    unit, blank = [never] * (n_frames + 1), [0.0] * (n_frames + 1)
    for t in range(n_frames):
        blank[t + 1] = blank[t] + scores[t][-1]
    total, last = 0.0, None
    for c in text:
        new, new_blank, ends = [never], [never], []
        for t in range(n_frames):
            come = blank[t] if c == last else add(blank[t], unit[t])
            ends.append(come + scores[t][c])
            new_blank.append(add(new_blank[t], new[t]) + scores[t][-1])
            new.append(add(new[t], come) + scores[t][c])
        unit, blank, last = new, new_blank, c
        total = add(*ends)
    return total, add(unit[-1], blank[-1])


TEXTS = [(), (0,), (0, 0), (1, 0, 1), (2, 2, 2), (0, 1, 2, 2, 1, 0, 0)]


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_beginnings_are_those_of_the_textbook(scale):
    """Also of repeated units, of rows of several lengths, each told as if alone."""
    frames = [23, 9, 16]
    x = logits(frames, 3, scale=scale)
    prefixes = Prefixes(x, torch.tensor(frames))
    for row, n in enumerate(frames):
        states = prefixes.spell(prefixes.begin(torch.full((len(TEXTS),), row)), TEXTS)
        for i, text in enumerate(TEXTS):
            total, whole = textbook(x[row, :n], text)
            assert states.total[i].item() == pytest.approx(total, abs=1e-4)  # float32 log-softmax
            assert prefixes.whole(states)[i].item() == pytest.approx(whole, abs=1e-4)
        alone = Prefixes(x[row : row + 1, :n], torch.tensor([n]))
        again = alone.spell(alone.begin(torch.zeros(len(TEXTS), dtype=torch.long)), TEXTS)
        torch.testing.assert_close(again.total, states.total, rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.whole(again), prefixes.whole(states), rtol=0, atol=1e-9)


def test_a_beginning_is_all_that_begins_so():
    """Added up over every text of up to four units, which is all that four frames can say."""
    x = logits([4], 2, seed=1)
    prefixes = Prefixes(x, torch.tensor([4]))
    every = [t for n in range(5) for t in itertools.product(range(2), repeat=n)]
    states = prefixes.spell(prefixes.begin(torch.zeros(len(every), dtype=torch.long)), every)
    shares = dict(zip(every, prefixes.whole(states).exp().tolist(), strict=True))
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    for i, text in enumerate(every):
        wanted = sum(share for other, share in shares.items() if other[: len(text)] == text)
        assert states.total[i].exp().item() == pytest.approx(wanted, abs=1e-6)


def test_whole_texts_are_torchs_loss():
    frames, generator = [700, 300], torch.Generator().manual_seed(2)
    x = logits(frames, 28, seed=3)
    texts = [tuple(torch.randint(28, (n,), generator=generator).tolist()) for n in (160, 90)]
    prefixes = Prefixes(x, torch.tensor(frames))
    states = prefixes.spell(prefixes.begin(torch.arange(2)), texts)
    wanted = -torch.nn.functional.ctc_loss(
        x.double().log_softmax(-1).transpose(0, 1),
        torch.tensor([u for text in texts for u in text]),
        torch.tensor(frames),
        torch.tensor([len(text) for text in texts]),
        blank=28,
        reduction="none",
    )
    torch.testing.assert_close(prefixes.whole(states), wanted, rtol=0, atol=1e-3)
    assert (wanted < -1000).all(), "sums that float32 would have no digits left for"


def test_what_no_alignment_can_say():
    """More units than frames; of no frames at all, anything but nothing."""
    x = logits([3, 3], 2)
    prefixes = Prefixes(x, torch.tensor([3, 0]))
    states = prefixes.begin(torch.tensor([0, 0, 1, 1]))
    states = prefixes.spell(states, [(0, 1, 0), (0, 0, 1), (), (1,)])
    wholes = prefixes.whole(states).tolist()
    assert wholes[0] > -50 and wholes[1] < NEVER / 2, "a unit twice wants a blank between"
    assert wholes[2] == 0 and wholes[3] < NEVER / 2


def test_sums_over_where_a_unit_begins_are_those_of_the_extended():
    x = logits([12], 3)
    prefixes = Prefixes(x, torch.tensor([12]))
    states = prefixes.spell(prefixes.begin(torch.tensor([0, 0])), [(), (1, 2)])
    numbers, units = torch.tensor([0, 1, 1, 1]), torch.tensor([2, 0, 1, 2])
    found = prefixes.begins(states, numbers, units)
    wanted = prefixes.spell(states.at(numbers), [(u,) for u in units.tolist()])
    torch.testing.assert_close(found.logsumexp(1), wanted.total)
    assert torch.equal(found.argmax(1), wanted.frame)
