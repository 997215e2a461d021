"""Our search gives what transformers' `generate` gives, tokens and scores; ended rows leave."""

import itertools
from dataclasses import replace

import pytest
import torch

from speechllm.decode import filters, search
from speechllm.models.llm import ends
from speechllm.models.reading import Reading
from tests.decode.searched import UNGUARDED, only


def theirs(model, batch, pad, stop, n, **options):
    """Search by transformers, greedy unless asked, over all rows to the end."""
    result = model(batch)
    with result.joined() as embeddings:
        return model.llm.generate(
            inputs_embeds=embeddings, attention_mask=result.layout.segments, do_sample=False,
            max_new_tokens=n, eos_token_id=stop, pad_token_id=pad, suppress_tokens=[pad], **options,
        ).tolist()  # fmt: skip


@torch.no_grad()
def test_greedy_is_theirs(prompts, monkeypatch):
    """Each row up to its own bound, while others leave at steps of their own."""
    model, batch, pad = prompts
    long = theirs(model, batch, pad, stop=999, n=30)
    assert len({tuple(ids) for ids in long}) > 1
    bounds = [30, 3, 9, 1, 30, 17]
    rows = []
    step = Reading.step
    monkeypatch.setattr(
        Reading, "step", lambda self, ids: (rows.append(len(ids)), step(self, ids))[1]
    )
    ours = search.answers(model(batch), bounds, (), pad, UNGUARDED)
    assert [a.ids for a in ours] == [ids[:n] for ids, n in zip(long, bounds, strict=True)]
    assert {a.stop for a in ours} == {"length"}
    assert rows[0] == 6 and rows[-1] == 2 and len(rows) == 29, "rows that ended are dropped"


def end(ids, stops):
    """The first of these stops in an answer."""
    return next((id for id in ids if id in stops), None)


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_an_answer_ends_at_any_stop(prompts, beams):
    """As theirs does, given the same list: each stop ends an answer of its own."""
    model, batch, pad = prompts
    long = theirs(model, batch, pad, stop=999, n=12)
    pairs = itertools.combinations(sorted({id for ids in long for id in ids[3:]}), 2)
    stops = next(list(p) for p in pairs if {end(ids, p) for ids in long} >= set(p))
    wanted = theirs(model, batch, pad, stops, n=12, num_beams=beams)
    model.llm.generation_config.eos_token_id = stops[1]
    own = {stops[0]} | ends(model.llm)
    config = search.Config(num_beams=beams, max_repeats=0)
    ours = search.answers(model(batch), [12] * 6, own, pad, config)
    for answer, ids in zip(ours, wanted, strict=True):
        n = next((i for i, id in enumerate(ids) if id in stops), len(ids))
        assert answer.ids == ids[:n] and answer.stop == ("eos" if n < len(ids) else "length")


@torch.no_grad()
def test_what_the_output_layer_gets_has_no_gaps(prompts):
    """Nor the strides of what it was cut from, with which the matrix would be copied first."""
    model, batch, pad = prompts
    strides = []
    hook = model.llm.get_output_embeddings().register_forward_hook(
        lambda module, args, out: strides.append((args[0].stride(), args[0].shape))
    )
    for given in (batch, only(batch, 1)):
        search.answers(model(given), [2] * len(given.ids), (), pad)
    hook.remove()
    assert all(found == torch.empty(shape).stride() for found, shape in strides)


@torch.no_grad()
def test_only_the_last_position_gets_logits(prompts):
    model, batch, pad = prompts
    seen = []
    hook = model.llm.get_output_embeddings().register_forward_hook(
        lambda module, args, out: seen.append(tuple(out.shape[:2]))
    )
    search.answers(model(batch), [3] * 6, (), pad)
    hook.remove()
    assert seen == [(6, 1)] * 3


def scored(model, batch, pad, stops, n, **options):
    """Search by transformers, with all that it says of its scores."""
    result = model(batch)
    with result.joined() as embeddings:
        return model.llm.generate(
            inputs_embeds=embeddings, attention_mask=result.layout.segments,
            max_new_tokens=n, eos_token_id=stops, pad_token_id=pad, suppress_tokens=[pad],
            return_dict_in_generate=True, output_scores=True, output_logits=True, **options,
        )  # fmt: skip


def cut(ids: list[int], stops) -> list[int]:
    """Take an answer up to its close."""
    return ids[: next((i for i, id in enumerate(ids) if id in stops), len(ids))]


def own_score(logits: tuple, row: int, ids: list[int], stops) -> float:
    """Mean log-probability of an answer's tokens, its close among them, by their raw logits."""
    n = min(len(cut(ids, stops)) + 1, len(ids))
    found = [logits[i][row].float().log_softmax(-1)[ids[i]].item() for i in range(n)]
    return sum(found) / n


@torch.no_grad()
def test_scores_of_greedy_answers_are_theirs(prompts):
    model, batch, pad = prompts
    stops = [3, 7]
    wanted = scored(model, batch, pad, stops, 12, do_sample=False)
    ours = search.answers(model(batch), [12] * 6, stops, pad, UNGUARDED)
    for row, (answer, ids) in enumerate(zip(ours, wanted.sequences.tolist(), strict=True)):
        assert answer.ids == cut(ids, stops)
        score = own_score(wanted.logits, row, ids, stops)
        assert answer.score == pytest.approx(score, abs=1e-5) and score < 0


