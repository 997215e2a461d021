"""The LLM as a language model beside itself: scores that add up, in any batch; LoRA comes back."""

import pytest
import torch

from speechllm import config
from speechllm.decode import search
from speechllm.decode.ask import Answerer
from speechllm.decode.heard import Heard
from speechllm.models import lora
from speechllm.models.system import System
from tests.decode.searched import CASES, HEADS, batch_of, made
from tests.decode.test_joint import llm_score


@pytest.fixture(scope="module", params=HEADS)
def speller(request, tiny):
    return made(tiny, request.param)


def deaf_score(system, model, ids: list[int], words: str, spelling) -> float:
    """Sum of the log-probabilities of a text by the LLM without LoRA, read once and whole.

    Each is that among the pieces that the head can write, and the ends.
    """
    before = [system.tokenizer.bos_token_id]
    before += system.tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    with lora.untouched(model.llm):
        logits = model.llm(input_ids=torch.tensor([before + ids])).logits[0, len(before) - 1 : -1]
    strange = spelling.strange(logits.shape[1])
    strange[system.tokenizer.eos_token_id] = False
    scores = logits.float().masked_fill(strange, -torch.inf).log_softmax(-1)
    return sum(scores[i, id].item() for i, id in enumerate(ids))


@pytest.mark.parametrize("words", ["", "the wide road"])
@torch.no_grad()
def test_scores_are_sums_of_all_three(speller, tiny, words):
    system, model = speller
    settings = search.Config(
        num_beams=4, num_best=4, ctc_weight=0.7, lm_weight=0.4, lm_prompt=words, length_penalty=0.0
    )
    answerer = Answerer(system, model, settings)
    stop = min(answerer.stops)
    batch = batch_of(system, tiny, [1])
    heard = Heard.of(model(batch), system.tokenizer, answerer.spelling)
    (answer,) = answerer(batch, [9])
    ended = [one for one in (answer, *answer.alternatives) if one.stop == "eos"]
    assert ended
    apart = []
    for one in ended:
        ids = [*one.ids, stop]
        by_ctc = heard.scores([0], [answerer.spelling.whole(one.ids)])[0]
        own = llm_score(model, batch, ids)
        deaf = deaf_score(system, model, ids, words, answerer.spelling)
        assert one.score == pytest.approx(own + 0.7 * by_ctc + 0.4 * deaf, abs=1e-3)
        apart.append(abs(own - deaf))
    assert max(apart) > 0.1


AT_END = {"num_beams": 2, "num_best": 2, "ctc_weight": 0.5, "ctc_at": "end"}


@pytest.mark.parametrize(
    "weights", [{"num_beams": 3}, {}, {"ctc_weight": 0.5, "num_beams": 2}, AT_END]
)
@torch.no_grad()
def test_a_row_is_answered_as_alone_and_lora_comes_back(speller, tiny, weights):
    system, model = speller
    learns = [p.requires_grad for p in model.parameters()]
    answerer = Answerer(system, model, search.Config(lm_weight=0.5, **weights))
    bounds = (9, 4, 12, 7)
    together = answerer(batch_of(system, tiny), [*bounds])
    rows = enumerate(bounds)
    alone = [answerer(batch_of(system, tiny, [row]), [bound])[0] for row, bound in rows]
    assert together == alone
    others = Answerer(system, model, search.Config(**weights))(batch_of(system, tiny), [*bounds])
    assert together != others
    assert not any(layer.disable_adapters for layer in lora.layers(model.llm))
    assert learns == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("case", ["cross_attention", "LoRA of a medium"])
def test_an_llm_that_is_shown_what_is_heard_is_refused(tiny, case):
    preset = config.changed(config.load(tiny / "tiny.toml"), CASES[case])
    system = System.open(preset, str(tiny / "bpe"))
    with pytest.raises(ValueError, match="lm_weight: is for an LLM that hears by soft tokens"):
        Answerer(system, system.build(), search.Config(lm_weight=0.5))


@pytest.mark.parametrize(
    "others", [{"draft": "ctc"}, {"by": "ctc"}, {"temperature": 0.5}, {"exact": True}]
)
def test_what_does_not_go_together(others):
    with pytest.raises(ValueError, match="lm_weight"):
        search.Config(lm_weight=0.5, **others)


def test_what_an_answer_depends_on():
    assert "lm_weight" not in search.Config().facts()
    facts = search.Config(lm_weight=0.5, lm_prompt="a").facts()
    assert (facts["lm_weight"], facts["lm_prompt"]) == (0.5, "a")
