"""Alone = in any batch = in any order: the largest difference for every encoder, adapter, fusion.

    python benchmarks/invariance.py [ENCODER ...] [--summary]

Tiny forms with random weights, in evaluation, in fp32 on the CPU. Utterances of five lengths go
through the model one by one, then together in two orders, in groups of similar length and all in
one group; a cell holds the largest difference between the logits of an answer, of all utterances,
batches and fusions. The last column is the largest logit, to compare with.
"""

import argparse

import torch

from speechllm import config
from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.models import grouping, tiny
from speechllm.models.system import System

WAVE, WINDOW = {"name": "wave16k"}, {"name": "whisper80", "pad_to_s": 30.0}
BANDS128 = {"name": "kaldi_fbank80", "num_mel_bins": 128, "empty_filters": True}
BEATS = {**BANDS128, "offset": -15.41663, "divisor": 13.11164}
QWEN3 = {"name": "whisper128", "pad_to_s": 0.5, "pad_longer": "keep", "pad_counts": "all"}
GROUP, LAYER = (
    {"config": {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}}
    for norm in ("group", "layer")
)
# name in the table -> (front end, encoder and what of it is not the default)
ENCODERS = {
    "ast, full window": ({"name": "ast"}, {"name": "ast", "patches": "mean"}),
    "ast, variable": ({"name": "ast"}, {"name": "ast", "patches": "mean", "window": "variable"}),
    "beats": (BEATS, {"name": "beats", "patches": "mean"}),
    "cnn": ({"name": "kaldi_fbank80"}, {"name": "cnn"}),
    "conformer": ({"name": "kaldi_fbank80"}, {"name": "conformer"}),
    "conformer, BatchNorm": (
        {"name": "kaldi_fbank80"},
        {"name": "conformer", "conv_norm": "batch"},
    ),
    "data2vec_audio": (WAVE, {"name": "data2vec_audio"}),
    "dual (whisper, beats)": (
        WAVE,
        {
            "name": "dual",
            "branch": [
                {"name": "whisper", "frontend": WINDOW},
                {"name": "beats", "patches": "mean", "repeat": 8, "frontend": BEATS},
            ],
        },
    ),
    "granite_conformer": ({"name": "torchaudio_mel", "n_fft": 512}, {"name": "granite_conformer"}),
    "hubert, GroupNorm": (WAVE, {"name": "hubert", **GROUP}),
    "hubert, LayerNorm": (WAVE, {"name": "hubert", **LAYER}),
    "phi4_conformer": ({"name": "kaldi_fbank80"}, {"name": "phi4_conformer"}),
    "qwen3_asr": (QWEN3, {"name": "qwen3_asr", "config": {"downsample_hidden_size": 8}}),
    "wav2vec2, GroupNorm": (WAVE, {"name": "wav2vec2", **GROUP}),
    "wav2vec2, LayerNorm": (WAVE, {"name": "wav2vec2", **LAYER}),
    "wavlm, GroupNorm": (WAVE, {"name": "wavlm", **GROUP}),
    "wavlm, LayerNorm": (WAVE, {"name": "wavlm", **LAYER}),
    "whisper, 30 s": (WINDOW, {"name": "whisper"}),
    "whisper, masked": (WINDOW, {"name": "whisper", "window": "masked"}),
    "whisper, variable": ({"name": "whisper80"}, {"name": "whisper", "window": "variable"}),
}
ADAPTERS = {"name_posterior": {"window": 8}, "window_qformer": {"window": 7}}
LLM = {"config": {"model_type": "llama", "initializer_range": 0.2}, "lora": {"r": 4}}
SECONDS = (2.0, 0.6, 1.9, 1.1, 0.31)
ORDERS = (((0, 1, 2, 3, 4), grouping.WORTH), ((4, 2, 0, 3, 1), 1.0))  # 1.0: all in one group


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", nargs="*", help="those whose names begin so; none: all")
    parser.add_argument("--summary", action="store_true", help="the worst of each encoder alone")
    args = parser.parse_args()
    missing = set(config.names("models.encoders")) - {e["name"] for _, e in ENCODERS.values()}
    assert not missing, f"add to ENCODERS: {missing}"
    adapters = config.names("models.adapters")
    if not args.summary:
        print(f"{'':<22} " + " ".join(f"{name[:7]:>7}" for name in adapters), end="")
    print(f"{'':<{23 if args.summary else 1}}{'worst':>7} {'logit':>7}")
    for name, nouns in ENCODERS.items():
        if args.encoder and not name.startswith(tuple(args.encoder)):
            continue
        found, largest = differences(*nouns, adapters)
        cells = [f"{d:>7.0e}" for d in found] if not args.summary else []
        print(
            f"{name:<22} " + " ".join([*cells, f"{max(found):>7.1e} {largest:>7.1f}"]), flush=True
        )


