"""Lines of an LLM in bfloat16 say, to the bit, what each says alone."""

import pytest
import torch
from torch import nn

from speechllm.models import alike, attention
from speechllm.models.inject import inject
from speechllm.models.llm import Config
from speechllm.models.lora import read

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """What was tried of kernels before is forgotten, and little is tried anew."""
    monkeypatch.setattr(alike, "_shown", {})
    monkeypatch.setattr(alike, "SEEN", 2**11)


def odd(monkeypatch, strange):
    """Let products of `strange(M)` rows be rounded twice."""
    linear = nn.functional.linear

    def other(x, weight, bias=None):
        if not strange(x.numel() // x.shape[-1]) or bias is not None:
            return linear(x, weight, bias)
        n = x.shape[-1] // 2  # two sums, each of them rounded
        return linear(x[..., :n], weight[:, :n]) + linear(x[..., n:], weight[:, n:])

    monkeypatch.setattr(nn.functional, "linear", other)


def llm_of(lora: bool = False):
    torch.manual_seed(0)
    llm = Config(config={"model_type": "llama", **SIZES}, dtype="bfloat16").build(40).eval()
    if lora:
        inject(llm, read({"r": 4, "targets": ["all-linear"]}))
        for name, parameter in llm.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
    return attention.prefer(llm)


@pytest.mark.parametrize(
    ("strange", "base", "wanted"),
    [
        (lambda m: False, 1, alike.SIZES),
        (lambda m: m == 1, 1, (1,)),
        (lambda m: m == 1, 2, alike.SIZES[1:]),
        (lambda m: m in (8, 24), 1, (1, 2, 4, 12, 16, 32)),
    ],
)
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("width", [16, 65])
def test_sizes_are_those_that_the_machine_shows(width, adds, strange, base, wanted):
    """Of kernels that round twice for some numbers of rows, and do nothing else."""

    def make(weight):
        def kernel(x, y=None):
            terms = x.double()[:, None] * weight.double()
            terms = terms if y is None else torch.cat([y.double()[..., None], terms], -1)
            parts = terms.split(9 if strange(len(x)) else 999, -1)
            # exact sums, so that rows are alike whatever kernels do
            return sum(part.sum(-1).bfloat16() for part in parts)

        return kernel

    product = alike.Product("tried", torch.zeros(24, width, dtype=torch.bfloat16), make, adds)
    assert alike.sizes(product, base) == wanted


@torch.no_grad()
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    "strange", [lambda m: False, lambda m: m == 1, lambda m: m > 1, lambda m: m % 8 == 0]
)
def test_rows_behind_a_cache_are_as_alone(strange, lora, monkeypatch):
    """Read one by one and at once, whatever kernels do with the number of rows."""
    llm = llm_of(lora)
    ids = torch.randint(40, (1, 18), generator=torch.Generator().manual_seed(2))
    odd(monkeypatch, strange)

    def read(*places):
        """Logits of what is read behind five ids, part by part."""
        begun = llm(input_ids=ids[:, :5], use_cache=True).past_key_values
        with alike.rows(llm):
            parts = [llm(input_ids=some, past_key_values=begun).logits
                     for some in ids[:, 5:].split(places, 1)]  # fmt: skip
        return torch.cat(parts, 1)

    one_by_one = read(*[1] * 13)
    assert torch.equal(read(13), one_by_one) and torch.equal(read(2, 7, 4), one_by_one)


@torch.no_grad()
def test_all_is_given_back():
    llm = llm_of(lora=True)
    ids = torch.arange(7)[None]
    before, kind = llm(input_ids=ids).logits, llm.config._attn_implementation
    with pytest.raises(RuntimeError, match="stopped"), alike.rows(llm):
        assert llm.config._attn_implementation != kind
        raise RuntimeError("stopped")
    assert llm.config._attn_implementation == kind == attention.NAME
    assert not any("forward" in module.__dict__ for module in llm.modules())
    assert torch.equal(llm(input_ids=ids).logits, before)


def test_float32_and_learning_are_left_alone():
    llm = llm_of()
    assert not alike.wanted(llm)  # gradients
    with torch.no_grad():
        assert alike.wanted(llm)
        assert not alike.wanted(llm.float())
        with torch.autocast("cpu", torch.bfloat16):
            assert alike.wanted(llm)


def test_a_query_attends_as_alone():
    """Rows padded on the left, several queries, a window: bit for bit."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(shape, generator=generator).bfloat16()
        for shape in ((3, 4, 5, 16), (3, 2, 70, 16), (3, 2, 70, 16))
    )
    begins = torch.tensor([0, 13, 40])
    columns, ends = torch.arange(70), torch.arange(66, 71)
    mask = (columns >= begins[:, None, None, None]) & (columns < ends[:, None])
    mask[0, 0, :, :20] = False  # what a window does not reach
    module = nn.Module()
    out, _ = attention.attend_alone(module, q, k, v, mask)
    for row, begin in enumerate((20, 13, 40)):
        for place, end in enumerate(ends.tolist()):
            part = [x[row : row + 1, :, begin:end].contiguous() for x in (k, v)]
            one = q[row : row + 1, :, place : place + 1].contiguous()
            alone, _ = attention.attend_alone(module, one, *part, None)
            assert torch.equal(out[row, place], alone[0, 0])
            near, _ = attention.attend(module, one, *part, None)
            assert (alone - near).norm() < 0.01 * near.norm()