@pytest.mark.parametrize("penalty", [1.0, 0.0, 1.7])
@torch.no_grad()
def test_beams_are_theirs(prompts, penalty):
    """All four answers of each row, in their order, with their scores."""
    model, batch, pad = prompts
    stops = sorted({id for ids in theirs(model, batch, pad, 999, n=12) for id in ids[2:5]})[:3]
    options = {"num_beams": 4, "num_return_sequences": 4, "length_penalty": penalty}
    wanted = scored(model, batch, pad, stops, 14, do_sample=False, **options)
    config = search.Config(num_beams=4, num_best=4, length_penalty=penalty, max_repeats=0)
    ours = search.answers(model(batch), [14] * 6, stops, pad, config)
    every = [one for answer in ours for one in (answer, *answer.alternatives)]
    assert [one.ids for one in every] == [cut(ids, stops) for ids in wanted.sequences.tolist()]
    scores = torch.tensor([one.score for one in every])
    torch.testing.assert_close(scores, wanted.sequences_scores, rtol=0, atol=1e-5)
    assert {one.stop for one in every} >= {"eos"}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.3, 0.5)])
@torch.no_grad()
def test_sampling_is_theirs_and_is_the_same_in_any_batch(prompts, temperature, top_p):
    """With one seed, row by row; and no row changes what another one draws."""
    model, batch, pad = prompts
    config = search.Config(temperature=temperature, top_p=top_p, seed=11, max_repeats=0)
    bounds = [12, 4, 12, 9, 12, 12]
    together = search.answers(model(batch), bounds, [3], pad, config)
    for row, answer in enumerate(together):
        alone = only(batch, row)
        torch.manual_seed(11)
        wanted = scored(
            model, alone, pad, [3], bounds[row], do_sample=True, temperature=temperature,
            top_p=top_p, top_k=0,
        )  # fmt: skip
        ids = wanted.sequences[0].tolist()
        (own,) = search.answers(model(alone), bounds[row : row + 1], [3], pad, config)
        assert answer == own and own.ids == cut(ids, [3])
        assert own.score == pytest.approx(own_score(wanted.logits, 0, ids, [3]), abs=1e-5)
    greedy = search.answers(model(batch), bounds, [3], pad, UNGUARDED)
    other = search.answers(model(batch), bounds, [3], pad, replace(config, seed=12))
    assert greedy != together != other


@torch.no_grad()
def test_what_was_said_comes_step_by_step(prompts):
    model, batch, pad = prompts
    bounds = [5, 2, 9, 1, 3, 4]
    steps, grown = search.said(model(batch), bounds, (), pad, UNGUARDED), {}
    while True:
        try:
            for row, id in next(steps):
                grown.setdefault(row, []).append(id)
        except StopIteration as end:
            assert [answer.ids for answer in end.value] == [grown[row] for row in range(6)]
            assert end.value == search.answers(model(batch), bounds, (), pad, UNGUARDED)
            return


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_filters_are_asked_at_each_step(prompts, beams):
    model, batch, pad = prompts
    config = search.Config(num_beams=beams, max_repeats=0)

    def said(*given, stops=(3,)):
        found = search.answers(model(batch), [10] * 6, stops, pad, config, given)
        return [answer.ids for answer in found]

    first = said()[0][0]
    assert all(first not in ids for ids in said(filters.suppressed([first])))
    begun = said(filters.forced([5, 6]), stops=())
    assert all(ids[:2] == [5, 6] and len(ids) == 10 for ids in begun)
    options = {"num_beams": beams, "no_repeat_ngram_size": 2}
    wanted = theirs(model, batch, pad, [3], n=10, **options)
    assert said(filters.no_repeat(2)) == [cut(ids, [3]) for ids in wanted]
    with pytest.raises(ValueError, match="leave nothing to say"):
        said(filters.suppressed(range(model.vocab_size)))


@pytest.mark.parametrize("beams", [1, 2])
def test_what_is_no_number_is_said(prompts, beams):
    """NaN in the weights, as a training that went wrong leaves it."""
    model, batch, pad = prompts
    next(model.encoder.parameters()).data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"computes no numbers .NaN. for train0"):
        search.answers(model(batch), [4] * 6, (), pad, search.Config(num_beams=beams))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"num_beams": 0}, "num_beams: wanted 1 or more, got 0"),
        ({"temperature": -1.0}, "temperature: wanted 0 or more, got -1.0"),
        ({"temperature": float("nan")}, "temperature: wanted 0 or more, got nan"),
        ({"top_p": 0.0}, "top_p: wanted a share above 0"),
        ({"num_best": 3, "num_beams": 2}, "num_best: wanted 1 to num_beams, got 3"),
        ({"temperature": 0.5, "num_beams": 2}, "num_beams: wanted 1 with a temperature"),
        ({"max_repeats": -1}, "max_repeats: wanted 2 or more, or 0, got -1"),
        ({"length_penalty": float("inf")}, "length_penalty: wanted a number, got inf"),
    ],
)
def test_values_that_mean_nothing(options, wanted):
    with pytest.raises(ValueError, match=wanted):
        search.Config(**options)
