"""What every encoder and adapter promises, checked for each file that stands in the rooms.

A new part is tested because its file is there; an encoder only adds its tiny settings to ENCODERS.
"""

import copy
import re
from types import SimpleNamespace

import pytest
import torch

from speechllm import config
from speechllm.models import grouping

WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
GROUP = {"config": {**WAVE, "num_feat_extract_layers": 3, "feat_extract_norm": "group"}}
LAYER = {
    "config": {
        **GROUP["config"],
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    }
}
DATA2VEC = {
    "config": {
        **{key: value for key, value in WAVE.items() if key != "num_conv_pos_embeddings"},
        "num_conv_pos_embeddings": 3,
        "conv_pos_kernel_size": 7,
    }
}
WHISPER = {
    "config": {
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "max_source_positions": 40,
        "num_mel_bins": 20,
    }
}
AST = {
    "config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "patch_size": 6,
        "frequency_stride": 4,
        "time_stride": 4,
        "max_length": 90,
        "num_mel_bins": 16,
    }
}
BEATS = {
    "config": {
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
}
CONFORMER = {"dim": 32, "layers": 2, "heads": 2, "subsampling_channels": 8}


GRANITE = {
    "config": {
        "input_dim": 32,
        "num_layers": 2,
        "hidden_dim": 32,
        "num_heads": 4,
        "context_size": 10,
        "max_pos_emb": 16,
        "output_dim": 12,
        "conv_kernel_size": 5,
    }
}
PHI4 = {
    "config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_blocks": 2,
        "num_attention_heads": 4,
        "ext_pw_out_channel": 32,
        "depthwise_separable_out_channel": 32,
        "input_size": 16,
        "nemo_conv_channels": 8,
        "bias_max_distance": 20,
    }
}


QWEN3 = {
    "config": {
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "num_mel_bins": 16,
        "downsample_hidden_size": 4,
        "n_window": 8,
        "n_window_infer": 48,
        "max_position_embeddings": 2,
    }
}


def narrow(table: dict, name: str) -> dict:
    """Give settings with the width 16: two branches side by side have the width of one encoder."""
    return {"config": {**table["config"], name: 16}}


