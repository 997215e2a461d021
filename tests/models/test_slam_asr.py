"""The SLAM-ASR presets: whole, 10 tokens a second, the published number of learning parameters."""

import pytest
import torch

import features
from speechllm import config
from speechllm.data.chat import Config as ChatConfig
from speechllm.models.llm import Config as LLMConfig
from speechllm.train.phases import phases

# preset -> (width of the encoder, millions that learn, tokens for 10 s)
PUBLISHED = {
    "slam_asr_whisper": (1280, 21.50, 100),
    "slam_asr_hubert": (1280, 21.50, 99),
    "slam_asr_wavlm": (1024, 18.88, 99),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_preset_is_whole(name):
    """Every table is understood; rate and size are those of the source."""
    width, millions, tokens = PUBLISHED[name]
    # the checkpoint's width and strides are the defaults of its family but for these fields
    size = "d_model" if name.endswith("whisper") else "hidden_size"
    bands = {"num_mel_bins": 128} if name.endswith("whisper") else {}
    preset = config.load(name)
    front = dict(preset.table("frontend"))
    extractor = features.get(front.pop("name"), **front)
    table = preset.table("encoder") | {"pretrained": "", "config": {size: width, **bands}}
    assert (
        preset.part("encoder", "models.encoders").pretrained
        == preset.table("encoder")["pretrained"]
    )
    encoder = config.part("models.encoders", table, name)
    adapter = preset.part("adapter", "models.adapters")
    preset.part("fusion", "models.fusion")
    llm = preset.section("llm", LLMConfig)
    preset.section("chat", ChatConfig)
    lora = llm.loras["default"]
    assert (lora.r, lora.alpha, lora.targets) == (8, 32, ("q_proj", "v_proj"))
    assert encoder.dim == width
    assert adapter.count(encoder.count(extractor.count(160000))) == tokens
    with torch.device("meta"):
        learns = adapter.build(encoder.dim, torch.nn.Embedding(9, 4096))
    assert round(sum(p.numel() for p in learns.parameters()) / 1e6, 2) == millions
    first, second = phases(preset)
    assert first.train == ("adapter.*",) and first.steps == 100000
    assert first.lr == second.lr == 1e-4
