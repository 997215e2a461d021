"""Lines of an LLM that say the same, to the bit, alone and among others: bfloat16 on a processor.

A greedy answer is to be the same however it was asked: alone, beside others, or with a draft of
which several tokens are read at once. In float32 the rounding of sums in another order changes no
token; in bfloat16 a tenth of the answers. So here each line is computed as if nothing else were:

- prompts are read one by one (`models/reading.py`), which many positions make no slower;
- attention reads the keys of one line and one query at a time (`attention.by_query`);
- a linear layer multiplies as many rows at once as this very machine has shown to come out as each
  of them does alone, or, where single rows are a case of their own, as two of them do (`SIZES`,
  tried once a shape). An EPYC with AVX-512 adds up 2048 terms of one row in another order than
  those of two, twelve or thirty, and 640 in the same: of Gemma 3 270M one layer of seven, and some
  products of LoRA, are computed of two rows where there is one, which takes no longer.

What else an LLM does is done row by row. Mixtures of experts, state-space layers and LoRA behind a
gate multiply in ways of their own, and are not promised.

M rows, I and O widths.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad

from speechllm.models import attention, fused

SIZES = (1, 2, 4, 8, 12, 16, 24, 32)  # rows of a product; more are several products
SEEN = 2**16  # sums that are compared, at least: one in a thousand is enough to tell
LARGE = 2**24  # numbers of a weight of which no second is made to try it

_shown: dict[tuple, tuple[int, ...]] = {}


def wanted(llm: nn.Module) -> bool:
    """Say whether an LLM is about to compute in bfloat16 on a processor, without learning."""
    weight = llm.get_output_embeddings().weight
    half = weight.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    return weight.device.type == "cpu" and half and not torch.is_grad_enabled()


@contextmanager
def rows(llm: nn.Module):
    """Let each row that an LLM reads behind its cache be computed as it is alone."""
    if "linears" not in llm.__dict__:
        llm.__dict__["linears"] = _linears(llm)
    # what has another forward for a while (`outputs.among`) keeps it
    chosen = [one for one in llm.__dict__["linears"] if "forward" not in one.layer.__dict__]
    try:
        for one in chosen:
            one.layer.forward = one
        with attention.by_query(llm):
            yield
    finally:
        for one in chosen:
            one.layer.__dict__.pop("forward", None)


def _linears(llm: nn.Module) -> list["_Rows"]:
    """List an LLM's linear layers, those with LoRA as a whole."""
    whole = [module for module in llm.modules() if isinstance(module, fused.Fused)]
    inside = {id(part) for one in whole for part in one.modules()} - {id(one) for one in whole}
    plain = [m for m in llm.modules() if type(m) is nn.Linear and id(m) not in inside]
    return [_Rows(layer) for layer in (*whole, *plain)]


class Product(NamedTuple):
    """A product that a layer computes.

    Attributes:
        kind: of kernels that are alike but for their shapes.
        weight: (O, I).
        make: gives the kernel for a weight: rows (M, I), and what they are added to, to (M, O).
        adds: whether it is added to something, (M, O).
    """

    kind: str
    weight: torch.Tensor
    make: Callable[[torch.Tensor], Callable[..., torch.Tensor]]
    adds: bool = False