WEIGHTED = {"layers": "weighted"}
MEL20 = {"name": "whisper80", "num_mel_bins": 20}
MEL16 = {"name": "kaldi_fbank80", "num_mel_bins": 16, "offset": -10.0, "divisor": 8.0}
# name -> [(width of the front end, tiny settings, samples or frames in a unit of length)]
ENCODERS = {
    "ast": [
        (16, AST),
        (16, {**AST, "window": "variable", "patches": "mean"}),
        (16, {**AST, **WEIGHTED, "patches": "mean"}),
    ],
    "beats": [(16, BEATS), (16, {**BEATS, **WEIGHTED, "patches": "mean"})],
    "cnn": [
        (16, {"channels": [8, 16]}),
        (13, {"channels": [4, 8, 16], "kernel": 5, "stride": 1, "normalize": "utterance"}),
    ],
    "conformer": [
        (80, CONFORMER),
        (24, {**CONFORMER, "normalize": "level"}),
        (13, {**CONFORMER, "subsampling": 8, "normalize": "none", "conv_norm": "batch"}),
        (40, {**CONFORMER, "subsampling": 2, "mix": "weighted", "normalize": "nemo"}),
    ],
    "data2vec_audio": [(1, DATA2VEC), (1, {**DATA2VEC, **WEIGHTED})],
    "dual": [
        (
            1,
            {
                "branch": [
                    {"name": "hubert", **narrow(GROUP, "hidden_size")},
                    {"name": "data2vec_audio", **narrow(DATA2VEC, "hidden_size")},
                ]
            },
        ),
        (
            20,
            {
                "branch": [
                    {"name": "whisper", **narrow(WHISPER, "d_model"), "window": "variable"},
                    {"name": "conformer", **CONFORMER, "dim": 16, "repeat": 2},
                ]
            },
        ),
        (
            20,
            {
                "branch": [
                    {"name": "whisper", **narrow(WHISPER, "d_model")},
                    {"name": "conformer", **CONFORMER, "dim": 16, "repeat": 2},
                ]
            },
        ),
        (
            1,
            {
                "branch": [
                    {
                        "name": "whisper",
                        **narrow(WHISPER, "d_model"),
                        "repeat": 2,
                        "frontend": {**MEL20, "pad_to_s": 0.8},
                    },
                    {"name": "beats", **narrow(BEATS, "encoder_embed_dim"), "frontend": MEL16},
                ]
            },
            160,
        ),
    ],
    "granite_conformer": [(16, GRANITE), (32, {**GRANITE, **WEIGHTED, "stack": 1})],
    "phi4_conformer": [(16, PHI4), (16, {**PHI4, **WEIGHTED})],
    "hubert": [(1, GROUP), (1, LAYER)],
    "qwen3_asr": [(16, QWEN3), (16, {**QWEN3, **WEIGHTED})],
    "wav2vec2": [(1, GROUP), (1, {**LAYER, **WEIGHTED})],
    "wavlm": [(1, {**GROUP, **WEIGHTED}), (1, LAYER)],
    "whisper": [
        (20, WHISPER),
        (20, {**WHISPER, "window": "masked", "final_norm": False}),
        (20, {**WHISPER, "window": "variable"}),
        (20, {**WHISPER, **WEIGHTED, "window": "variable"}),
    ],
}
# name -> settings of every case, where the published size would take a test too long
SMALL = {
    "conv_transformer": {"hidden": 32, "heads": 4, "ff": 48},
    "perceiver": {"heads": 4, "kv_heads": 2, "head_dim": 8},
    "qformer": {"hidden": 32, "heads": 4, "layers": 3},
    "window_qformer": {"hidden": 32, "heads": 4},
}
# name -> settings to try besides the defaults
ADAPTERS = {
    "conv": [{"kernel": 4, "stride": 3, "layers": 1, "norm": "layer", "hidden": 24}],
    "conv_transformer": [{"kernel": 4, "stride": 3, "layers": 2, "norm": "layer"}],
    "ctc_compress": [
        {"blank": "average", "repeats": "weighted"},
        {"repeats": "drop", "norm": "none"},
    ],
    "ctc_posterior": [
        {"blank_threshold": 1.0, "merge": False},
        {"blank_threshold": 0.02, "acoustic": True},
    ],
    "linear": [{"stack": 3, "rest": "pad", "norm": "none", "activation": "gelu", "bias": False}],
    "mlp": [
        {"layers": 1, "stack": 4, "rest": "pad", "norm": "layer"},
        {"layers": 3, "hidden": 24, "stack": 4, "activation": "silu", "bias": False},
    ],
    "name_posterior": [{"window": 4, "acoustic": True}],
    "perceiver": [{"latents": 5, "hidden": 24, "layers": 1, "norm": "none"}],
    "pool": [
        {"stride": 3, "rest": "pad", "norm": "none"},
        {"layer_norm": True, "layers": 2, "norm": "layer"},
    ],
    "qformer": [{"queries": 3, "cross_every": 1, "norm": "none"}],
    "swiglu": [{"stack": 3, "hidden": 24, "rest": "drop", "middle": False, "norm_scale": 0.4}],
    "window_qformer": [{"window": 15, "queries": 3, "rest": "pad", "norm": "none"}],
}
# name -> parameters that the LLM's loss may not reach; what does is tested with the adapter
UNREACHED = {
    "ctc_compress": r"head\.",  # it learns by CTC
    # a single query looks at itself alone, with weight 1, whatever its query and key are
    "window_qformer": r".*\.attention\.attention\.(query|key)\.",
}
WIDTH, TOKEN_WIDTH, VOCAB = 32, 48, 60  # D of all tiny encoders, H, V


def encoder_cases():
    """List every encoder of the room with its tiny settings; none without."""
    for name in config.names("models.encoders"):
        for number, (in_dim, table, *unit) in enumerate(ENCODERS.get(name, [(None, {})])):
            part = SimpleNamespace(
                name=name, in_dim=in_dim, table={"name": name, **table}, unit=unit[0] if unit else 1
            )
            yield pytest.param(part, id=f"{name}{number}")


def adapter_cases():
    """List every adapter of the room, with its defaults and with other settings."""
    for name in config.names("models.adapters"):
        for number, table in enumerate([{}, *ADAPTERS.get(name, [])]):
            case = {"name": name, **SMALL.get(name, {}), **table}
            yield pytest.param(case, id=f"{name}{number}")


def encoder(case, seed: int = 0):
    """Build a tiny encoder: (Config, module in evaluation mode)."""
    assert case.in_dim, f"add tiny settings of the encoder {case.name!r} to ENCODERS"
    made = config.part("models.encoders", case.table, "test")
    torch.manual_seed(seed)
    return made, made.build(case.in_dim).eval()


