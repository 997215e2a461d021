"""The window-level Q-Former against Granite speech's own projector, and SALMONN's windows."""

import pytest
import torch
from torch import nn
from transformers import GraniteSpeechConfig
from transformers.models.granite_speech.modeling_granite_speech import GraniteSpeechEncoderProjector

from speechllm.models.adapters import window_qformer

D, H, HIDDEN = 12, 16, 24
SIZES = {"hidden": HIDDEN, "heads": 4, "norm": "none"}


@pytest.mark.parametrize("n", [45, 50, 3])
@torch.no_grad()
def test_equals_granite_speech(n):
    """Windows of 15, the last one filled with zeros that are seen; three queries each."""
    torch.manual_seed(0)
    config = GraniteSpeechConfig(
        projector_config={
            "model_type": "blip_2_qformer",
            "hidden_size": HIDDEN,
            "intermediate_size": 4 * HIDDEN,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "encoder_hidden_size": D,
            "cross_attention_frequency": 1,
        },
        text_config={"model_type": "granite", "hidden_size": H, "num_attention_heads": 2},
    )
    theirs = GraniteSpeechEncoderProjector(config).eval()
    for p in theirs.parameters():  # it starts so small that no state matters
        nn.init.normal_(p, std=0.5)
    made = window_qformer.Config(window=15, queries=3, rest="pad", **SIZES)
    model = made.build(D, nn.Embedding(9, H)).eval()
    names = {"query": "queries.query", "qformer": "queries.qformer", "linear": "linear"}
    state = {}
    for name, value in theirs.state_dict().items():
        first, _, rest = name.partition(".")
        state[".".join(filter(None, (names[first], rest)))] = value
    model.load_state_dict(state)
    states = torch.randn(2, n, D)
    tokens, lengths = model(states, torch.tensor([n, n]))
    torch.testing.assert_close(tokens, theirs(states), rtol=0, atol=1e-5)
    assert lengths.tolist() == [-(-n // 15) * 3] * 2


@torch.no_grad()
def test_windows_of_salmonn():
    """30 s of Whisper are 88 tokens, by its unfolding; a window sees nothing of the others."""
    made = window_qformer.Config(**SIZES)
    model = made.build(D, nn.Embedding(9, H)).eval()
    states = torch.randn(1, 1500, D)
    tokens, lengths = model(states, torch.tensor([1500]))
    cut = nn.functional.unfold(states.mT[:, :, None], (1, 17), stride=(1, 17))
    windows = cut.reshape(D, 17, -1).permute(2, 1, 0)  # (88, 17, D)
    assert lengths.tolist() == [88] == [len(windows)]
    for k in (0, 41, 87):
        alone, _ = model(windows[k : k + 1], torch.tensor([17]))
        torch.testing.assert_close(tokens[:, k : k + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 3])
def test_gradient(queries):
    """All learns; but a single query looks at itself with weight 1, whatever it asks."""
    model = window_qformer.Config(queries=queries, dropout=0.0, **SIZES)
    model = model.build(D, nn.Embedding(9, H))
    tokens, _ = model(torch.randn(2, 40, D), torch.tensor([40, 30]))
    (tokens * torch.randn(tokens.shape)).sum().backward()
    for name, p in model.named_parameters():
        itself = ".attention.attention.query" in name or ".attention.attention.key" in name
        if itself and queries == 1:
            assert p.grad.abs().max() < 1e-6, name
        elif not name.endswith("key.bias"):
            assert p.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("wrong", [{"window": 0}, {"queries": 0}, {"rest": "keep"}, {"norm": "l"}])
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        window_qformer.Config(**wrong)
