"""Tiny recognisers of transformers with random weights, saved with their processors."""

import json
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def whisper(folder: Path, more: int = 0, langs: tuple[str, ...] = ()) -> Path:
    """Save a Whisper whose window is one second.

    more: tokens that only its tokenizer has. langs: which it is told or finds out, () for one that
    knows English alone.
    """
    import torch
    import transformers

    specials = ["<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"]
    told = ["<|translate|>", *(f"<|{lang}|>" for lang in langs)] if langs else []
    specials += told
    words = {letter: i for i, letter in enumerate(["Ġ", *LETTERS])}
    words |= {token: len(words) + i for i, token in enumerate(specials)}
    words |= {f"x{i}": len(words) + i for i in range(more)}
    tokenizer = transformers.WhisperTokenizer(vocab=words, merges=[], unk_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": specials[1:]})
    front = transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    end = words["<|endoftext|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(words) - more,
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=24,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=end + 1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=0.5,
    )
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config)
    settings = model.generation_config
    settings.is_multilingual, settings.no_timestamps_token_id = bool(langs), end + 3
    if langs:
        settings.lang_to_id = {token: words[token] for token in told[1:]}
        settings.task_to_id = {"transcribe": end + 2, "translate": words["<|translate|>"]}
    settings.max_length, settings._from_model_config = 16, False
    model.save_pretrained(folder)
    transformers.WhisperProcessor(front, tokenizer).save_pretrained(folder)
    return folder


def wav2vec2(folder: Path, mask: bool = True) -> Path:
    """Save a wav2vec 2.0 with a CTC head; without `mask` it is of the kind that has none."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    words = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    front = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer" if mask else "group",
        do_stable_layer_norm=mask,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2Processor(front, tokenizer).save_pretrained(folder)
    return folder
