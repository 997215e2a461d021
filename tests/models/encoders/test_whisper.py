"""The Whisper encoder against transformers' own, in both windows, and its errors."""

import pytest
import torch
import transformers

from speechllm.models.encoders.whisper import Config

TINY = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_source_positions": 50,
    "num_mel_bins": 20,
    "vocab_size": 100,
    "max_target_positions": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


@pytest.fixture(scope="module", params=["ForConditionalGeneration", "Model", "Encoder"])
def checkpoint(request, tmp_path_factory):
    """Save a tiny Whisper, whole or in part: (folder, its encoder)."""
    torch.manual_seed(0)
    room = transformers.models.whisper.modeling_whisper  # the encoder stands nowhere else
    model = getattr(room, f"Whisper{request.param}")(transformers.WhisperConfig(**TINY)).eval()
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return str(folder), model if request.param == "Encoder" else model.get_encoder()


def test_goes_out_alone_as_its_class_reads_it(checkpoint, tmp_path):
    """Though it came in as a part of a bigger checkpoint, whose names had to be changed."""
    folder, theirs = checkpoint
    Config(pretrained=folder).build(20).model.save_pretrained(tmp_path / "out")
    model, told = type(theirs).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in model.state_dict().items())


@torch.no_grad()
def test_window_equals_transformers(checkpoint):
    """With window = "30s" every state is exactly that of transformers; lengths trim."""
    folder, reference = checkpoint
    x = torch.randn(3, 100, 20)
    wanted = reference(x.transpose(1, 2)).last_hidden_state
    states, lengths = Config(pretrained=folder).build(20).eval()(x, torch.tensor([100, 37, 5]))
    assert torch.equal(states, wanted)
    assert lengths.tolist() == [50, 19, 3]
    states, _ = Config(pretrained=folder).build(20).eval()(x, torch.tensor([20, 37, 5]))
    assert torch.equal(states, wanted[:, :19])


@torch.no_grad()
def test_variable_window_of_full_length_equals_transformers(checkpoint):
    """With window = "variable" and 30 s of audio nothing differs either."""
    folder, reference = checkpoint
    x = torch.randn(2, 100, 20)
    wanted = reference(x.transpose(1, 2), output_hidden_states=True)
    n = torch.tensor([100, 100])
    for layers in ("last", "weighted"):
        model = Config(pretrained=folder, window="variable", layers=layers).build(20).eval()
        whole = Config(pretrained=folder, layers=layers).build(20).eval()
        torch.testing.assert_close(model(x, n)[0], whole(x, n)[0], atol=1e-5, rtol=0)
    mean = torch.stack(wanted.hidden_states).mean(0)
    torch.testing.assert_close(whole(x, n)[0], mean, atol=1e-5, rtol=0)


@torch.no_grad()
def test_one_layer_by_its_number(checkpoint):
    """Its output as transformers gives it, and where nothing above it is run, the same."""
    folder, reference = checkpoint
    x, n = torch.randn(2, 100, 20), torch.tensor([100, 100])
    wanted = reference(x.transpose(1, 2), output_hidden_states=True).hidden_states[1]
    for window in ("30s", "masked", "variable"):
        model = Config(pretrained=folder, window=window, layers="1").build(20).eval()
        torch.testing.assert_close(model(x, n)[0], wanted, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="layers = '3': wanted 1 to 2, as many as there are"):
        Config(pretrained=folder, layers="3").build(20)


@torch.no_grad()
def test_masked_window_is_the_whole_window_with_a_mask(checkpoint):
    """Convolutions see the silence after an utterance, attention does not; no final norm."""
    folder, reference = checkpoint
    x, lengths = torch.randn(4, 100, 20), torch.tensor([100, 99, 37, 1])
    made = Config(pretrained=folder, window="masked", final_norm=False)
    states, steps = made.build(20).eval()(x, lengths)
    y = torch.nn.functional.gelu(reference.conv1(x.transpose(1, 2)))
    y = torch.nn.functional.gelu(reference.conv2(y)).transpose(1, 2)
    y = y + reference.embed_positions.weight
    mask = (torch.arange(50) < steps[:, None])[:, None, None].expand(-1, 1, 50, -1)
    for layer in reference.layers:
        y = layer(y, mask)
    for row, n in enumerate(steps.tolist()):
        torch.testing.assert_close(states[row, :n], y[row, :n], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("window", ["30s", "masked"])
@pytest.mark.parametrize("layers", ["last", "weighted"])
def test_several_windows_are_each_as_alone(window, layers):
    """States stand one window after the other; what an utterance does not reach is zero."""
    made = Config(config=TINY, window=window, layers=layers)
    torch.manual_seed(0)
    model = made.build(20).eval()
    x, lengths = torch.randn(3, 300, 20), torch.tensor([247, 300, 60])
    states, steps = model(x, lengths)
    assert states.shape == (3, 150, 32) and steps.tolist() == [124, 150, 30]
    for row, n in enumerate(lengths.tolist()):
        for first in range(0, n, 100):
            part = torch.tensor([min(n - first, 100)])
            alone, size = model(x[row : row + 1, first : first + 100], part)
            here = states[row, first // 2 : first // 2 + int(size)]
            torch.testing.assert_close(here, alone[0], atol=1e-5, rtol=0)
    assert not states[2, 50:].any()
    model.train()
    with torch.enable_grad():
        model(x, lengths)[0].square().sum().backward()
    assert model.model.conv1.weight.grad.abs().max() > 0


def test_errors(tmp_path):
    """Each is one ValueError that says what was wanted."""
    made = Config(config=TINY)
    with pytest.raises(ValueError, match="wants 20 mel bands"):
        made.build(80)
    with pytest.raises(ValueError, match="wants 100 frames, got 30"):
        made.build(20)(torch.randn(1, 30, 20), torch.tensor([30]))
    with pytest.raises(ValueError, match="wants 100 frames, got 101"):
        Config(config=TINY, window="variable").build(20)(torch.randn(1, 101, 20), torch.tensor([9]))
    with pytest.raises(ValueError, match="'d_modle'.*did you mean 'd_model'"):
        _ = Config(config={"d_modle": 3}).dim
    with pytest.raises(ValueError, match="no checkpoint there"):
        Config(pretrained=str(tmp_path)).build(80)
    with pytest.raises(ValueError, match="no such folder"):
        Config(pretrained=str(tmp_path / "x")).build(80)
    with pytest.raises(ValueError, match="wants 100 frames, got 250"):
        made.build(20)(torch.randn(1, 250, 20), torch.tensor([250]))
    for wrong in ({"window": "20s"}, {"layers": "first"}, {"layers": "0"}):
        with pytest.raises(ValueError, match="must be"):
            Config(**wrong)
