"""Cross entropy in slices = cross entropy of all logits: loss, hits, every gradient."""

import pytest
import torch
from torch import nn

from speechllm.models import sliced
from speechllm.models.llm import Config

N, H, V = 23, 12, 97
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1}


def whole(hidden, head, targets, smoothing):
    logits = head(hidden).float()
    loss = nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    return loss, (logits.argmax(-1) == targets).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("bias", [True, False])
def test_slices_equal_the_whole(bias, smoothing, monkeypatch):
    monkeypatch.setattr(sliced, "SLICE", 5 * V)  # 23 tokens: five slices, the last of three
    monkeypatch.setattr(sliced, "WIDE", 2 * V)
    torch.manual_seed(0)
    head, targets = nn.Linear(H, V, bias=bias), torch.randint(V, (N,))
    hidden = (5 * torch.randn(N, H)).requires_grad_()
    inputs = [hidden, *head.parameters()]
    wanted, hits = whole(hidden, head, targets, smoothing)
    loss, right = sliced.cross_entropy(hidden, head, targets, smoothing)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6) and int(right) == int(hits)
    for own, reference in zip(
        torch.autograd.grad(loss / 7, inputs), torch.autograd.grad(wanted / 7, inputs), strict=True
    ):
        torch.testing.assert_close(own, reference, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_they_differ_by_its_rounding(monkeypatch):
    monkeypatch.setattr(sliced, "SLICE", 5 * V)
    torch.manual_seed(0)
    head, targets = nn.Linear(H, V, bias=False).requires_grad_(False), torch.randint(V, (N,))
    hidden = torch.randn(N, H).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        wanted, _ = whole(hidden, head, targets, 0.0)
        loss, _ = sliced.cross_entropy(hidden, head, targets)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)  # of the same rounded logits
    own, reference = (torch.autograd.grad(x, hidden)[0] for x in (loss, wanted))
    assert (own - reference).norm() < 2**-7 * reference.norm()


def test_a_target_that_nothing_speaks_for_has_a_finite_loss():
    head = nn.Linear(2, 2, bias=False)
    nn.init.eye_(head.weight)
    loss, _ = sliced.cross_entropy(torch.tensor([[500.0, 0.0]]), head, torch.tensor([1]))
    assert loss.item() == 500.0


@pytest.mark.parametrize(
    ("family", "more", "bare"),
    [
        ("llama", {}, True),
        ("gemma3_text", {"layer_types": ["full_attention"] * 2}, True),
        ("gemma2", {"final_logit_softcapping": 30.0}, False),
        ("cohere", {"logit_scale": 0.06}, False),
        ("granite", {"logits_scaling": 8.0}, False),
    ],
)
def test_families_that_change_their_logits_are_told_apart(family, more, bare):
    llm = Config(config={"model_type": family, **SIZES, **more}).build(40)
    assert sliced.fits(llm) is bare
    with torch.no_grad():
        ids = torch.arange(6)[None]
        states = llm.base_model(input_ids=ids).last_hidden_state
        same = torch.allclose(llm.get_output_embeddings()(states), llm(input_ids=ids).logits)
    assert same is bare or not bare


def test_lora_in_the_output_layer_is_no_bare_one():
    table = {"r": 2, "targets": ["lm_head"]}
    llm = Config(config={"model_type": "llama", **SIZES}, lora=table).build(40)
    assert not sliced.fits(llm)
