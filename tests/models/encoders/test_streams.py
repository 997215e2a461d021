"""Streams: each encoder's own states one behind another, each through the perceptron of its own."""

import pytest
import torch
from torch import nn

from features import patches
from features.video_frames import Clip
from speechllm import config
from speechllm.models import anatomy, tiny
from speechllm.models.adapters import streams as adapters
from speechllm.models.encoders import _vision, streams, video

POSE = {"name": "pose", "dim": 8, "heads": 2, "layers": 1, "stride": 2}


@torch.no_grad()
def test_each_stream_is_read_by_its_own():
    """Item by item and stream by stream, by hand."""
    made = streams.Config(branch=({"width": 15}, POSE))
    torch.manual_seed(0)
    encoder = made.build(15).eval()
    adapter = adapters.Config(norm="none").build(made.dims, nn.Embedding(4, 6)).eval()
    x, lengths = torch.randn(3, 7, 15), torch.tensor([7, 4, 0])
    states, steps = encoder(x, lengths)
    assert made.dims == (15, 8) and states.shape == (3, 11, 16)
    assert steps.tolist() == [11, 6, 0] == made.count(lengths).tolist()
    tokens, counts = adapter(states, steps)
    assert counts.tolist() == steps.tolist()
    for row, n in enumerate(lengths.tolist()[:2]):
        inner, m = encoder.encoders[1](x[row : row + 1, :n], torch.tensor([n]))
        wanted = torch.cat([adapter.mlps[0](x[row, :n]), adapter.mlps[1](inner[0, : int(m)])])
        torch.testing.assert_close(tokens[row, : len(wanted)], wanted, atol=1e-6, rtol=0)
    assert [p.shape[1] for n, p in adapter.named_parameters() if n.endswith("0.weight")] == [15, 8]


@torch.no_grad()
def test_a_frame_as_its_class_token_and_cut_anew():
    """Frames in patches of 4 pixels, read by a ViT of patches of 6: as if they had been cut so."""
    frame = {"name": "vit", "family": "vit", "token": "keep", "config": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 24,
        "patch_size": 6, "intermediate_size": 16}}  # fmt: skip
    made = video.Config(frame=frame, per_frame=36, patch=6, merge=1, latents=0)
    fronts = [Clip(patches.get("vit", size=24, patch=patch), most=4) for patch in (4, 6)]
    made.check(fronts[0])
    torch.manual_seed(0)
    encoder = made.build(fronts[0].dim).eval()
    generator = torch.Generator().manual_seed(1)
    pictures = [torch.randint(0, 256, (30, 20, 3), generator=generator).byte().numpy()
                for _ in range(3)]  # fmt: skip
    (x, n), (wanted, m) = (front(pictures) for front in fronts)
    states, steps = encoder(x[None], torch.tensor([n]))
    assert steps.tolist() == [3] == [made.count(n)]
    inner, _ = encoder.frame(wanted.unflatten(0, (3, -1)), torch.full((3,), m // 3))
    torch.testing.assert_close(states[0], inner[:, 0], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="whose sides are whole patches of 7 pixels"):
        _vision.Cut.of(fronts[0].dim, 36, 7)


def test_signllava_has_four_streams_with_a_perceptron_each():
    """Widths as its settings say, but that DINO sees whole frames: 2 Linears to 4096 each."""
    preset = config.load("signllava")
    system, model = anatomy.outline(preset)
    widths = {"pose": (245, 768), "video": (768, 384)}
    for kind, dims in widths.items():
        assert system.branches[kind].encoder.dims == dims
        sizes = [
            sum(p.numel() for p in mlp.parameters()) for mlp in model.branch[kind].adapter.mlps
        ]
        assert sizes == [(width + 1) * 4096 + 4097 * 4096 for width in dims]
    encoders = model.branch["video"].encoder.encoders
    # facebook/vit-mae-base 85.8 M, dinov2-small 22.06 M less the places that 224 pixels do not want
    counts = [sum(p.numel() for p in one.parameters()) / 1e6 for one in encoders]
    assert counts == pytest.approx([85.8, 21.63], abs=0.02)
    rows = anatomy.drawing(preset, system, model)
    assert [row[0] for row in rows] == ["pose", "video", "fusion", "llm"]
    assert rows[0][1] == "streams (frames, pose), streams"
    assert rows[1][1] == "streams (mae video, dinov2 video), streams"


def test_what_does_not_fit_is_refused():
    changes = ["branch.pose.adapter.name=mlp"]
    with pytest.raises(ValueError, match="'streams' and the adapter 'streams' want each other"):
        tiny.system(config.load("signllava", changes)).check()
    with pytest.raises(ValueError, match="width = 9, but the front end's frames are 8 wide"):
        streams.Config(branch=({"width": 9},)).build(8)
    with pytest.raises(ValueError, match="merge: wanted 1 where latents = 0"):
        video.Config(latents=0)
