"""Encoders side by side: each as it is alone, normed and joined; front ends inside; errors."""

import pytest
import torch

import features
from speechllm import config, nested
from speechllm.models.encoders.dual import Config

WHISPER = {
    "name": "whisper",
    "config": {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "max_source_positions": 100,
        "num_mel_bins": 80,
    },
    "frontend": {"name": "whisper80", "pad_to_s": 2.0},
}
BEATS = {
    "name": "beats",
    "config": {
        "embed_dim": 12,
        "encoder_layers": 1,
        "encoder_embed_dim": 24,
        "encoder_ffn_embed_dim": 24,
        "encoder_attention_heads": 2,
        "conv_pos": 8,
        "conv_pos_groups": 2,
        "num_mel_bins": 80,
    },
    "frontend": {"name": "kaldi_fbank80", "offset": -15.41663, "divisor": 13.11164},
    "patches": "mean",
    "repeat": 8,
}


def made(*branches) -> Config:
    """Read a preset's table."""
    return config.part("models.encoders", {"name": "dual", "branch": list(branches)}, "[encoder]")


@torch.no_grad()
def test_each_branch_is_as_alone():
    """Two encoders on their own front ends, computed outside: normed, zeros behind the shorter."""
    both = made(WHISPER, BEATS)
    torch.manual_seed(0)
    model = both.build(1).eval()
    for norm in model.norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    wave, n = torch.randn(2, 30000) * 0.1, torch.tensor([30000, 9000])
    states, lengths = model(wave, n)
    assert states.shape == (2, 94, 40) and lengths.tolist() == both.count(n).tolist()
    assert both.dim == 40 and both.count(30000) == 94
    for row, samples in enumerate(n.tolist()):
        first = 0
        for branch, encoder, norm in zip(
            (WHISPER, BEATS), model.branches, model.norms, strict=True
        ):
            x, frames = features.get(**branch["frontend"])(wave[row, :samples])
            alone, steps = encoder(x[None], torch.tensor([frames]))
            alone = norm(alone[0, : int(steps)]).repeat_interleave(branch.get("repeat", 1), 0)
            width = alone.shape[1]
            part = states[row, :, first : first + width]
            torch.testing.assert_close(part[: len(alone)], alone, atol=1e-5, rtol=0)
            assert not part[len(alone) :].any()
            first += width
        assert lengths[row] == max(-(-(samples // 160) // 2), ((samples - 240) // 160) // 16 * 8)


def test_features_stay_exact_under_autocast():
    """Half precision is for the encoders; a log spectrum would not survive it."""
    branch = made(WHISPER, BEATS).branches[1]
    wave, n = torch.randn(1, 8000), torch.tensor([8000])
    with torch.autocast("cpu", torch.bfloat16):
        x, _ = branch.prepare(wave, n)
    assert x.dtype == torch.float32 and torch.equal(x, branch.prepare(wave, n)[0])


def test_weights_come_from_somewhere_only_if_all_do(tmp_path):
    """A checkpoint of ours leaves out an encoder only if no branch starts from the seed."""
    parts = [{"name": "hubert", "pretrained": "a"}, {"name": "wavlm", "pretrained": "b"}]
    assert made(*parts).pretrained == "a + b"
    assert made(parts[0], {"name": "wavlm"}).pretrained == ""


def test_three_branches_and_settings_by_name():
    """Any number; --set finds a branch by its encoder's name."""
    assert made(BEATS, BEATS, BEATS).dim == 72
    tables = {"encoder": {"branch": [dict(WHISPER), dict(BEATS)]}}
    nested.change(tables, "encoder.branch.beats.repeat=4")
    assert tables["encoder"]["branch"][1]["repeat"] == 4


@pytest.mark.parametrize(
    "branches,message",
    [
        ([WHISPER], r"\[encoder\]: wanted two or more tables \[\[encoder.branch\]\], got 1"),
        ([WHISPER, {"name": "beat"}], "branch 2: no models.encoders called 'beat'; did you mean"),
        ([WHISPER, {**BEATS, "layer": 3}], "branch 2: no setting called 'layer'; did you mean"),
        ([WHISPER, {**BEATS, "repeat": 0}], "branch 2 repeat: wanted a whole number from 1, got 0"),
        ([{**WHISPER, "frontend": {"name": "whispr"}}, BEATS], "branch 1 frontend: unknown preset"),
        ([{**WHISPER, "frontend": {"n": 1}}, BEATS], "branch 1 frontend: unknown preset None"),
        ([{**WHISPER, "frontend": "whisper80"}, BEATS], "branch 1 frontend: wanted a table"),
    ],
)
def test_wrong_tables(branches, message):
    """Each is one ValueError that names the branch."""
    with pytest.raises(ValueError, match=message):
        made(*branches)


def test_errors():
    """A front end that does not fit, rates that differ."""
    with pytest.raises(ValueError, match="'whisper' computes its features.*wave16k.*dimension 80"):
        made(WHISPER, BEATS).build(80)
    with pytest.raises(ValueError, match="rates differ: whisper 500, beats 62 states.*repeat"):
        made(WHISPER, {**BEATS, "repeat": 1}).build(1)
    wrong = {**WHISPER, "frontend": {"name": "whisper80", "num_mel_bins": 40}}
    with pytest.raises(ValueError, match="whisper encoder wants 80 mel bands"):
        made(wrong, BEATS).build(1)