def adapter(table, seed: int = 0):
    """Build an adapter: (Config, module in evaluation mode)."""
    made = config.part("models.adapters", table, "test")
    torch.manual_seed(7)
    embedding = torch.nn.Embedding(VOCAB, TOKEN_WIDTH)  # the LLM's
    torch.manual_seed(seed)
    return made, made.build(WIDTH, embedding).eval()


def media(case, *lengths: int, garbage: float = 0.0):
    """Make an input for an encoder, (x, lengths); what lies beyond the lengths is `garbage`.

    Lengths are in the case's units.
    """
    lengths = [n * case.unit for n in lengths]
    return media_of(case, lengths, garbage)


def media_of(case, lengths: list[int], garbage: float = 0.0):
    """Make an input for an encoder; lengths are in samples or frames."""
    generator = torch.Generator().manual_seed(1)
    size = 80 if fixed(case) else max(lengths)
    shape = (len(lengths), size) if case.in_dim == 1 else (len(lengths), size, case.in_dim)
    x = torch.randn(shape, generator=generator)
    for row, n in enumerate(lengths):
        x[row, n:] = 0.0 if fixed(case) else garbage
    return x, torch.tensor(lengths)


def fixed(case) -> bool:
    """Say whether the front end pads every example to one window, which is then no padding."""
    return any(
        table["name"] == "whisper" and table.get("window") != "variable" and "frontend" not in table
        for table in case.table.get("branch", [case.table])
    )


def near(a, b, tolerance: float = 1e-4) -> bool:
    """Say whether two tensors agree to the promised tolerance."""
    return a.shape == b.shape and torch.allclose(a, b, atol=tolerance, rtol=0)


def largest(case) -> int:
    """Length of the longest input tried, in samples or frames."""
    return {"whisper": 80, "conformer": 40, "dual": 79}.get(case.name, 90) * case.unit


def test_every_encoder_has_tiny_settings():
    """A new encoder must say how it is tried."""
    assert set(ENCODERS) == set(config.names("models.encoders")), "add tiny settings to ENCODERS"


@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_count_is_the_real_length(case):
    """`count(n)` is what comes out, for all n, as an integer and as a tensor."""
    made, model = encoder(case)
    step = max(1, case.unit - 1)
    for n in range(1, largest(case) + 1, step):
        states, lengths = model(*media_of(case, [n]))
        wanted = made.count(n)
        assert type(wanted) is int and lengths.tolist() == [wanted], n
        assert states.shape[1:] == (wanted or states.shape[1], made.dim), n
    assert made.count(0) == 0
    several = torch.arange(0, largest(case), step)
    assert made.count(several).tolist() == [made.count(n) for n in several.tolist()]


@pytest.mark.parametrize("table", adapter_cases())
@torch.no_grad()
def test_adapter_count_is_the_real_length(table):
    """`count(n)` is what comes out, for all n, and never 0 where something came in.

    It is the most that comes out where the adapter drops what says nothing.
    """
    made, model = adapter(table)
    for n in range(1, 61):
        tokens, lengths = model(torch.randn(1, n, WIDTH), torch.tensor([n]))
        wanted, real = made.count(n), int(lengths)
        assert type(wanted) is int and tokens.shape == (1, real, TOKEN_WIDTH), n
        assert 0 < real <= wanted and (getattr(made, "drops", False) or real == wanted), n
    several = torch.arange(60)
    assert made.count(several).tolist() == [made.count(n) for n in several.tolist()]
    assert made.count(0) == 0


@pytest.mark.parametrize("garbage", [3e4, float("nan")])
@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_alone_is_as_in_any_batch(case, garbage):
    """Batched = single = any order, whatever stands in the padding."""
    made, model = encoder(case)
    batch = media(case, 79, 50, 33, 7, garbage=garbage)
    states, lengths = model(*batch)
    order = [2, 0, 3, 1]
    shuffled, _ = model(batch[0][order], batch[1][order])
    for row, n in enumerate(lengths.tolist()):
        alone = model(*media_alone(case, batch, row))[0]
        assert near(states[row, :n], alone[0, :n]), row
        assert near(states[row, :n], shuffled[order.index(row), :n]), row


