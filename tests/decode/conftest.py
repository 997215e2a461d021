"""A batch to search in, of each kind of LLM."""

import pytest
import torch

from speechllm.data.collate import collate
from speechllm.models.tiny import wake
from speechllm.train.phases import phases
from tests.decode.searched import CASES


@pytest.fixture(params=CASES)
def prompts(request, make_run, tmp_path):
    run = make_run(tmp_path, *CASES[request.param])
    model = run.system.build().eval()
    torch.manual_seed(5)
    wake(model, std=0.3)
    examples = run.examples(phases(run.system.preset)[1], run.manifests["train"], learning=False)
    examples.answer = False
    batch = collate([examples.make(0, i) for i in range(6)], run.system.tokenizer.pad_token_id)
    return model, batch, run.system.tokenizer.pad_token_id
