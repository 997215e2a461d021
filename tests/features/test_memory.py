"""Sounds in memory, read by libsndfile alone: the samples that it reads of a file object."""

import io

import numpy as np
import pytest
import soundfile

from features import kernel, memory
from features.memory import Memory


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", None)],
)
def test_reads_and_seeks_as_a_file_object_does(format, subtype):
    rng, file = np.random.default_rng(0), io.BytesIO()
    wave = 0.1 * rng.standard_normal((16000, 2))
    soundfile.write(file, wave, 16000, format=format, subtype=subtype)
    file.seek(0)
    assert memory._functions() is not None or kernel.opened()[0] is None
    with Memory(file, file.getvalue()) as ours, soundfile.SoundFile(file) as theirs:
        assert (ours.frames, ours.subtype) == (theirs.frames, theirs.subtype)
        for place, count in ((0, 5000), (9000, 100), (3, 12000), (15990, 100)):
            found = []
            for one in (ours, theirs):
                one.seek(place)
                found.append(one.read(count, dtype="float32"))
            assert np.array_equal(*found) and (place or len(found[0]) == count)


@pytest.mark.parametrize("data", [b"", b"fLaC", b"no sound at all", b"\0" * 100_000])
def test_what_is_no_sound_is_said_as_of_a_file_object(data):
    said = []
    for opening in (
        lambda: Memory(io.BytesIO(data), data),
        lambda: soundfile.SoundFile(io.BytesIO(data)),
    ):
        with pytest.raises(soundfile.LibsndfileError) as raised:
            opening()
        said.append(raised.value.error_string)
    assert said[0] == said[1]


def test_another_soundfile_or_no_library_reads_a_file_object(monkeypatch):
    monkeypatch.setattr(memory, "_functions", lambda: None)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(10), 16000, format="FLAC")
    file.seek(0)
    with Memory(file, file.getvalue()) as sound:
        assert len(sound.read()) == 10 and not hasattr(sound, "_place")
