"""Frame arithmetic: which samples make which frame. Plain integers, no tensors.

These few functions are the only place that knows it; the offline extractor, the streaming one, the
collate of a trainer (through `Extractor.count`) and the tests all ask here. Five ways to treat the
ends of a signal:

    snip_edges=True    Kaldi: only frames that fit                 1 + (n - length) // shift
    snip_edges=False   Kaldi: a frame a shift, edges mirrored      (n + shift // 2) // shift
    center=True (drop_last=True)    librosa, torch.stft (Whisper): frame t is centred on t * shift
    semicausal=True    of these, those that end, with one sample more, in the wave (Gemma 4)
    pad_last=True      python_speech_features: the last frame is filled up with zeros

Source: Kaldi feat/feature-window.cc (NumFrames, FirstSampleOfFrame); librosa.util.frame;
python_speech_features.sigproc.framesig.
"""


def num_frames(
    n_samples, length, shift, snip_edges=True, center=False, drop_last=False, pad_last=False,
    semicausal=False,
) -> int:  # fmt: skip
    """Number of frames that `n_samples` samples give; 0 when there are too few."""
    if n_samples <= 0:
        return 0
    if semicausal:
        return max(0, 1 + (n_samples + length // 2 - length - 1) // shift)
    if center:
        return n_samples // shift + (0 if drop_last else 1)
    if pad_last:
        return 1 + max(0, -((length - n_samples) // shift))
    if snip_edges:
        return 0 if n_samples < length else 1 + (n_samples - length) // shift
    return (n_samples + shift // 2) // shift


def first_sample(frame, length, shift, snip_edges=True, center=False) -> int:
    """Index of the first sample of `frame`; negative where the frame begins before the signal."""
    if center:
        return frame * shift - length // 2
    if snip_edges:
        return frame * shift
    return frame * shift + shift // 2 - length // 2


def mirror(index, n_samples):
    """Position that stands for `index`, edge repeated: 2 1 0 | 0 1 2 | 2 1 0 (Kaldi)."""
    index = index % (2 * n_samples)
    return _fold(index, 2 * n_samples - 1 - index)


def reflect(index, n_samples):
    """Position that stands for `index`, edge not repeated: 2 1 | 0 1 2 | 1 0 (torch.stft)."""
    period = 2 * (n_samples - 1)
    period = period + (period == 0)  # of one sample, every position is that one
    index = index % period
    return _fold(index, period - index)


def _fold(forth, back):
    """The smaller of two indices, for integers, arrays and tensors alike."""
    first = forth <= back
    return forth * first + back * (1 - first * 1)
