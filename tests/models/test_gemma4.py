"""Gemma 4 and 3n as LLM: they look ids up once more, for every layer, beside soft tokens too."""

from dataclasses import replace

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.decode import search
from speechllm.decode.ask import Answerer
from speechllm.train import loop
from speechllm.train.phases import phases

SIZES = (
    "hidden_size=32,intermediate_size={},num_hidden_layers=2,num_attention_heads=2,head_dim=16,"
    "num_key_value_heads=1,hidden_size_per_layer_input=8,vocab_size_per_layer_input=40,"
    "sliding_window=8,layer_types=['sliding_attention','full_attention'],num_kv_shared_layers=0"
)
LLMS = {
    "gemma4_text": SIZES.format(64) + ",per_layer_config={}",
    "gemma3n_text": SIZES.format("[64,64]")
    + ",laurel_rank=4,activation_sparsity_pattern=[0.0,0.0],altup_num_inputs=2",
}


@pytest.fixture(params=LLMS)
def run(request, make_run, tmp_path):
    table = f'llm.config={{model_type="{request.param}",{LLMS[request.param]}}}'
    return make_run(tmp_path, table, "llm.lora={r=2,targets=['q_proj']}", "phase.tune.steps=2")


def batch_of(run, *numbers):
    """Make a batch of these rows with their answers."""
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], False)
    made = [examples.make(0, i) for i in numbers]
    return collate(made, run.system.tokenizer.pad_token_id)


@torch.no_grad()
def test_text_alone_is_as_the_llm_reads_its_ids(run):
    model, batch = run.system.build().eval(), batch_of(run, 0)
    text = replace(batch, media={}, slots=batch.slots[:0], labels=batch.ids, modalities=())
    wanted = model.llm(batch.ids, attention_mask=batch.segments, position_ids=batch.positions)
    torch.testing.assert_close(model(text).logits, wanted.logits[0, :-1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_alone_is_as_in_a_batch_and_it_answers(run):
    model, batch = run.system.build().eval(), batch_of(run, 0, 1, 2)
    result = model(batch)
    for row in range(3):
        alone = model(batch_of(run, row)).logits
        together = result.logits[result.places[0] == row]
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], False)
    examples = replace(examples, answer=False)
    prompt = collate([examples.make(0, 0)], run.system.tokenizer.pad_token_id)
    answer = Answerer(run.system, model, search.Config())(prompt, [6])[0]
    assert len(answer.ids) > 0


def test_trains(run):
    loop.train(run)
