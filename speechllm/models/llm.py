"""The LLM: any causal language model of transformers, with LoRA by peft (`lora.py`).

`pretrained` loads a checkpoint (Hub id or folder), else `config` describes one made from nothing,
for example {model_type = "llama", hidden_size = 160, ...}.
"""

import dataclasses
import difflib
import functools
import importlib

import torch
from torch import nn

from speechllm import files
from speechllm.models import outputs
from speechllm.models.held import contexts
from speechllm.models.hub import load_weights, newer, one_line, read_config, read_fields
from speechllm.models.inject import inject
from speechllm.models.kernels import usable
from speechllm.models.lora import Lora, read

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZE = {  # what bitsandbytes is asked for
    "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "8bit": {"load_in_8bit": True},
}
LEFT_OVER = (r".*rotary_emb\.inv_freq$",)  # old Llama checkpoints carry this constant
# text models inside bigger ones that have a causal form, and under which name transformers lists it
INSIDE = {"mllama_text_model": "mllama"}
# A model from nothing has the tokenizer's special ids or none, never the family's defaults.
NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@dataclasses.dataclass(frozen=True)
class Config:
    """Which LLM.

    pretrained: Hub id or folder. config: fields of its configuration that differ, or, without
    `pretrained`, the whole of it beginning with model_type.
    dtype: of the weights; "auto" is the checkpoint's own (float32 from nothing).
    pad_token: a token of the tokenizer to pad with, where it has none or pads with eos.
    attention: "sdpa", "eager", "flash_attention_2"; empty leaves the choice to transformers.
    quantize: "4bit" (QLoRA, arXiv 2305.14314) or "8bit" weights of a pretrained LLM by
    bitsandbytes; they cannot learn, LoRA beside them can.
    lora: settings of one LoRA (`lora.Lora`), or a table of them by name.
    """

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    dtype: str = "auto"
    pad_token: str = ""
    attention: str = ""
    gradient_checkpointing: bool = False
    quantize: str = ""
    lora: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Refuse a description of nothing; read the LoRAs."""
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if not self.pretrained and "model_type" not in self.config:
            raise ValueError('wanted pretrained = "..." or config = { model_type = "...", ... }')
        if self.quantize:
            _check_quantize(self.quantize, self.pretrained)
        _ = self.loras

    @functools.cached_property
    def loras(self) -> dict[str, Lora]:
        """The LoRAs by name; "default" is the name of one that has none."""
        return read(self.lora)

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
        if self.loras:
            inject(model, self.loras)
        model.get_output_embeddings().register_forward_pre_hook(outputs.in_one_piece)
        if self.gradient_checkpointing:
            names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
            # renamed in transformers 5.23; older ones know the second name
            enable = next(getattr(model, name) for name in names if hasattr(model, name))
            enable({"use_reentrant": False, "context_fn": functools.partial(contexts, model)})
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
        family = fields.pop("model_type")
        if family in INSIDE and fields["bos_token_id"] is None:
            del fields["bos_token_id"]  # has to be a number there, and nobody asks for it
        try:
            config = read_config(_config_class(family), "", fields)
        except ValueError as error:
            raise ValueError(f"[llm] {error}") from None
        try:
            if family in INSIDE:
                return _inside(family)._from_config(config, **self._options())
            return AutoModelForCausalLM.from_config(config, **self._options())
        except MemoryError:
            raise
        except Exception as error:  # numbers that do not fit together end in any
            raise ValueError(f"[llm] config: {one_line(error)}") from None

    def _options(self) -> dict:
        dtype = "float32" if self.dtype == "auto" and not self.pretrained else self.dtype
        options = {"dtype": dtype, "attn_implementation": self.attention or None}
        if not self.quantize:
            options["dtype"] = usable(dtype, self.pretrained)
        else:
            options["quantization_config"] = _quantization(self.quantize, dtype)
        return options


def _check_quantize(kind: str, pretrained: str) -> None:
    """Refuse a quantisation that does not exist, and one without weights to quantise."""
    if kind not in QUANTIZE:
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZE)}, got {kind!r}")
    if not pretrained:
        raise ValueError(f"quantize = {kind!r} wants a pretrained LLM; weights from nothing learn")


def _quantization(kind: str, dtype: str):
    """Describe the quantisation to transformers.

    Raises:
        ValueError: bitsandbytes is not there or does not run on this machine.
    """
    from transformers import BitsAndBytesConfig

    try:
        importlib.import_module("bitsandbytes")
    except (ImportError, RuntimeError, OSError) as error:
        raise ValueError(
            f"[llm] quantize = {kind!r} wants bitsandbytes, which cannot be used here: "
            f"{one_line(error)}; pip install bitsandbytes, or leave quantize out"
        ) from None
    compute = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    more = {"bnb_4bit_compute_dtype": compute} if kind == "4bit" else {}
    return BitsAndBytesConfig(**QUANTIZE[kind], **more)


def ends(model: nn.Module) -> frozenset[int]:
    """Ids at which an LLM ends an answer by its own settings (generation_config.json), if any."""
    ids = model.generation_config.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def layers(model: nn.Module) -> nn.ModuleList | None:
    """Find an LLM's layers: the first list of as many modules as its configuration says."""
    # by its length, not by its name: it is model.layers, transformer.h, gpt_neox.layers, ...
    n = model.config.get_text_config().num_hidden_layers
    stacks = (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == n)
    return next(stacks, None)


def beside(model: nn.Module, ids: torch.Tensor) -> dict:
    """Give what an LLM wants of the ids (B, S) besides their embeddings.

    Gemma 3n and 4 look each id up once more, for every layer; where soft tokens stand they see the
    id there, as their own multimodal models have it: the pad token's.
    """
    text = model.config.get_text_config()
    if not getattr(text, "hidden_size_per_layer_input", 0):
        return {}
    most = text.vocab_size_per_layer_input
    known = ids.masked_fill(ids >= most, 0)
    return {"per_layer_inputs": model.base_model.get_per_layer_inputs(known)}


def text_embeddings(model: nn.Module, most: int = 2**15) -> torch.Tensor:
    """Give embeddings (n, H) of up to `most` tokens, evenly spread, as the layers get them.

    Some families scale inside their embedding (Gemma 3 by the root of H); and a vocabulary of
    262,144 in float32 would be more than the rest of a small LLM.
    """
    embedding = model.get_input_embeddings()
    size = embedding.num_embeddings
    ids = torch.arange(0, size, -(-size // most), device=embedding.weight.device)
    with torch.no_grad():
        return embedding(ids).float()


def _config_class(family: str):
    """Find the configuration class of a family.

    Raises:
        ValueError: transformers has no such family, or it is no causal language model.
    """
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    files.expect(family, str, "[llm] config model_type")
    known = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if family not in known and family not in INSIDE:
        near = difflib.get_close_matches(family, known)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"[llm] transformers has no causal LM of model_type {family!r}{hint}")
    return type(AutoConfig.for_model(family))


def _inside(family: str):
    """Give the causal class of a text model that stands inside a bigger one."""
    from transformers.models.auto import modeling_auto

    return newer(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[INSIDE[family]])
