"""A Kaldi configuration file (conf/fbank.conf, mfcc.conf, plp.conf) as a preset with options.

    name, options = read("conf/mfcc_hires.conf")        # features.get(name, **options)

It is of MFCCs or PLPs where the file's name or one of its lines says so. What the file leaves out
has the default of compute-fbank-feats, compute-mfcc-feats or compute-plp-feats, but for dither,
which is noise: it is 0 unless the file names it. What changes no number (--allow-downsample, ...)
is passed over. Source: the options of Kaldi's feat/feature-window.h, mel-computations.h,
feature-fbank.h, feature-mfcc.h, feature-plp.h.
"""

from __future__ import annotations

from pathlib import Path

COMMON = {
    "sample-frequency": ("sampling_rate", float), "frame-length": ("frame_length_ms", float),
    "frame-shift": ("frame_shift_ms", float), "dither": ("dither", float),
    "preemphasis-coefficient": ("preemphasis", float), "snip-edges": ("snip_edges", bool),
    "remove-dc-offset": ("remove_dc_offset", bool), "window-type": ("window", str),
    "num-mel-bins": ("num_mel_bins", int), "low-freq": ("low_freq", float),
    "high-freq": ("high_freq", float), "vtln-low": ("vtln_low", float),
    "vtln-high": ("vtln_high", float), "vtln-warp": ("vtln_warp", float),
    "use-energy": ("use_energy", bool), "raw-energy": ("raw_energy", bool),
    "energy-floor": ("energy_floor", float), "num-ceps": ("num_ceps", int),
    "cepstral-lifter": ("cepstral_lifter", float), "use-log-fbank": ("log", bool),
    "use-power": ("power", bool), "subtract-mean": ("cmvn", bool),
    "lpc-order": ("lpc_order", int), "compress-factor": ("compress_factor", float),
    "cepstral-scale": ("cepstral_scale", float),
}  # fmt: skip
KINDS = {  # of the two that a line speaks for, the later one: both have cepstra, one has these
    "kaldi_mfcc13": ("mfcc", ("num-ceps", "cepstral-lifter")),
    "kaldi_plp13": ("plp", ("lpc-order", "compress-factor", "cepstral-scale")),
}
# name: what it may be, for what is fixed here; None: whatever it is
FIXED = {
    "round-to-power-of-two": "true", "htk-compat": "false", "blackman-coeff": "0.42",
    "allow-downsample": None, "allow-upsample": None, "debug-mel": None, "verbose": None,
    "max-feature-vectors": None, "min-duration": None, "output-format": None,
}  # fmt: skip
DEFAULTS = {
    "kaldi_fbank80": {"num_mel_bins": 23},
    "kaldi_mfcc13": {"num_mel_bins": 23, "use_energy": True},
    "kaldi_plp13": {"num_mel_bins": 23, "use_energy": True},
}
MEANING = {
    "log": {True: "ln", False: "none"}, "power": {True: 2.0, False: 1.0},
    "cmvn": {True: "mean", False: ""}, "window": {"hanning": "hann"},
}  # fmt: skip


def read(path) -> tuple[str, dict]:
    """Preset and options of a configuration file. Raises ValueError naming the line."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); check the path") from None
    chosen, kinds = {}, {k for k, (word, _) in KINDS.items() if word in Path(path).name.lower()}
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].strip()
        if words:
            name, value = _pair(words, f"{path}, line {number}")
            kinds |= {kind for kind, (_, lines) in KINDS.items() if name in lines}
            chosen.update(value)
    preset = max(kinds, key=list(KINDS).index, default="kaldi_fbank80")
    return preset, DEFAULTS[preset] | chosen


def _pair(words: str, where: str) -> tuple[str, dict]:
    """`--name=value` as (name, {option: value}); a name alone is true."""
    name, given, text = words.partition("=")
    if not name.startswith("--"):
        raise ValueError(f"{where}: {words!r}: wanted --name=value; correct the line")
    name, text = name[2:].strip().replace("_", "-"), text.strip() if given else "true"
    if name in FIXED:
        if FIXED[name] not in (None, text):
            raise ValueError(f"{where}: --{name}={text} is not made here, only {FIXED[name]}")
        return name, {}
    if name not in COMMON:
        raise ValueError(
            f"{where}: --{name} is no option of compute-fbank-feats, compute-mfcc-feats or "
            f"compute-plp-feats that is known here; those are: {', '.join(COMMON)}"
        )
    option, kind = COMMON[name]
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ValueError(f"{where}: --{name}={text}: wanted {kind.__name__}; correct it") from None
    if option == "sampling_rate":
        value = int(value) if value.is_integer() else value
    return name, {option: MEANING.get(option, {}).get(value, value)}