@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_in_groups_is_as_alone(case):
    """Items of similar length go through it together, the batch cut to the longest of them."""
    _, model = encoder(case)
    batch = media(case, 33, 79, 7, 50, garbage=3e4)
    assert len(grouping.groups(batch[1].tolist())) > 1
    states, lengths = grouping.encode(model, *batch)
    for row, n in enumerate(lengths.tolist()):
        alone, steps = model(*media_alone(case, batch, row))
        assert steps.tolist() == [n] and near(states[row, :n], alone[0, :n]), row


def media_alone(case, batch, row: int):
    """Give one utterance by itself: no padding but the front end's window."""
    x, lengths = batch
    size = x.shape[1] if fixed(case) else int(lengths[row])
    return x[row : row + 1, :size], lengths[row : row + 1]


@pytest.mark.parametrize("table", adapter_cases())
@pytest.mark.parametrize("case", encoder_cases())
@torch.no_grad()
def test_encoder_with_adapter_alone_is_as_in_any_batch(case, table):
    """The promise holds through each pair, to 1e-4 in fp32."""
    _, front = encoder(case)
    made, back = adapter(table)
    batch = media(case, 79, 50, 33, garbage=1e3)
    tokens, lengths = back(*front(*batch))
    for row, n in enumerate(lengths.tolist()):
        alone, m = back(*front(*media_alone(case, batch, row)))
        assert m.tolist() == [n] and near(tokens[row, :n], alone[0, :n]), row


def loss_of(model, batch):
    """Sum valid outputs with fixed random weights: no norm hides this from a gradient."""
    y, lengths = model(*batch)
    keep = torch.arange(y.shape[1]) < lengths[:, None]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return (y.float() * weights)[keep].sum()


def check_gradients(model, loss, unreached: str = "$"):
    """Every trainable parameter has a finite gradient that is not zero."""
    loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or re.match(unreached, name):
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # the bias of the keys adds the same to all scores of a query: softmax does not see it
        if not name.endswith(("k_proj.bias", "key.bias")):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("case", encoder_cases())
def test_gradient_reaches_every_parameter_of_an_encoder(case):
    """In training mode, with garbage in the padding."""
    _, model = encoder(case)
    check_gradients(model, loss_of(model.train(), media(case, 79, 50, garbage=float("nan"))))


@pytest.mark.parametrize("table", adapter_cases())
def test_gradient_reaches_every_parameter_of_an_adapter(table):
    """And goes back into the states, but never beyond their length."""
    _, model = adapter(table)
    states = torch.randn(2, 40, WIDTH, requires_grad=True)
    loss = loss_of(model.train(), (states, torch.tensor([40, 20])))
    check_gradients(model, loss, UNREACHED.get(table["name"], "$"))
    assert states.grad[0].any() and states.grad[1, :15].any() and not states.grad[1, 20:].any()


def modules(kind: str, table):
    """Build the same part three times: twice from one seed, once from another."""
    build = encoder if kind == "encoder" else adapter
    return [build(table, seed)[1] for seed in (0, 0, 1)]


ALL = [pytest.param("encoder", *p.values, id=p.id) for p in encoder_cases()] + [
    pytest.param("adapter", *p.values, id=p.id) for p in adapter_cases()
]


@pytest.mark.parametrize("kind,table", ALL)
@torch.no_grad()
def test_seed_and_state(kind, table):
    """One seed gives one set of weights; a state saved and loaded gives the same output."""
    first, second, other = modules(kind, table)
    states = first.state_dict()
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in states.items())
    batch = (
        media(table, 60, 31)
        if kind == "encoder"
        else (
            torch.randn(2, 30, WIDTH, generator=torch.Generator().manual_seed(3)),
            torch.tensor([30, 17]),
        )
    )
    wanted = first(*batch)[0]
    assert not near(other(*batch)[0], wanted)
    other.load_state_dict(copy.deepcopy(states))
    assert torch.equal(other(*batch)[0], wanted)


@pytest.mark.parametrize("kind,table", ALL)
def test_bfloat16_is_finite(kind, table):
    """Under autocast, forward and backward."""
    model = modules(kind, table)[0].train()
    batch = (
        media(table, 79, 30)
        if kind == "encoder"
        else (
            torch.randn(2, 30, WIDTH),
            torch.tensor([30, 17]),
        )
    )
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("case", encoder_cases())
def test_encoder_refuses_another_front_end(case):
    """The message says which front end is wanted."""
    made, _ = encoder(case)
    with pytest.raises(ValueError, match="front end"):
        made.build(80 if case.in_dim == 1 else 1)