@torch.no_grad()
def differences(frontend: dict, encoder: dict, adapters: list[str]) -> tuple[list[float], float]:
    """Give the largest difference of an encoder with each adapter, and the largest logit."""
    states, found, largest = None, dict.fromkeys(adapters, 0.0), 0.0
    for fusion in config.names("models.fusion"):
        model = None
        for adapter in adapters:
            system = make(frontend, encoder, adapter, fusion)
            examples = examples_of(system)
            if model is None:  # one seed, one encoder, one LLM
                model = tiny.wake(system.build().eval())
            embedding = model.llm.get_input_embeddings()
            model.adapter = system.adapter.build(system.encoder.dim, embedding).eval()
            model.match()
            if states is None:
                states = encoded(model.encoder, examples)
            pair = difference(system, model, examples, states)
            found[adapter], largest = max(found[adapter], pair[0]), max(largest, pair[1])
    return list(found.values()), largest


def make(frontend: dict, encoder: dict, adapter: str, fusion: str) -> System:
    """Make the tiny system of these nouns."""
    tables = {
        "frontend": frontend,
        "encoder": encoder,
        "adapter": {"name": adapter, **ADAPTERS.get(adapter, {})},
        "fusion": {"name": fusion},
        "llm": LLM,
        "chat": {"user": "{}\n", "assistant": "{}</s>"},
    }
    return tiny.system(config.Preset(tables, "invariance"))


def examples_of(system: System) -> list[Example]:
    """Make utterances of noise whose answers are of different lengths."""
    builder, front, made = Builder.of(system), system.extractor, []
    for i, seconds in enumerate(SECONDS):
        generator = torch.Generator().manual_seed(i)
        x, n = front(0.1 * torch.randn(int(seconds * front.sampling_rate), generator=generator))
        content = [{"type": "audio"}, {"type": "text", "text": "say"}]
        talk = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": "answer " * (i % 3 + 1)},
        ]
        built = builder.build(talk, [system.soft_tokens(n)], True)
        made.append(Example({"id": str(i), "duration": seconds}, built, [x], [n]))
    return made


def batches(examples: list[Example], pad: int):
    """Yield (indices, batch, share that another group must save): alone first, then together."""
    for i, example in enumerate(examples):
        yield (i,), collate([example], pad), grouping.WORTH
    for order, worth in ORDERS:
        yield order, collate([examples[i] for i in order], pad), worth


def encoded(encoder, examples: list[Example]) -> list:
    """Run an encoder on each batch."""
    found, usual = [], grouping.WORTH
    for _, batch, worth in batches(examples, 0):
        grouping.WORTH = worth
        found.append(grouping.encode(encoder, *batch.media["audio"]))
    grouping.WORTH = usual
    return found


def difference(system: System, model, examples: list[Example], states: list):
    """Give the largest difference of an answer's logits alone and in any batch, and the largest."""
    alone, worst = {}, 0.0
    pad = system.tokenizer.pad_token_id
    for (order, batch, _), known in zip(batches(examples, pad), states, strict=True):
        result = model(batch)
        result._states = {"audio": known}
        for place, i in enumerate(order):
            logits = result.logits[result.places[0] == place]
            wanted = alone.setdefault(i, logits)
            worst = max(worst, (logits - wanted).abs().max().item())
    return worst, max(logits.abs().max().item() for logits in alone.values())


if __name__ == "__main__":
    main()
