"""Gated cross-attention: before every n-th layer of the LLM its text looks at the soft tokens.

A medium takes one text position, whatever its length, so the LLM's sequence stays short. That
position and all after it in its example see the medium; positions that see none, and text without
media, pass through untouched. The gates start at zero: at first the LLM answers as if nothing were
there. The layers are transformers' own of Llama 3.2 Vision (Mllama); they stand before the LLM's by
forward pre-hooks, so any causal LM of transformers will do, and belong to the fusion, not to it.
An LLM that has such layers among its own (Llama 3.2 Vision) keeps them: `inside`.
Papers: Flamingo, arXiv 2204.14198; Llama 3, arXiv 2407.21783, section 7.2.
"""

import dataclasses
from functools import partial

import torch
from torch import nn

from speechllm.models import held
from speechllm.models.fusion import _slots
from speechllm.models.fusion._media import Media
from speechllm.models.llm import layers
from speechllm.ranges import Size, Width

SEES = ("all", "last", "run")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the cross-attention.

    every: one before each n-th layer of the LLM, the n-th the first. heads, kv_heads: of its
    attention, 0 for the LLM's (kv_heads: for as many as heads). ff: inner width of its gated
    perceptron, 0 for four times the LLM's width.
    sees: "all" media of the example that have begun, or the "last" of them, as in Flamingo, or the
    last "run" of media that stand side by side, as in Llama 3.2.
    inside: the LLM has the layers already, of the sizes that it has: nothing else counts then.
    """

    every: Width = 4
    heads: Size = 0
    kv_heads: Size = 0
    ff: Size = 0
    sees: str = "all"
    inside: bool = False

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.every < 1 or min(self.heads, self.kv_heads, self.ff) < 0:
            raise ValueError(
                "wanted every of 1 or more, heads, kv_heads and ff of 0 or more, got every "
                f"{self.every}, heads {self.heads}, kv_heads {self.kv_heads}, ff {self.ff}"
            )
        if self.sees not in SEES:
            raise ValueError(f"sees must be one of {', '.join(SEES)}, got {self.sees!r}")

    def count(self, n):
        """Give the text positions that a medium of n soft tokens takes: one, where n is not 0."""
        return (0 < n) * 1

    def build(self) -> "CrossAttention":
        """Make the fusion; its layers come with `attach`."""
        return CrossAttention(self)


class CrossAttention(nn.Module):
    """See the module docstring.

    What `join` joined last is what the LLM sees from then on: join before each use, with no media
    where there are none.
    """

    HELD = "_media"

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.count = config.count
        self._media = None

    def attach(self, llm) -> None:
        """Make the layers for an LLM and stand them before its own, once.

        Raises:
            ValueError: its layers are not found, fewer than `every` or of another width than its
                embeddings; heads that do not divide its width; attached already.
        """
        if self.config.inside:
            self._attach_inside(llm)
            return
        embedding, n = llm.get_input_embeddings(), len(self._chosen(llm, self.config.every - 1))
        settings = self._settings(llm.config.get_text_config(), embedding.embedding_dim)
        self._stand(llm, [_cross_layer(settings, i) for i in range(n)], self.config.every - 1)
        weight = embedding.weight
        # as large as a text embedding is, root mean square over the vocabulary: the LLM has never
        # seen a position much larger or smaller
        scale = torch.linalg.vector_norm(weight.detach(), dtype=torch.float32)
        scale = scale / weight.numel() ** 0.5 * getattr(embedding, "embed_scale", 1.0)
        self.place = nn.Parameter(torch.randn(weight.shape[1], device=scale.device) * scale)

    def _theirs(self, llm) -> nn.ModuleList:
        """Find the LLM's layers.

        Raises:
            ValueError: there is no such list; this is attached already.
        """
        if hasattr(self, "layers"):
            raise ValueError("this fusion is attached to an LLM already; build another")
        stack = layers(llm)
        if stack is None:
            n = llm.config.get_text_config().num_hidden_layers
            name = type(llm).__name__
            raise ValueError(f"[fusion] cross_attention finds no list of {n} layers in {name}")
        return stack

    def _chosen(self, llm, first: int) -> nn.ModuleList:
        """Give the LLM's layers before which one of ours stands, from number `first` on.

        Raises:
            ValueError: fewer than `every`; as `_theirs`.
        """
        theirs = self._theirs(llm)
        if self.config.every > len(theirs):
            raise ValueError(
                f"[fusion] every = {self.config.every}, but the LLM has {len(theirs)} layers"
            )
        return theirs[first :: self.config.every]

    def _stand(self, llm, layers: list[nn.Module], first: int) -> None:
        """Stand layers of ours before those that are chosen."""
        chosen = self._chosen(llm, first)
        self.layers = nn.ModuleList(layers)
        held.add(llm, self)
        for own, layer in zip(self.layers, chosen, strict=True):
            layer.register_forward_pre_hook(partial(self._before, own), with_kwargs=True)

    def _attach_inside(self, llm) -> None:
        """Let the LLM's own layers of cross-attention read the media, each before the next layer.

        Raises:
            ValueError: it has none, or ends in one.
        """
        theirs, text = self._theirs(llm), llm.config.get_text_config()
        numbers = getattr(text, "cross_attention_layers", None) or ()
        if not numbers or max(numbers) + 1 >= len(theirs):
            raise ValueError(
                "[fusion] cross_attention inside = true wants an LLM with such layers before its "
                f"last (mllama_text_model), got {text.model_type}: {list(numbers)}"
            )
        self.layers, self.place = (), None
        held.add(llm, self)
        for number in numbers:
            # the LLM leaves them out, as it is given nothing to see
            before = partial(self._before, theirs[number])
            theirs[number + 1].register_forward_pre_hook(before, with_kwargs=True)

    def _settings(self, text, width: int):
        """Describe a cross-attention layer for an LLM whose configuration is `text`."""
        from transformers.models.mllama.configuration_mllama import MllamaTextConfig

        heads = self.config.heads or text.num_attention_heads
        kv_heads = self.config.kv_heads or heads
        if text.hidden_size != width:
            raise ValueError(
                f"[fusion] cross_attention wants an LLM whose embeddings are as wide as its layers,"
                f" got {width} and {text.hidden_size}"
            )
        if width % heads or heads % kv_heads:
            raise ValueError(
                f"[fusion] wanted heads that divide the LLM's width {width} and kv_heads that "
                f"divide heads, got heads {heads}, kv_heads {kv_heads}"
            )
        return MllamaTextConfig(
            hidden_size=width,
            intermediate_size=self.config.ff or 4 * width,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            attn_implementation="sdpa",
        )

    def join(self, embeddings, tokens, slots, segments=None):
        """Let the LLM see soft tokens, from now to the next call, and mark where they begin.

        Args:
            embeddings: (B, S, H) of text, anything at the slots.
            tokens: (M, K, H).
            slots: (M, 3) int64 rows of row, start, count: media m is seen from (row, start) on, its
                first `count` soft tokens.
            segments: (B, S), the number of each position's example; a medium is seen in its own
                only. None: a row is one example.

        Returns:
            (B, S, H); at each start stands the learned embedding `place`, but where the layers are
            the LLM's what stood there.

        Raises:
            ValueError: tokens and slots of different number, a count above K.
        """
        _slots.check(tokens, slots)
        self._media = None
        if not len(slots):
            return embeddings
        if segments is None:
            segments = torch.ones(embeddings.shape[:2], dtype=torch.long, device=slots.device)
        self._media = Media.of(tokens, slots, segments, self.config.sees)
        if self.place is None:
            return embeddings
        row, start, _ = slots.unbind(1)
        place = self.place.to(embeddings.dtype).expand(len(slots), -1)
        return embeddings.index_put((row, start), place)

    def keep(self, rows) -> None:
        """Go on with these rows (n,) of what was joined: the others' answers have ended."""
        if self._media is not None:
            self._media = self._media.take(rows)

    def _before(self, own, layer, args, kwargs):
        """Stand before a layer of the LLM: change the hidden states (B, S, H) it is given."""
        if args:
            return (self._read(own, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self._read(own, kwargs["hidden_states"])}

    def _read(self, own, hidden):
        """Let hidden states (B, S, H) look through a layer of ours, where there are media."""
        return hidden if self._media is None else self._media.read(own, hidden)

    def __getstate__(self):
        """Leave out what was joined last: a copy of the model begins without media."""
        return {**self.__dict__, "_media": None}


def _cross_layer(settings, number: int) -> nn.Module:
    from transformers.models.mllama import modeling_mllama

    return modeling_mllama.MllamaCrossAttentionDecoderLayer(settings, number)
