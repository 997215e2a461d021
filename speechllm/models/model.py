"""The model: branches (encoder, adapter), fusion, LLM, called in this order. It knows nothing else.

B rows, S text positions, M media (of one kind, or of all kinds in the order of their slots),
L encoder steps, K soft tokens, D encoder width, H LLM width, V vocabulary.
"""

from torch import nn

from speechllm.data.batch import Batch
from speechllm.models import lora
from speechllm.models.branch import Parts
from speechllm.models.forward import Pass
from speechllm.models.llm import text_embeddings


class SpeechLLM(nn.Module):
    """A speech LLM. `model(batch)` answers with a `Pass`, whose parts are computed when asked for.

    Attributes:
        encoder, adapter: (x, lengths) -> (y, lengths), of audio; see the contracts of their rooms.
        encoder_dim: D.
        branch: the same three of each further medium.
        tokenizer: whose tokens the LLM's are; only heads that spell ask it, when they are made.
        fusion: says where soft tokens meet the LLM: `attach(llm)` once, `join` at each pass.
        llm: a causal LM of transformers, perhaps with LoRA inside.
    """

    def __init__(self, parts: dict[str, Parts], fusion, llm: nn.Module):
        """Join the parts of branches, each under its place: "", or "branch.image."."""
        super().__init__()
        if own := parts.get(""):
            self.encoder, self.adapter = own.encoder, own.adapter
            self.encoder_dim, self.counts = own.encoder_dim, own.counts
        self.fusion = fusion
        self.llm = llm
        self.branch = nn.ModuleDict({p.split(".")[1]: one for p, one in parts.items() if p})
        self.tokenizer = None
        self.heads = nn.ModuleDict()  # what reads states besides the LLM, by name
        self.under_way: dict[str, object] = {}  # the pass that has something in the modules
        fusion.attach(llm)

    @property
    def branches(self) -> dict:
        """What has `encoder`, `adapter` and `encoder_dim` of each medium: for audio the model."""
        own = {"audio": self} if hasattr(self, "encoder") else {}
        return {**own, **self.branch}

    @property
    def width(self) -> int:
        """H, the width of the LLM's embeddings."""
        return self.llm.get_input_embeddings().embedding_dim

    @property
    def vocab_size(self) -> int:
        """V, the number of the LLM's embeddings."""
        return self.llm.get_input_embeddings().num_embeddings

    def match(self) -> None:
        """Let soft tokens start near the norm of the LLM's embeddings, where the adapter can."""
        if self.llm.get_input_embeddings().weight.is_meta:
            return
        embeddings = text_embeddings(self.llm)
        for branch in self.branches.values():
            if hasattr(branch.adapter, "match"):
                branch.adapter.match(embeddings)

    def take_head(self, name: str, head: nn.Module) -> None:
        """Take a head in, with the weights of the one that was there if it was of the same kind."""
        if name in self.heads and self.heads[name].config == head.config:
            head.load_state_dict(self.heads[name].state_dict())
        self.heads[name] = head

    def untouched(self):
        """Make the context in which the LLM is as it came: no LoRA, no dropout, no gradient."""
        return lora.untouched(self.llm)

    def forward(self, batch: Batch, alone: bool = False) -> Pass:
        """Start one pass over a batch; `alone` as of `Pass`."""
        return Pass(self, batch, alone)
