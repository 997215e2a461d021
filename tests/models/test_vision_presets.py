"""Presets that see: their soft tokens a picture and parameters stay what they are.

Where a line names a source the figure was held against that; the others are what the presets count.
"""

import collections

import numpy as np
import pytest

from speechllm import config
from speechllm.models import anatomy, lora

# preset -> (size of a picture, its soft tokens, millions of the adapter, of the encoder)
COUNTED = {
    "llava": ((480, 640), 256, 5.25, 290.6),  # 303.2 with the last layer, which is not computed
    "llava15": ((480, 640), 576, 20.98, 290.9),
    "honeybee": ((480, 640), 144, None, 290.6),
    "llava_next": ((480, 640), 2976, 20.98, 290.9),  # at most; margins leave 2340
    "blip2": ((480, 640), 32, 107.13, 985.9),  # arXiv 2301.12597, table 2: 107 M learn
    "mblip": ((480, 640), 32, 108.31, 985.9),
    "flamingo": ((480, 640), 1, None, 303.2),
    "llama32_vision": ((480, 640), 1, 31.46, 863.6),  # arXiv 2407.21783: 850 M
    "nvlm_d": ((480, 640), 7 * 257, None, 5536.5),  # InternViT-6B's card: 5540 M
    "nvlm_x": ((480, 640), 1, None, 5536.5),
    "nvlm_h": ((480, 640), 257, None, 5536.5),
    "cogvlm": ((480, 640), 576, None, 290.9),
    "molmo": ((480, 640), 13 * 144, None, 290.9),
    "qwen_vl": ((480, 640), 391, 44.58, 631.2),  # arXiv 2409.12191: 675 M with the adapter
    "phi4_multimodal": ((480, 640), 1361, 12.98, 428.57),  # arXiv 2503.01743: 440 M together
    "fuyu": ((300, 600), 210, 0.0, 11.06),  # 10 rows of 20 patches and a mark
}

# billions in all; and of the fusion: arXiv 2311.03079, 6.5 B that learn
WHOLE = {"llama32_vision": 10.67, "qwen_vl": 8.29}  # Meta's card: 10.6; Qwen's paper: 7.6 + 0.675
FUSION = {"cogvlm": 6.48}


def test_phi4_s_loras_are_as_large_as_published():
    """arXiv 2503.01743: 370 M beside pictures, 460 M beside speech."""
    _, model = anatomy.outline(config.load("phi4_multimodal"))
    sizes = collections.Counter()
    for name, parameter in model.named_parameters():
        if owner := lora.owner(name):
            sizes[owner[1]] += parameter.numel() / 1e6
    assert sizes == pytest.approx({"speech": 461.37, "vision": 369.10}, abs=0.01)


@pytest.mark.parametrize("name", COUNTED)
def test_presets_count_as_before(name):
    (height, width), tokens, adapter, encoder = COUNTED[name]
    system, model = anatomy.outline(config.load(name))
    _, n = system.branches["image"].front(np.zeros((height, width, 3), np.uint8))
    assert system.soft_tokens(n, "image") == tokens
    ours = {
        part: sum(p.numel() for p in getattr(model.branch["image"], part).parameters()) / 1e6
        for part in ("encoder", "adapter")
    }
    assert ours["encoder"] == pytest.approx(encoder, abs=0.06)
    assert adapter is None or ours["adapter"] == pytest.approx(adapter, abs=0.01)
    if name in WHOLE:
        assert sum(anatomy.count(model).values()) / 1e9 == pytest.approx(WHOLE[name], abs=0.01)
    if name in FUSION:
        assert anatomy.count(model)["fusion"] / 1e9 == pytest.approx(FUSION[name], abs=0.01)
    rows = anatomy.drawing(config.load(name), system, model)
    assert rows[-1][0] == "llm" and "image" in [row[0] for row in rows]
    assert (anatomy.rate_hz(system) is None) == ("audio" not in system.branches)
