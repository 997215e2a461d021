"""CogVLM's visual expert: at media positions every layer of the LLM has weights of its own.

Soft tokens take text positions, as in `interleave`. There queries, keys, values and the perceptron
are computed by copies of the LLM's own modules, which alone learn; attention is one over all
positions, and text is computed as ever: without media the LLM is, to the bit, the one it was.
The copies stand behind the LLM's modules by forward hooks, so any causal LM of transformers will
do whose layers have an attention with its projections and a perceptron.

Paper: CogVLM, arXiv 2311.03079, section 2.1; its code has the attention's output apart, too.
"""

import copy
import dataclasses
from functools import partial

import torch
from torch import nn

from speechllm.models import held
from speechllm.models.fusion import _slots
from speechllm.models.fusion.interleave import put
from speechllm.models.llm import layers

QUERIES = ("q_proj", "query_key_value", "qkv_proj", "c_attn", "Wqkv")
OUTPUTS = ("o_proj", "out_proj", "dense", "c_proj")
PERCEPTRONS = ("mlp", "feed_forward", "ffn", "fc")


@dataclasses.dataclass(frozen=True)
class Config:
    """output: whether the attention's last projection is apart, too."""

    output: bool = True

    def count(self, n):
        """Give the text positions that a medium of n soft tokens takes: as many."""
        return n

    def build(self) -> "Expert":
        """Make the fusion; its weights come with `attach`."""
        return Expert(self)


class Expert(nn.Module):
    """See the module docstring; what `join` joined last is where the copies compute from then on.

    `layers` holds the copies, by layer and name.
    """

    HELD = "_places"

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.count = config.count
        self._places = None  # (B, S) bool

    def attach(self, llm) -> None:
        """Copy the LLM's weights and stand the copies behind them, once.

        Raises:
            ValueError: its layers are not found, or have no attention or perceptron known here.
        """
        if hasattr(self, "layers"):
            raise ValueError("this fusion is attached to an LLM already; build another")
        self.layers = nn.ModuleList()
        for layer in layers(llm) or ():
            copies = nn.ModuleDict()
            for name, module in self._parts(layer).items():
                copies[name] = _bare(module)
                module.register_forward_hook(partial(self._behind, copies[name]))
            self.layers.append(copies)
        if not len(self.layers):
            raise ValueError(f"[fusion] expert finds no layers in {type(llm).__name__}")
        held.add(llm, self)

    def _parts(self, layer) -> dict[str, nn.Module]:
        """Find what of a layer is to be apart, by name.

        Raises:
            ValueError: it is not found.
        """
        children = dict(layer.named_children())
        attention = next((c for c in children.values() if _linear(c, QUERIES)), None)
        perceptron = next((children[name] for name in PERCEPTRONS if name in children), None)
        if attention is None or perceptron is None:
            raise ValueError(
                "[fusion] expert wants layers of one attention, with projections called "
                f"{', '.join(QUERIES)}, and one perceptron ({', '.join(PERCEPTRONS)}), got "
                f"{', '.join(children)}"
            )
        left_out = () if self.config.output else OUTPUTS
        return {**_linear(attention, without=left_out), "mlp": perceptron}

    def join(self, embeddings, tokens, slots, segments=None):
        """Put soft tokens into their slots, whose positions the copies compute from now on.

        Args and result are those of `interleave`.

        Raises:
            ValueError: tokens and slots of different number, a slot longer than its tokens.
        """
        _slots.check(tokens, slots)
        self._places = None
        if not len(slots):
            return embeddings
        column = torch.arange(embeddings.shape[1], device=slots.device)
        places = torch.zeros(embeddings.shape[:2], dtype=torch.bool, device=slots.device)
        for row, start, count in slots.tolist():
            places[row] |= (column >= start) & (column < start + count)
        self._places = places
        return put(embeddings, tokens, slots)

    def keep(self, rows) -> None:
        """Go on with these rows (n,) of what was joined: the others' answers have ended."""
        if self._places is not None:
            self._places = self._places[rows]

    def _behind(self, own, module, args, out):
        """Put what the copy makes of media positions in place of what the LLM's module does.

        A step behind the prompt is text.
        """
        places = self._places
        if places is None or args[0].shape[1] < places.shape[1]:
            return None
        if not isinstance(out, torch.Tensor):
            kind = type(module).__name__
            raise ValueError(f"[fusion] expert: {kind} gives more than one tensor")
        places = places.repeat_interleave(len(out) // len(places), 0)
        made = own(*(each[places] for each in args))  # at these alone
        whole = torch.zeros_like(out, dtype=made.dtype).index_put((places,), made)
        return torch.where(places[..., None], whole, out)

    def __getstate__(self):
        """Leave out what was joined last: a copy of the model begins without media."""
        return {**self.__dict__, "_places": None}


def _linear(module: nn.Module, names=(), without=()) -> dict[str, nn.Module]:
    """Give children with a weight matrix, by name: all, or none where not one is of `names`."""
    found = {
        name: child
        for name, child in module.named_children()
        if getattr(getattr(child, "base_layer", child), "weight", torch.empty(0)).dim() == 2
    }
    if names and not set(names) & found.keys():
        return {}
    return {name: child for name, child in found.items() if name not in without}


def _bare(module: nn.Module) -> nn.Module:
    """Copy a module without the LoRAs that may stand in it."""
    made = copy.deepcopy(getattr(module, "base_layer", module))
    for name, child in list(made.named_modules()):
        if hasattr(child, "base_layer"):
            made.set_submodule(name, child.base_layer)
    return made.requires_grad_(True)