class _Rows:
    """The forward of a linear layer: (..., I) to (..., O), by as many rows as come out alike."""

    def __init__(self, layer: nn.Module):
        self.layer = layer
        self._known: dict[tuple, tuple[int, ...]] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply; zeros fill up a size."""
        lora = isinstance(self.layer, fused.Fused)
        name = fused.plain(self.layer) if lora else ""
        if name is None:  # several LoRAs and the like multiply as they do
            return type(self.layer).forward(self.layer, x)
        weight, bias = fused.base(self.layer.base_layer if lora else self.layer)
        products = [_linear(weight, bias, 2 if lora else 3)]
        if lora:
            products += _lora(self.layer, name, weight.dtype)
        key = name, weight.dtype, torch.get_num_threads()
        if key not in self._known:
            self._known[key] = _fine(products)
        fine, flat, found = self._known[key], x.reshape(-1, x.shape[-1]), []
        with torch.autocast("cpu", enabled=False):
            kernels = [one.make(one.weight) for one in products]
            for some in flat.to(weight.dtype).split(fine[-1]):
                size = next(n for n in fine if n >= len(some))
                filled = pad(some, (0, 0, 0, size - len(some))) if size > len(some) else some
                y = kernels[0](filled)
                y = kernels[2](kernels[1](filled), y) if lora else y
                found.append(y[: len(some)])
        y = torch.cat(found) if len(found) > 1 else found[0]
        return y.view(*x.shape[:-1], -1)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None, dims: int) -> Product:
    """A linear layer; rows of an LLM come to it in three dimensions, but in `fused` in two."""

    def make(weight):
        if dims == 2:
            return lambda x: nn.functional.linear(x, weight, bias)
        return lambda x: nn.functional.linear(x[None], weight, bias)[0]

    return Product(f"linear {dims} {bias is not None}", weight, make)


def _lora(layer, name: str, dtype: torch.dtype) -> list[Product]:
    """The two products of LoRA, as `fused` computes them."""
    low, up = (getattr(layer, half)[name].weight.to(dtype) for half in ("lora_A", "lora_B"))
    scale = layer.scaling[name]
    return [
        Product("low", low, lambda weight: lambda x: x @ weight.T),
        Product("up", up, lambda w: lambda x, y: y.addmm_(x, w.T, alpha=scale), adds=True),
    ]


def _fine(products: list[Product]) -> tuple[int, ...]:
    """Give the numbers of rows in which all of a layer's products are as one row's or two's are."""
    found = []
    for base in (1, 2):
        each = [set(_of(product, base)) for product in products]
        found.append(tuple(sorted(set.intersection(*each))))
    return max(found, key=len)  # one row is as it is itself, if nothing else is


def _of(product: Product, base: int) -> tuple[int, ...]:
    weight = product.weight
    key = product.kind, weight.shape, weight.dtype, torch.get_num_threads(), base
    if key not in _shown:
        _shown[key] = sizes(product, base)
    return _shown[key]


def sizes(product: Product, base: int = 1) -> tuple[int, ...]:
    """Give those of `SIZES` in which each row of a product is as among `base` rows."""
    trial = _Trial(product)
    fine = [size for size in SIZES if size >= base]
    places = sorted({size - base for size in fine})  # where a kernel of so many rows may end
    for _ in range(-(-SEEN // (len(places) * trial.outputs))):
        given = trial.rows(SIZES[-1])
        alone = {at: trial.kernel(*(x[at : at + base].clone() for x in given)) for at in places}
        for size in list(fine):
            y = trial.kernel(*(x[:size].clone() for x in given))
            ends = [at + base for at in places if at + base <= size]
            if not all(torch.equal(y[at - base : at], alone[at - base]) for at in ends):
                fine.remove(size)
    return tuple(fine)


class _Trial:
    """Products that show in which order they are added up: what is left of them is rounding.

    Half of the terms, here and there, takes away most of what the others add; what a product is
    added to is what it is, rounded, with the other sign. Of a large weight there are so many sums
    that some show it as they are.
    """

    def __init__(self, product: Product):
        weight, self.adds = product.weight, product.adds
        self.generator, self.dtype = torch.Generator().manual_seed(0), weight.dtype
        self.outputs, self.width = weight.shape
        self.halved = not self.adds and weight.numel() <= LARGE
        self.order = torch.randperm(self.width, generator=self.generator)
        if weight.numel() <= LARGE:
            half = self._drawn(self.outputs)
            weight = self._whole(half, half)
        self.kernel = product.make(weight)

    def rows(self, n: int) -> list[torch.Tensor]:
        """Give what the kernel wants of n rows."""
        half = self._drawn(n)
        # not all of it: what is left must not be nothing in every order
        x = self._whole(half, half * -(1 + 2**-7) if self.halved else self._drawn(n))
        return [x, -self.kernel(x, x.new_zeros(n, self.outputs))] if self.adds else [x]

    def _drawn(self, n: int) -> torch.Tensor:
        drawn = torch.randn(n, self.width // 2, generator=self.generator)
        return drawn.to(self.dtype)

    def _whole(self, half: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return pad(torch.cat([half, other], 1), (0, self.width % 2))[:, self.order].contiguous()
