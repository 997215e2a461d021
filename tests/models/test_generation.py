"""Our greedy loop gives what transformers' `generate` gives; rows leave as they end."""

import itertools

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.models import generation
from speechllm.models.llm import ends
from speechllm.models.tiny import wake
from speechllm.train.stages import stages

LIVELY = "llm.config.initializer_range=0.5"  # so that answers are not one token over and over
CROSS = "fusion={name='cross_attention',every=1}"
GEMMA = (
    'llm.config={model_type="gemma2",hidden_size=32,intermediate_size=64,head_dim=16,'
    "num_hidden_layers=2,num_attention_heads=2,num_key_value_heads=1,sliding_window=12}"
)
CASES = {
    "interleave": [LIVELY],
    "cross_attention": [LIVELY, CROSS],
    "sliding window": [GEMMA, "llm.attention='eager'"],
}


@pytest.fixture(params=CASES)
def prompts(request, make_run, tmp_path):
    run = make_run(tmp_path, *CASES[request.param])
    model = run.system.build().eval()
    torch.manual_seed(5)
    wake(model, std=0.3)
    examples = run.examples(stages(run.system.preset)[1], run.manifests["train"], learning=False)
    examples.answer = False
    batch = collate([examples.make(0, i) for i in range(6)], run.system.tokenizer.pad_token_id)
    return model, batch, run.system.tokenizer.pad_token_id


def theirs(model, batch, pad, stop, n, **options):
    """Search by transformers, greedy unless asked, over all rows to the end."""
    result = model(batch)
    return model.llm.generate(
        inputs_embeds=result.embeddings, attention_mask=result.layout.segments, do_sample=False,
        max_new_tokens=n, eos_token_id=stop, pad_token_id=pad, suppress_tokens=[pad], **options,
    ).tolist()  # fmt: skip


@torch.no_grad()
def test_greedy_is_theirs(prompts):
    """Each row up to its own bound, while others leave at steps of their own."""
    model, batch, pad = prompts
    long = theirs(model, batch, pad, stop=999, n=30)
    assert len({tuple(ids) for ids in long}) > 1
    bounds = [30, 3, 9, 1, 30, 17]
    rows = []
    step = generation._State.step
    try:
        generation._State.step = lambda self, ids: (rows.append(len(ids)), step(self, ids))[1]
        ours = generation.generate(model(batch), bounds, (), pad, max_repeats=0)
    finally:
        generation._State.step = step
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
    ours = generation.generate(model(batch), [12] * 6, own, pad, beams, max_repeats=0)
    for answer, ids in zip(ours, wanted, strict=True):
        n = next((i for i, id in enumerate(ids) if id in stops), len(ids))
        assert answer.ids == ids[:n] and answer.stop == ("eos" if n < len(ids) else "length")


@torch.no_grad()
def test_only_the_last_position_gets_logits(prompts):
    model, batch, pad = prompts
    seen = []
    hook = model.llm.get_output_embeddings().register_forward_hook(
        lambda module, args, out: seen.append(tuple(out.shape[:2]))
    )
    generation.generate(model(batch), [3] * 6, (), pad)
    hook.remove()
    assert seen == [(6, 1)] * 3
