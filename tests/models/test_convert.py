"""`speechllm import --convert`: pickles become safetensors, and nothing in them is run."""

import json
import os
import tarfile

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

from speechllm import cli
from speechllm.models import convert
from speechllm.models.encoders import hubert

TINY = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


@pytest.fixture
def pickled(tmp_path):
    """A HuBERT as the Hub holds some: a pickle beside its config.json."""
    torch.manual_seed(0)
    model = transformers.HubertModel(transformers.HubertConfig(**TINY)).eval()
    folder = tmp_path / "pickled"
    folder.mkdir()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder, model


@torch.no_grad()
def test_a_pickle_is_refused_with_the_command_that_converts_it(pickled, tmp_path, capsys):
    folder, reference = pickled
    with pytest.raises(ValueError, match="speechllm import SOURCE --convert makes them once"):
        hubert.Config(pretrained=str(folder)).build(1)
    out = tmp_path / "converted"
    cli.main(["import", str(folder), "--convert", "--out", str(out)])
    assert "as safetensors" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors"}
    model = hubert.Config(pretrained=str(out)).build(1).eval()
    x = torch.randn(1, 4000)
    states, _ = model(x, torch.tensor([4000]))
    torch.testing.assert_close(states, reference(x).last_hidden_state, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="exists; choose another --out"):
        convert.convert(str(folder), out)
    with pytest.raises(ValueError, match="has safetensors already"):
        convert.convert(str(out), tmp_path / "again")


class Trap:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_a_pickle_would_run_is_not_run(tmp_path):
    torch.save({"a": torch.ones(1), "b": Trap(tmp_path / "sprung")}, tmp_path / "bad.bin")
    with pytest.raises(ValueError, match=r"bad.bin: not a pickle of tensors alone") as error:
        convert.convert(str(tmp_path / "bad.bin"), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.bin"}
    (tmp_path / "no.bin").write_bytes(b"no pickle")
    for source in ("no.bin", "nowhere"):
        with pytest.raises(ValueError):
            convert.convert(str(tmp_path / source), tmp_path / "out")


def test_an_archive_of_nemo(tmp_path):
    torch.save({"encoder.x": torch.ones(2), "decoder.y": torch.ones(1)}, tmp_path / "w")
    table = {"encoder": {"d_model": 32, "feat_in": 80}}
    (tmp_path / "c").write_text(yaml.safe_dump(table), encoding="utf-8")
    with tarfile.open(tmp_path / "canary.nemo", "w:gz") as tar:
        tar.add(tmp_path / "w", "./model_weights.ckpt")
        tar.add(tmp_path / "c", "./model_config.yaml")
    assert convert.convert(str(tmp_path / "canary.nemo"), tmp_path / "out") == 2
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == table
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == {"encoder.x", "decoder.y"}
    assert len(list((tmp_path / "out").iterdir())) == 2
