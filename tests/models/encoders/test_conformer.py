"""The conformer: its input, independence of the batch while it learns, published ones, errors."""

import json
import re

import pytest
import torch
import transformers
from safetensors.torch import save_file

from speechllm.models.encoders._normalize import (
    normalize_level,
    normalize_nemo,
    normalize_utterance,
)
from speechllm.models.encoders.conformer import Config
from speechllm.models.masks import zero_beyond

SMALL = {"dim": 32, "layers": 2, "heads": 2, "subsampling_channels": 8, "dropout": 0.0}


def test_normalisation_is_over_valid_frames():
    """Mean 0 and variance 1 of each feature over the utterance, zeros in the padding."""
    x = torch.randn(2, 50, 8) * 7 + 3
    x[1, 20:] = 0
    y = normalize_utterance(x, torch.tensor([50, 20]))
    for row, n in enumerate((50, 20)):
        valid = y[row, :n]
        torch.testing.assert_close(valid.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(valid.var(0, unbiased=False), torch.ones(8), atol=1e-3, rtol=0)
        assert not y[row, n:].any()
    one = normalize_utterance(torch.ones(1, 1, 8), torch.tensor([1]))
    assert not one.any()  # a single frame has no variance; it must not become infinite


def test_level_keeps_the_shape_of_the_spectrum():
    """Mean 0 and variance 1 over all features together; a gain in dB changes nothing."""
    x = torch.randn(2, 50, 8) * 7 + torch.arange(8.0)
    x[1, 20:] = 0
    lengths = torch.tensor([50, 20])
    y = normalize_level(x, lengths)
    for row, n in enumerate((50, 20)):
        wanted = (x[row, :n] - x[row, :n].mean()) / x[row, :n].std(unbiased=False)
        torch.testing.assert_close(y[row, :n], wanted, atol=1e-5, rtol=0)
        assert not y[row, n:].any()
    louder = zero_beyond(x + 3, lengths)
    torch.testing.assert_close(normalize_level(louder, lengths), y, atol=1e-5, rtol=0)
    assert not normalize_level(torch.ones(1, 1, 8), torch.tensor([1])).any()


@torch.no_grad()
def test_gain_and_channel_do_not_matter():
    """A constant added to log-mel (gain, microphone) changes nothing."""
    model = Config(**SMALL).build(80).eval()
    x, n = torch.randn(1, 60, 80), torch.tensor([60])
    moved = x + torch.randn(80)
    torch.testing.assert_close(model(x, n)[0], model(moved, n)[0], atol=1e-4, rtol=0)


def test_training_does_not_depend_on_the_batch():
    """The gradient of a batch is the sum of its rows': also over processes and micro-steps."""
    torch.manual_seed(0)
    model = Config(**SMALL).build(40).train()
    x, n = torch.randn(3, 64, 40), torch.tensor([64, 40, 17])
    noise = torch.randn(3, 16, 32)

    def gradients(rows):
        model.zero_grad()
        for part in rows:
            states, lengths = model(x[part], n[part])
            keep = torch.arange(states.shape[1]) < lengths[:, None]
            (states * noise[part, : states.shape[1]])[keep].sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    together, alone = gradients([slice(0, 3)]), gradients([slice(i, i + 1) for i in range(3)])
    assert (together - alone).abs().max() <= 1e-4 * together.abs().max()


def test_layers_start_alive():
    """Fresh states differ from step to step; a subsampling that starts near 0 would hide it."""
    torch.manual_seed(0)
    states, _ = Config().build(80).eval()(torch.randn(1, 200, 80), torch.tensor([200]))
    assert states.std(1).mean() > 0.25


@pytest.mark.parametrize(
    "wrong",
    [
        {"subsampling": 3},
        {"dim": 30},
        {"kernel": 4},
        {"normalize": "all"},
        {"conv_norm": "rms"},
        {"mix": "first"},
    ],
)
def test_errors(wrong):
    """Sizes that do not fit are refused before anything is built."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "subsampling_conv_channels": 8,
}
HEAD = {"vocab_size": 20, "pad_token_id": 19}
PARTS = {  # class -> what stands around the encoder
    "ParakeetEncoder": None,
    "ParakeetForCTC": HEAD,
    "ParakeetForRNNT": {**HEAD, "decoder_hidden_size": 16, "blank_token_id": 19},
    "ParakeetForTDT": {**HEAD, "decoder_hidden_size": 16, "blank_token_id": 19},
}


@pytest.fixture(params=PARTS)
def published(request, tmp_path):
    """Save a tiny Parakeet, whole or in part, in half precision: (folder, its encoder)."""
    torch.manual_seed(0)
    name, around = request.param, PARTS[request.param]
    sizes = {"encoder_config": ENCODER, **around} if around else ENCODER
    config = getattr(transformers, name.replace("For", "") + "Config")(**sizes)
    model = getattr(transformers, name)(config).eval()
    for module in model.modules():  # statistics that differ from a fresh norm's
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    model.half().save_pretrained(tmp_path)
    return str(tmp_path), (model if around is None else model.encoder).float()


@torch.no_grad()
def test_published_equals_transformers(published):
    """The states of transformers, alone and padded, last and weighted; in single precision."""
    folder, reference = published
    x, n = torch.randn(2, 90, 80), torch.tensor([90, 41])
    mask = torch.arange(90) < n[:, None]
    out = reference(x * mask[..., None], attention_mask=mask, output_hidden_states=True)
    for mix, wanted in (
        ("last", out.last_hidden_state),
        ("weighted", torch.stack(out.hidden_states).mean(0)),
    ):
        made = Config(pretrained=folder, normalize="none", mix=mix)
        model = made.build(80).eval()
        states, lengths = model(x, n)
        assert lengths.tolist() == [12, 6] == made.count(n).tolist() and made.dim == 32
        torch.testing.assert_close(states[0], wanted[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(states[1, :6], wanted[1, :6], atol=1e-5, rtol=0)
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_nemo_normalises_as_the_published_front_end():
    """Against ParakeetFeatureExtractor: the features of one utterance, before and after."""
    extractor = transformers.ParakeetFeatureExtractor()
    wave = torch.randn(16000, generator=torch.Generator().manual_seed(0)).numpy() * 0.1
    kept = {}
    log_mel = extractor._torch_extract_fbank_features
    extractor._torch_extract_fbank_features = lambda *a: kept.setdefault("x", log_mel(*a))
    out = extractor(wave, sampling_rate=16000, return_tensors="pt")
    n = out.attention_mask.sum(1)
    found = normalize_nemo(kept["x"].masked_fill(~out.attention_mask[..., None].bool(), 0.0), n)
    torch.testing.assert_close(found, out.input_features, atol=1e-5, rtol=0)
    assert not normalize_nemo(torch.ones(1, 1, 8), torch.tensor([1])).any()


def test_errors_of_published(tmp_path):
    """Sizes beside a checkpoint, another family, another front end, keys that do not fit."""
    folder = str(tmp_path / "p")
    config = transformers.ParakeetCTCConfig(encoder_config=ENCODER, **HEAD)
    transformers.ParakeetForCTC(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="dim is 32 in .*got 64: leave it out"):
        Config(pretrained=folder, dim=64)
    assert Config(pretrained=folder, dim=32).layers == 3
    with pytest.raises(ValueError, match="wants 80 mel bands, got a front end of dimension 128"):
        Config(pretrained=folder).build(128)
    with pytest.raises(ValueError, match="no such folder"):
        Config(pretrained=str(tmp_path / "x"))
    transformers.ParakeetEncoder(transformers.ParakeetEncoderConfig(**ENCODER)).save_pretrained(
        tmp_path / "bare"
    )
    (tmp_path / "p" / "model.safetensors").write_bytes(
        (tmp_path / "bare" / "model.safetensors").read_bytes()
    )
    Config(pretrained=folder).build(80)  # an encoder's names with a whole model's configuration
    other = transformers.ParakeetEncoderConfig(**{**ENCODER, "num_hidden_layers": 2})
    transformers.ParakeetEncoder(other).save_pretrained(tmp_path / "two")
    (tmp_path / "p" / "model.safetensors").write_bytes(
        (tmp_path / "two" / "model.safetensors").read_bytes()
    )
    with pytest.raises(ValueError, match=r"does not fit ParakeetEncoder \(missing: layers.2"):
        Config(pretrained=folder).build(80)
    whisper = transformers.WhisperConfig()
    whisper.save_pretrained(tmp_path / "w")
    with pytest.raises(ValueError, match="wanted a parakeet_encoder checkpoint, .*whisper"):
        Config(pretrained=str(tmp_path / "w"))


NEMO = {  # of Canary, small: as NeMo's own tables say it
    "_target_": "nemo.collections.asr.modules.ConformerEncoder",
    "feat_in": 80, "feat_out": -1, "n_layers": 3, "d_model": 32, "n_heads": 4,
    "subsampling": "dw_striding", "subsampling_factor": 8, "subsampling_conv_channels": 8,
    "causal_downsampling": False, "reduction": None, "ff_expansion_factor": 4,
    "self_attention_model": "rel_pos", "att_context_size": [-1, -1], "xscaling": False,
    "untie_biases": True, "pos_emb_max_len": 5000, "conv_kernel_size": 9,
    "conv_norm_type": "batch_norm", "conv_context_size": None, "use_bias": False, "dropout": 0.1,
}  # fmt: skip
THEIRS = {  # of transformers' names, what NeMo calls them
    r"^subsampling\.layers\.": "pre_encode.conv.",
    r"^subsampling\.linear\.": "pre_encode.out.",
    r"\.conv\.norm\.": ".conv.batch_norm.",
    r"\.([qkv])_proj\.": r".linear_\1.",
    r"\.o_proj\.": ".linear_out.",
    r"\.relative_k_proj\.": ".linear_pos.",
    r"\.bias_([uv])$": r".pos_bias_\1",
}


def nemo_folder(folder, around: str):
    """Write a NeMo checkpoint as Canary-Qwen has it ("perception.") or an archive ("")."""
    torch.manual_seed(0)
    config = transformers.ParakeetEncoderConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
        subsampling_conv_channels=8, scale_input=False, attention_bias=False,
        convolution_bias=False,
    )  # fmt: skip
    reference = transformers.ParakeetEncoder(config).eval()
    state = {}
    for name, tensor in reference.state_dict().items():
        for theirs, nemo in THEIRS.items():
            name = re.sub(theirs, nemo, name)
        state[f"{around}encoder.{name}"] = tensor
    rest = {f"{around}preprocessor.featurizer.fb": torch.ones(2)}
    rest |= {"llm.model.norm.weight": torch.ones(2)} if around else {"decoder.x": torch.ones(2)}
    folder.mkdir()
    save_file(state | rest, folder / "model.safetensors")
    whole = {"perception": {"encoder": NEMO}} if around else {"encoder": NEMO, "decoder": {}}
    (folder / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    return reference


@pytest.mark.parametrize("around", ["perception.", ""])
@torch.no_grad()
def test_reads_a_canary_of_nemo(around, tmp_path):
    reference = nemo_folder(tmp_path / "canary", around)
    made = Config(pretrained=str(tmp_path / "canary"), normalize="none")
    assert (made.dim, made.layers, made.subsampling, made.conv_norm) == (32, 3, 8, "batch")
    x = torch.randn(1, 90, 80)
    states, _ = made.build(80).eval()(x, torch.tensor([90]))
    wanted = reference(x, attention_mask=torch.ones(1, 90, dtype=torch.bool)).last_hidden_state
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=0)


def test_nemo_encoders_that_are_others_are_refused(tmp_path):
    nemo_folder(tmp_path / "c", "")
    file = tmp_path / "c" / "config.json"
    for change, says in (
        ({"self_attention_model": "abs_pos"}, "self_attention_model 'abs_pos', wanted 'rel_pos'"),
        ({"att_context_size": [70, 1]}, r"att_context_size \[70, 1\], wanted"),
        ({"global_tokens": 4}, "global_tokens 4, which is not known here"),
    ):
        file.write_text(json.dumps({"encoder": NEMO | change}), encoding="utf-8")
        with pytest.raises(ValueError, match=says):
            Config(pretrained=str(tmp_path / "c"))
