"""Does an LLM keep the examples of a packed row apart?

Packed examples are told apart by their positions alone, which begin anew at each. An LLM that takes
its positions from elsewhere, or carries a state along the row, reads them as one text. Which LLMs
these are is tried out on a small copy, since families change with transformers; the name of what
mixes them is for the message.
"""

import inspect
import weakref

import torch
from torch import nn

from speechllm.models.sizes import SIZES, small

ATTENTION = ("full_attention", "sliding_attention", "chunked_attention", "attention")
LENGTHS = (3, 5)  # of the two examples that are tried
NOISE = 1e-4  # of the largest logit: rounding of float32 is a hundredth of it


KNOWN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # what was found out of each LLM


def check(llm: nn.Module) -> None:
    """Refuse packed rows where an LLM does not keep their examples apart; tried out once.

    Raises:
        ValueError: it does not; says what mixes them.
    """
    if llm not in KNOWN:
        KNOWN[llm] = mixes(llm)
    if KNOWN[llm]:
        raise ValueError(
            f"[data] pack: the LLM ({llm.config.model_type}) has {KNOWN[llm]}: it would read the "
            "examples of a row as one text; leave pack at 0"
        )


def mixes(llm: nn.Module) -> str:
    """Name what lets the examples of a row into each other; "" where nothing does."""
    try:
        apart = _apart(_small(llm))
    except Exception:  # a family may want sizes that fit each other; then its marks have to do
        positions = "position_ids" in inspect.signature(llm.forward).parameters
        apart = positions and not _carries(llm) and not _alibi(llm)
    return "" if apart else _mechanism(llm)


def _small(llm: nn.Module) -> nn.Module:
    """Make a copy with all its layers, narrow, with weights from a seed of its own."""
    fields = llm.config.to_dict()
    layers = {name for name, size in SIZES.items() if size == 2}
    narrow = {
        name: size
        for name, size in small(fields).items()
        if isinstance(size, int) and name not in layers
    }
    config = type(llm.config).from_dict({**fields, **narrow})
    kind = llm.config._attn_implementation
    config._attn_implementation = kind if kind in ("eager", "sdpa") else "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = type(llm)(config).float().eval()
        for weight in made.parameters():
            if weight.ndim > 1:  # as wide as it takes for every layer to be heard in the logits
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return made


@torch.no_grad()
def _apart(llm: nn.Module) -> bool:
    """Compare an example behind another one with itself alone."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(llm.config.vocab_size, (1, sum(LENGTHS)), generator=generator)
    positions = torch.cat([torch.arange(n) for n in LENGTHS])[None]
    both, alone = (
        llm(
            ids[:, first:],
            attention_mask=None,
            position_ids=positions[:, first:],
            use_cache=False,
        ).logits
        for first in (0, LENGTHS[0])
    )
    return bool((both[:, LENGTHS[0] :] - alone).abs().max() <= NOISE * alone.abs().max())


def _carries(llm: nn.Module) -> bool:
    kinds = getattr(llm.config, "layer_types", None) or ()
    return getattr(llm, "_is_stateful", False) or any(kind not in ATTENTION for kind in kinds)


def _alibi(llm: nn.Module) -> bool:
    """Say whether distances are counted by ALiBi: a setting says so, or the code knows no other."""
    tables = [llm.config.to_dict()]
    tables += [value for value in tables[0].values() if isinstance(value, dict)]
    said = [value for table in tables for name, value in table.items() if name == "alibi"]
    code = (name for part in llm.modules() for name in dir(type(part)))
    return any(said) if said else any("alibi" in name for name in code)


def _mechanism(llm: nn.Module) -> str:
    """Say what of an LLM does not heed where an example begins."""
    if _carries(llm):
        return "a state that is carried along the row (recurrence or convolution)"
    if _alibi(llm):
        return "ALiBi, distances counted along the whole row"
    if "position_ids" not in inspect.signature(llm.forward).parameters:
        return "no positions of its own to be told apart by"
    return "attention that does not heed where positions begin anew"
