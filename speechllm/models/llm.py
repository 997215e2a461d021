"""The LLM: any causal language model of transformers, with LoRA by peft.

`pretrained` loads a checkpoint (Hub id or folder), else `config` describes one made from nothing,
for example {model_type = "llama", hidden_size = 160, ...}. LoRA (arXiv 2106.09685) is injected in
place, so that the model stays a plain transformers model whose parameters `*lora_*` are added.
"""

import dataclasses
import difflib
from contextlib import contextmanager

import torch
from torch import nn

from speechllm.config import suggest
from speechllm.models.hub import load_weights, one_line, read_config, read_fields

DTYPES = ("auto", "float32", "bfloat16", "float16")
LEFT_OVER = (r".*rotary_emb\.inv_freq$",)  # old Llama checkpoints carry this constant
# A model from nothing has the tokenizer's special ids or none, never the family's defaults.
NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank updates: rank r, scale alpha / r, dropout on their input, names of the layers.

    targets: last parts of module names ("q_proj") or longer ends of them ("self_attn.q_proj");
    ("all-linear",) is every Linear but the output layer.
    """

    r: int = 8
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which LLM.

    pretrained: Hub id or folder. config: fields of its configuration that differ, or, without
    `pretrained`, the whole of it beginning with model_type.
    dtype: of the weights; "auto" is the checkpoint's own (float32 from nothing).
    pad_token: a token of the tokenizer to pad with, where it has none or pads with eos.
    attention: "sdpa", "eager", "flash_attention_2"; empty leaves the choice to transformers.
    """

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    dtype: str = "auto"
    pad_token: str = ""
    attention: str = ""
    gradient_checkpointing: bool = False
    lora: Lora | None = None

    def __post_init__(self):
        """Refuse a description of nothing."""
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if not self.pretrained and "model_type" not in self.config:
            raise ValueError('wanted pretrained = "..." or config = { model_type = "...", ... }')

    def build(self, vocab_size: int) -> nn.Module:
        """Make the LLM for a tokenizer of `vocab_size` entries, weights from torch's own seed.

        Raises:
            ValueError: no such model or checkpoint, fewer embeddings than the tokenizer has
                entries, LoRA targets that match nothing.
        """
        model = self._load() if self.pretrained else self._create(vocab_size)
        rows = model.get_input_embeddings().num_embeddings
        if rows < vocab_size:
            raise ValueError(
                f"[llm] {self.pretrained or 'config'} has {rows} embeddings, but the tokenizer has "
                f"{vocab_size} entries: it is not this LLM's tokenizer"
            )
        if self.lora:
            inject(model, self.lora)
        if self.gradient_checkpointing:
            names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
            # renamed in transformers 5.23; older ones know the second name
            next(getattr(model, name) for name in names if hasattr(model, name))()
        return model

    def _load(self) -> nn.Module:
        from transformers import AutoModelForCausalLM

        family = read_fields(self.pretrained)["model_type"]
        changes = {key: value for key, value in self.config.items() if key != "model_type"}
        config = read_config(_config_class(family), self.pretrained, changes)
        options = self._options()
        return load_weights(AutoModelForCausalLM, self.pretrained, config, LEFT_OVER, **options)

    def _create(self, vocab_size: int) -> nn.Module:
        from transformers import AutoModelForCausalLM

        fields = {**NO_IDS, "vocab_size": vocab_size, **self.config}
        config = read_config(_config_class(fields.pop("model_type")), "", fields)
        try:
            return AutoModelForCausalLM.from_config(config, **self._options())
        except (ValueError, RuntimeError, ImportError) as error:
            raise ValueError(f"[llm] config: {one_line(error)}") from None

    def _options(self) -> dict:
        dtype = "float32" if self.dtype == "auto" and not self.pretrained else self.dtype
        return {"dtype": dtype, "attn_implementation": self.attention or None}


def load_tokenizer(place, pad_token: str = ""):
    """Load a tokenizer from a folder or the Hub; `pad_token`, one of its tokens, is to pad with.

    Raises:
        ValueError: there is none; the pad token is not in its vocabulary.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(f"{place}: no tokenizer could be loaded: {one_line(error)}") from None
    if pad_token:
        if pad_token not in tokenizer.get_vocab():
            raise ValueError(f"{place}: pad_token {pad_token!r} is not in its vocabulary")
        tokenizer.pad_token = pad_token
    return tokenizer


def inject(model: nn.Module, lora: Lora) -> None:
    """Add LoRA to the layers that `lora.targets` names, in place; all else is frozen by peft.

    Raises:
        ValueError: targets that match no layer, with the names that would.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D  # GPT-2's way to write a Linear

    kinds = (nn.Linear, Conv1D)
    layers = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    ends = {name.rsplit(".", 1)[-1] for name in layers}
    for target in lora.targets:
        if target != "all-linear" and not any(_ends(name, target) for name in layers):
            raise ValueError(f"[llm.lora] no layer is called {target!r}; {suggest(target, ends)}")
    every = "all-linear" in lora.targets
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if every else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # as peft does for its own models: bfloat16 would round updates away
            parameter.data = parameter.data.float()


def switch_lora(model: nn.Module, on: bool) -> None:
    """Let LoRA take part or not; one that was never trained only costs time.

    peft lets LoRA learn or not as it is switched: choose what learns afterwards.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(on)


@contextmanager
def untouched(model: nn.Module):
    """Let the LLM be for a while as it came: no LoRA, no dropout, no gradient."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    modes = [(module, module.training) for module in model.modules()]
    on = any(isinstance(m, BaseTunerLayer) and not m.disable_adapters for m, _ in modes)
    learn = [(p, p.requires_grad) for name, p in model.named_parameters() if "lora_" in name]
    switch_lora(model, False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        switch_lora(model, on)
        for module, training in modes:
            module.training = training
        for parameter, learns in learn:
            parameter.requires_grad_(learns)


@contextmanager
def outputs_at(model: nn.Module, rows, columns):
    """Let the LLM compute logits at (rows[i], columns[i]) alone: its answer is (1, N, V)."""

    def choose(_, args):
        return (args[0][rows, columns][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def _config_class(family: str):
    """Find the configuration class of a family.

    Raises:
        ValueError: transformers has no such family, or it is no causal language model.
    """
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    known = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if family not in known:
        near = difflib.get_close_matches(family, known)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"[llm] transformers has no causal LM of model_type {family!r}{hint}")
    return type(AutoConfig.for_model(family))
