"""BEATs: audio events by a Transformer over patches of a spectrogram, trained on its own tokens.

An implementation of its own that reads the released checkpoints, converted to safetensors once
(`CONVERT`). Patches are 16 x 16 and do not overlap: 8 a column, 50 states a second, a column after
the other as released. The gradient of each layer is not made smaller on its way down, as the
authors do while they tune the encoder, and layers are not dropped.

The front end is Kaldi's fbank with 128 bins, normalised by (x - 15.41663) / (2 * 6.55582).

Shapes: x (B, T, 128) frames -> (B, L, D), L = 8 (T // 16), or T // 16 with patches = "mean".
Paper: arXiv 2212.09058.
"""

import dataclasses
import functools
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from speechllm import config as settings
from speechllm import files
from speechllm.models.encoders import _bands, _layers, _patches
from speechllm.models.encoders._beats import Network, Sizes
from speechllm.models.hub import one_line, some
from speechllm.models.masks import zero_beyond

# What the released configurations say and this network is; another value is another network.
SAME = {
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
}
CONVERT = """import json, torch
from safetensors.torch import save_file
found = torch.load("BEATs.pt", weights_only=True)
save_file({name: x.clone() for name, x in found["model"].items()}, "model.safetensors")
json.dump({"model_type": "beats", **found["cfg"]}, open("config.json", "w"))
"""
HINT = f"the released .pt is a pickle and has to be converted once, in Python:\n{CONVERT}"
HEAD = r"predictor\."  # the classifier of a tuned checkpoint
TWINS = r"encoder\.layers\.[1-9]\d*\.self_attn\.relative_attention_bias\.weight"
# What a newer torch calls the two halves of the weight of positions when it saves such a model.
RENAME = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
ORIGINAL = "encoder.layers.0.self_attn.relative_attention_bias.weight"


# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "input_patch_size": 4,
    "embed_dim": 24,
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "num_buckets": 16,
    "max_distance": 30,
    "num_mel_bins": 16,
}
TINY = (
    (16, {"config": CONFIG}),
    (16, {"config": CONFIG, "layers": "weighted", "patches": "mean"}),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Which BEATs.

    pretrained: a folder with config.json and model.safetensors. config: fields of it that differ
    (`_beats.Sizes`), or of a model from nothing without `pretrained`. patches: "all" states, a
    column after the other, or the "mean" of each column. layers: "last" or "weighted" (learned sum
    of all layers).
    """

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    patches: str = "all"
    layers: str = "last"

    def __post_init__(self):
        """Refuse words that mean nothing."""
        _patches.check(self.patches)
        _layers.check(self.layers)

    @functools.cached_property
    def sizes(self) -> Sizes:
        """The checkpoint's sizes with the changes of `config`."""
        known = {field.name for field in dataclasses.fields(Sizes)}
        fields = read_fields(self.pretrained) if self.pretrained else {}
        for key, value in SAME.items():
            if fields.get(key, value) != value:
                raise ValueError(
                    f"{self.pretrained}: {key} is {fields[key]!r}; only {value!r}, as released, "
                    "can be built"
                )
        fields = {key: value for key, value in fields.items() if key in known}
        return settings.fill(Sizes, {**fields, **self.config}, "beats config")

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.sizes.encoder_embed_dim

    def columns(self, n):
        """Give the number of columns within n frames; n may be a tensor of lengths."""
        return n // self.sizes.input_patch_size

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        rows = self.sizes.num_mel_bins // self.sizes.input_patch_size
        return self.columns(n) * (rows if self.patches == "all" else 1)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for `in_dim` mel bands.

        Raises:
            ValueError: another number of bands, no checkpoint, or keys that do not fit.
        """
        _bands.check("beats", self.sizes.num_mel_bins, in_dim, _patches.FRONT)
        return BEATs(self)


class BEATs(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.network = Network(config.sizes)
        if config.pretrained:
            load_weights(self.network, config.pretrained)
        self.mix = _layers.Mix(config.layers, config.sizes.encoder_layers)

    def forward(self, x, lengths):
        """Map features x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        patch, rows = self.config.sizes.input_patch_size, x.shape[2]
        x = nn.functional.pad(zero_beyond(x, lengths), (0, 0, 0, max(0, patch - x.shape[1])))
        hidden = self.network(x, self.config.columns(lengths))
        grid = self.mix(hidden[-1], hidden).unflatten(1, (-1, rows // patch))
        return _patches.states(grid, self.config.patches), self.config.count(lengths)


def read_fields(folder: str) -> dict:
    """Read the config.json of a converted checkpoint.

    Raises:
        ValueError: there is none, or it is not of BEATs; says how to convert.
    """
    file = Path(folder).expanduser() / "config.json"
    try:
        fields = files.read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: no checkpoint there: {one_line(error)}; {HINT}") from None
    if fields.get("model_type") != "beats":
        raise ValueError(f"{file}: wanted a beats checkpoint, with model_type = 'beats' in it")
    return fields


def load_weights(network: Network, folder: str) -> None:
    """Fill `network` from the model.safetensors of a folder.

    The released file repeats the first layer's bias of positions in each layer; a head is left.

    Raises:
        ValueError: no such file; keys missing, unexpected or of another shape, listed.
    """
    file = Path(folder).expanduser() / "model.safetensors"
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot be loaded: {one_line(error)}; {HINT}") from None
    for new, released in RENAME.items():
        weights = {name.replace(new, released): x for name, x in weights.items()}
    twins = {name: x for name, x in weights.items() if re.fullmatch(TWINS, name)}
    own = network.state_dict()
    lists = {
        "unexpected": [n for n in weights if n not in own | twins and not re.match(HEAD, n)],
        "missing": [name for name in own if name not in weights],
        "other shape": [
            f"{n} {tuple(weights[n].shape)} for {tuple(own[n].shape)}"
            for n in own
            if n in weights and weights[n].shape != own[n].shape
        ],
        "not that of the first layer": [
            n for n, x in twins.items() if ORIGINAL in weights and not x.equal(weights[ORIGINAL])
        ],
    }
    wrong = "; ".join(f"{what}: {some(sorted(names))}" for what, names in lists.items() if names)
    if wrong:
        raise ValueError(f"{file} does not fit this BEATs ({wrong})")
    network.load_state_dict({name: weights[name] for name in own})
