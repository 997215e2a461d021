"""Answers that flow: each as in a batch of its own, however groups follow one another."""

import json
from collections import defaultdict

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.data.manifest import Manifest
from speechllm.decode import flow, search
from speechllm.decode import run as decoding
from speechllm.decode.ask import Answerer
from speechllm.decode.flow import Begun, flowing
from speechllm.models.reading import Reading, joins
from speechllm.models.tiny import wake
from speechllm.train.phases import phases
from tests.decode.searched import GEMMA, LIVELY, UNGUARDED

KINDS = {
    "llama": [LIVELY],
    "sliding window": [GEMMA, "llm.attention='eager'"],
    "a window of few": [GEMMA.replace("sliding_window=12", "sliding_window=4"), LIVELY],
}


def begun(model, examples, pad, bounds, keys):
    """Read examples in a batch, as a group that costs 1 a row."""
    result = model(collate(examples, pad))
    with result.joined() as embeddings:
        reading = Reading(result, embeddings)
    return Begun(keys, reading, [bounds[key] for key in keys], len(keys), result.batch.names)


def made(make_run, folder, changes, n=9):
    """A model, a batch of each of n rows alone, and pad."""
    run = make_run(folder, *changes)
    model = run.system.build().eval()
    torch.manual_seed(5)
    wake(model, std=0.3)
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], learning=False)
    examples.answer = False
    pad = run.system.tokenizer.pad_token_id
    return run.system, model, [examples.make(0, i) for i in range(n)], pad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("room", [2.0, 5.0, 100.0])
@torch.no_grad()
def test_a_row_is_answered_as_alone(make_run, tmp_path, kind, room):
    """Greedily and drawn, with bounds and ends that differ; prompts longer than those before."""
    _, model, examples, pad = made(make_run, tmp_path, KINDS[kind])
    bounds = [3, 25, 9, 1, 14, 30, 2, 8, 20]
    stops = [3] if kind == "llama" else ()
    for config in (UNGUARDED, search.Config(temperature=0.8, top_p=0.9, seed=3, max_repeats=0)):
        alone = [collate([one], pad) for one in examples]
        wanted = [
            search.answers(model(batch), [n], stops, pad, config)[0]
            for batch, n in zip(alone, bounds, strict=True)
        ]
        read = []

        left = [[0, 1], [2], [3, 4, 5], [6], [7, 8]]

        def more(free, left=left, read=read):
            if not left or len(left[0]) > free < room:
                return None
            read.append(left[0])
            return begun(model, [examples[i] for i in left[0]], pad, bounds, left.pop(0))

        found, seen, said = {}, {}, defaultdict(list)
        for news, ended in flowing(more, stops, pad, room, config):
            for i, id in news:
                said[i].append(id)
            for i, answer in ended:
                found[i], seen[i] = answer, len(read)
        assert [found[i] for i in range(9)] == wanted
        for i in range(9):
            assert found[i].score == pytest.approx(wanted[i].score, abs=1e-5)
            assert said[i][: len(found[i].ids)] == found[i].ids
        assert len({len(answer.ids) for answer in found.values()}) > 4
        # a group is not read before there is room for it
        assert (min(seen.values()) == 5) == (room == 100)


@torch.no_grad()
def test_ended_rows_make_room(make_run, tmp_path, monkeypatch):
    """Lines that the LLM reads in each step: never fewer than there could be."""
    _, model, examples, pad = made(make_run, tmp_path, KINDS["llama"], 8)
    sizes, step = [], Reading.step
    monkeypatch.setattr(
        Reading, "step", lambda self, ids: (sizes.append(len(ids)), step(self, ids))[1]
    )

    left, bounds = list(range(8)), [4 * (8 - i) for i in range(8)]

    def more(free):
        i = left.pop(0) if left and free >= 1 else None
        return None if i is None else begun(model, [examples[i]], pad, bounds, [i])

    list(flowing(more, (), pad, 3.0, UNGUARDED))
    assert max(sizes) == 3 and sizes.count(3) > 0.7 * len(sizes)
    assert sum(sizes) < 1.1 * sum(4 * (i + 1) for i in range(8)), "few are read on after their end"


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_decode_that_flows_is_that_by_batches(make_run, tmp_path, monkeypatch, temperature):
    system, model, _, _ = made(make_run, tmp_path, KINDS["sliding window"])
    manifest = Manifest(make_run(tmp_path).manifests["train"].path)
    options = decoding.Options(
        search=search.Config(temperature=temperature, max_repeats=0), workers=0, max_batch_s=3.0
    )
    told, flowed = {}, []
    flows = Answerer.flowing
    monkeypatch.setattr(
        Answerer, "flowing", lambda self, *given: (flowed.append(1), flows(self, *given))[1]
    )
    for way in ("flowing", "by batches"):
        if way == "by batches":
            monkeypatch.setattr(Answerer, "refills", False)
        tally = decoding.decode(system, model, manifest, tmp_path / way, options)
        lines = (tmp_path / way / "hyp.jsonl").read_text().splitlines()
        told[way] = {row["id"]: row["hyp"] for row in map(json.loads, lines)}
        assert tally.n_utterances == len(manifest) == len(told[way]) and tally.rtfx > 0
    assert told["flowing"] == told["by batches"] and len(flowed) == 1
    assert any(told["flowing"].values())


def test_what_belongs_to_one_pass_does_not_flow(make_run, tmp_path):
    """A LoRA's gate, layers that see soft tokens; nor do beams."""
    cross = "fusion={name='cross_attention',every=1}"
    for changes in (["llm.lora.media=['audio']"], [cross]):
        assert not joins(made(make_run, tmp_path, changes, 0)[1])
    system, model, _, _ = made(make_run, tmp_path, [], 0)
    assert joins(model) and Answerer(system, model).refills
    assert not Answerer(system, model, search.Config(num_beams=2)).refills


@torch.no_grad()
def test_numbers_that_are_none_name_their_utterance(make_run, tmp_path):
    _, model, examples, pad = made(make_run, tmp_path, KINDS["llama"], 3)
    left = [0, 1, 2]

    def more(free):
        if not left or free < 1:
            return None
        if left[0] == 2:
            next(model.encoder.parameters()).data.fill_(torch.nan)
        return begun(model, [examples[left[0]]], pad, [9] * 3, [left.pop(0)])

    with pytest.raises(FloatingPointError, match="for train2:"):
        list(flowing(more, (), pad, 3.0, UNGUARDED))


@torch.no_grad()
def test_who_is_gone_makes_room_and_nothing_is_kept_of_who_has_been(make_run, tmp_path):
    _, model, examples, pad = made(make_run, tmp_path, KINDS["llama"], 3)
    came, n_steps, wanted = [], 0, {}
    kept = []
    take = flow._Lines.take

    def noted(self, group):
        take(self, group)
        kept.append(len(self.names) + len(self.bounds) + len(self.keys))

    def more(free):
        if len(came) == 40 or free < 1:
            return None
        came.append(f"row {len(came)}")
        return begun(model, [examples[len(came) % 3]], pad, {came[-1]: 6}, [came[-1]])

    flow._Lines.take = noted
    try:
        for _, ended in flowing(more, (), pad, 2.0, UNGUARDED, gone=lambda key: key == "row 7"):
            n_steps += 1
            wanted |= dict(ended)
    finally:
        flow._Lines.take = take
    assert list(wanted) != sorted(wanted) and len(wanted) == 40
    assert wanted.pop("row 7").stop == "gone"
    assert {answer.stop for answer in wanted.values()} == {"length"}
    assert n_steps < 40 * 6 / 2 + 6 and max(kept) <= 3 * 4
