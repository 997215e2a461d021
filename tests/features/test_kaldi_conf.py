"""Kaldi's configuration files: what they say is what is computed; what is not known is said."""

import kaldi_native_fbank as knf
import numpy as np
import pytest

import features
from features import cli, kaldi_conf

HIRES = """\
# config for high-resolution MFCC features
--use-energy=false   # use average of log energy, not energy.
--num-mel-bins=40
--num-ceps=40
--low-freq=20    # low cutoff frequency for mel bins
--high-freq=-400
--allow-downsample=true
"""


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_hires_is_the_preset(tmp_path, signals):
    name, options = kaldi_conf.read(write(tmp_path, "mfcc_hires.conf", HIRES))
    x, _ = features.get(name, **options)(signals["noise"])
    assert name == "kaldi_mfcc13"
    assert np.array_equal(x, features.get("kaldi_mfcc40")(signals["noise"])[0])


def test_what_is_left_out_has_kaldis_default(tmp_path, signals, near):
    """23 bins, an energy in place of c0: what its programs do without an option, but dither."""
    lines = ("--window-type=hamming", "--sample-frequency=8000", "--snip-edges=false")
    text = "\n".join([*lines, "--energy-floor=1.0"])
    for name, options, online in (
        ("fbank.conf", knf.FbankOptions(), knf.OnlineFbank),
        ("mfcc.conf", knf.MfccOptions(), knf.OnlineMfcc),
    ):
        preset, chosen = kaldi_conf.read(write(tmp_path, name, text))
        frame = options.frame_opts
        frame.dither, frame.samp_freq = 0.0, 8000
        frame.snip_edges, frame.window_type = False, "hamming"
        options.mel_opts.num_bins, options.energy_floor = 23, 1.0
        computer = online(options)
        computer.accept_waveform(8000, (signals["speechlike"] * 32768).tolist())
        computer.input_finished()
        theirs = np.array([computer.get_frame(i) for i in range(computer.num_frames_ready)])
        near(features.get(preset, **chosen), signals["speechlike"], theirs, unit=10)


def test_plp_is_known_by_name_or_line(tmp_path):
    text = "--num-ceps=10\n--low-freq=60\n"
    wanted = {"num_ceps": 10, "low_freq": 60.0, "num_mel_bins": 23, "use_energy": True}
    assert kaldi_conf.read(write(tmp_path, "plp.conf", text)) == ("kaldi_plp13", wanted)
    assert kaldi_conf.read(write(tmp_path, "a.conf", text))[0] == "kaldi_mfcc13"
    path = write(tmp_path, "b.conf", f"{text}--lpc-order=10\n--compress-factor=0.3\n")
    name, options = kaldi_conf.read(path)
    assert (
        name == "kaldi_plp13" and options["lpc_order"] == 10 and options["compress_factor"] == 0.3
    )
    assert features.get(name, **options).dim == 10


def test_words_that_mean_something_else_here(tmp_path):
    text = "--use-log-fbank=false\n--use-power=false\n--subtract-mean\n--window-type=hanning\n"
    _, options = kaldi_conf.read(write(tmp_path, "a.conf", text))
    wanted = {"log": "none", "power": 1.0, "cmvn": "mean", "window": "hann", "num_mel_bins": 23}
    assert options == wanted


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--num-mel-bin=40", "line 2: --num-mel-bin is no option"),
        ("num-mel-bins=40", "line 2: 'num-mel-bins=40': wanted --name=value"),
        ("--num-mel-bins=forty", "line 2: --num-mel-bins=forty: wanted int"),
        ("--snip-edges=maybe", "wanted bool"),
        ("--htk-compat=true", "--htk-compat=true is not made here, only false"),
    ],
)
def test_bad_lines_are_named(line, said, tmp_path):
    path = write(tmp_path, "fbank.conf", f"# first\n{line}\n")
    with pytest.raises(ValueError, match=said):
        kaldi_conf.read(path)
    with pytest.raises(ValueError, match="cannot be read"):
        kaldi_conf.read(tmp_path / "absent.conf")


def test_commands(tmp_path, capsys):
    """stats, then extract with them and with a configuration file."""
    import soundfile

    from features.stored import Stored

    rng = np.random.default_rng(0)
    (tmp_path / "wav").mkdir()
    for i in range(3):
        soundfile.write(tmp_path / "wav" / f"{i}.wav", rng.normal(0, 0.1, 8000), 8000)
    conf = str(write(tmp_path, "fbank.conf", "--sample-frequency=8000\n--num-mel-bins=30\n"))
    source, stats = str(tmp_path / "wav"), str(tmp_path / "stats.json")
    assert cli.main(["stats", source, stats, "--config", conf]) == 0
    line = ["extract", source, "--out", str(tmp_path / "set"), "--config", conf]
    assert cli.main([*line, "--option", "cmvn=global", "--option", f"stats={stats}"]) == 0
    assert "294 frames, 0 sounds failed" in capsys.readouterr().out
    stored = Stored(tmp_path / "set")
    x = np.concatenate([stored[id][0] for id in stored])
    assert x.shape == (294, 30) and abs(x.mean()) < 1e-4 and abs(x.std() - 1) < 1e-2
    assert stored.options["num_mel_bins"] == 30 and len(stored.options["stats"][0]) == 30
    assert cli.main(["stats", source, stats, "--config", str(tmp_path / "absent.conf")]) == 2
