"""The true length of a file, also where its header does not say it; joined files; parts of all."""

import io
import struct

import numpy as np
import pytest
import soundfile

import features
from features.formats import flac, mpeg

NOISE = 0.1 * np.random.default_rng(0).standard_normal(480_000).astype(np.float32)


def encoded(seconds, rate=16000, kind="MP3", subtype=None, channels=1, **how) -> bytes:
    """A file of noise, `seconds` long."""
    n = round(seconds * rate)
    wave = np.tile(NOISE, 4)[: n * channels].reshape(n, channels)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype, **how)
    return file.getvalue()


def without_xing(data: bytes) -> bytes:
    """An MP3 as it leaves a pipe: without its first frame, which nobody could go back to."""
    first = mpeg.frame(int.from_bytes(data[:4], "big"))
    assert data[first.side : first.side + 4] in (b"Xing", b"Info")
    return data[first.size :]


def agrees(data: bytes, n: int, rate: int, tmp_path):
    """`info`, `load`, its parts and `blocks` speak of the same `n` samples; returns them."""
    path = tmp_path / "sound"
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        assert features.info(source).n_samples == n
    wave, found = features.load(path, None)
    assert (len(wave), found) == (n, rate)
    for start in (0, n // 3, n - rate // 2):
        part, _ = features.load(path, None, start / rate, 0.25)
        assert np.abs(part - wave[start : start + rate // 4]).max() < 1e-3
    with features.blocks(path, None) as pieces:
        assert pieces.n_samples == n
        assert (np.concatenate(list(pieces)) == wave).all()
    return wave


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (22050, 1), (44100, 2), (8000, 1)])
def test_mp3_from_a_pipe(tmp_path, rate, channels, mode):
    data = encoded(17.5, rate, channels=channels, bitrate_mode=mode, compression_level=0.6)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    spf = mpeg.frame(int.from_bytes(data[:4], "big")).samples
    n = sum(run[2] for run in mpeg._walked(data, 0).runs) - 1
    wave = agrees(without_xing(data), n * spf, rate, tmp_path)
    start = 1105  # what the Xing frame has decoders leave out: the encoder's delay and their own
    assert np.abs(wave[start : start + len(whole)] - whole.mean(axis=1)).max() < 1e-5


def test_joined_mp3(tmp_path):
    a, b = encoded(2.0), encoded(3.0)
    n_b = sum(run[2] for run in mpeg._walked(b, 0).runs)  # its Xing frame, too, as ffmpeg has it
    wave = agrees(a + b, 32000 + 576 * n_b, 16000, tmp_path)
    assert np.abs(wave[:32000] - features.load(io.BytesIO(a))[0]).max() < 1e-6
    tagged = b"ID3\4\0\0\0\0\1\0" + b"\0" * 128
    piped = without_xing(a) + tagged + without_xing(b) + b"TAG" + b" " * 125
    agrees(piped, 576 * (n_b - 1 + sum(run[2] for run in mpeg._walked(a, 0).runs) - 1), 16000,
           tmp_path)  # fmt: skip


def test_mp3_joined_of_other_kinds():
    for other in (encoded(3.0, channels=2), encoded(3.0, 22050)):
        for function in (features.info, features.load):
            with pytest.raises(ValueError, match="no MP3 frame of its rate and channels"):
                function(io.BytesIO(encoded(2.0) + other))


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "MP3"])
def test_a_tag_before_the_sound(tmp_path, kind):
    agrees(b"ID3\4\0\0\0\0\1\0" + bytes(128) + encoded(5.0, kind=kind), 80_000, 16000, tmp_path)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_au_from_a_pipe(tmp_path, size):
    data = encoded(5.0, kind="AU", subtype="PCM_16")
    agrees(data[:8] + size.to_bytes(4, "big") + data[12:], 80_000, 16000, tmp_path)


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("xing", [True, False])
def test_cut_mp3(tmp_path, keep, xing):
    data = encoded(5.0) if xing else without_xing(encoded(5.0))
    path = tmp_path / "cut.mp3"
    path.write_bytes(data[: int(len(data) * keep)])
    for function in (features.info, features.load):
        with pytest.raises(ValueError, match="cut.mp3: damaged or cut off"):
            function(path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg(tmp_path, subtype):
    parts = [encoded(s, kind="OGG", subtype=subtype) for s in (2.0, 3.0, 2.0)]
    wave = agrees(b"".join(parts), 112_000, 16000, tmp_path)
    alone = [features.load(io.BytesIO(part))[0] for part in parts]
    assert (wave == np.concatenate(alone)).all()
    cut = parts[0][: parts[0].rfind(b"OggS")] + parts[1]
    with pytest.raises(ValueError, match="not the end of the stream"):
        features.info(io.BytesIO(cut))
    other = parts[0] + encoded(1.0, 24000, kind="OGG", subtype=subtype)
    with pytest.raises(ValueError, match="other rates or channels"):
        features.load(io.BytesIO(other))


def test_a_chain_of_more_streams_than_a_process_may_open_files(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "radio.ogg"
    path.write_bytes(encoded(0.1, kind="OGG", subtype="VORBIS") * 300)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert features.info(path).n_samples == 300 * 1600
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_lost_pages_of_ogg():
    data = encoded(20.0, kind="OGG", subtype="VORBIS")
    pages = [i for i in range(len(data)) if data[i : i + 5] == b"OggS\0"]
    with pytest.raises(ValueError, match="2 pages are missing"):
        features.load(io.BytesIO(data[: pages[4]] + data[pages[6] :]))


@pytest.mark.parametrize("total", [0, 12345, 160_000, (1 << 36) - 1])
def test_flac_of_another_length_than_it_says(tmp_path, total):
    data = encoded(5.0, kind="FLAC")
    wave = agrees(flac.with_total(data, total), 80_000, 16000, tmp_path)
    assert (wave == soundfile.read(io.BytesIO(data), dtype="float32")[0]).all()


def test_joined_and_cut_flac(tmp_path):
    a, b = encoded(2.0, kind="FLAC"), encoded(3.0, kind="FLAC")
    agrees(a + b, 80_000, 16000, tmp_path)
    agrees(a + a, 64_000, 16000, tmp_path)
    agrees(flac.with_total(a, 0) + b + b"TAG" + b" " * 125, 80_000, 16000, tmp_path)
    for total in (0, 48_000):
        with pytest.raises(ValueError, match="damaged or cut off"):
            features.info(io.BytesIO(flac.with_total(b, total)[:-500]))


def pages(packets, serial=7):
    """An Ogg stream with a packet a page; granules are the samples so far."""
    out, number = b"", 0
    for packet, granule in packets:
        lacing = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
        flags = 2 * (number == 0) + 4 * (number == len(packets) - 1)
        out += b"OggS\0" + struct.pack("<BqIII", flags, granule, serial, number, 0)
        out += bytes([len(lacing)]) + lacing + packet
        number += 1
    return out


def flac_in_ogg(seconds) -> bytes:
    """FLAC packets in Ogg pages."""
    data = flac.with_total(encoded(seconds, kind="FLAC"), 0)
    at, blocks = 4, []
    while not blocks or not blocks[-1][0] & 128:
        size = 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        blocks.append(data[at : at + size])
        at += size
    starts = [i for i in range(at, len(data) - 6)
              if data[i : i + 2] == b"\xff\xf8" and flac._frame_end(data[i : i + 16], INFO)] + [
              len(data)]  # fmt: skip
    head = b"\x7fFLAC\1\0" + struct.pack(">H", len(blocks) - 1) + b"fLaC" + blocks[0]
    packets = [(head, 0), *((block, 0) for block in blocks[1:])]
    for first, end in zip(starts, starts[1:], strict=False):
        granule = min(flac._frame_end(data[first : first + 16], INFO), round(seconds * 16000))
        packets.append((data[first:end], granule))
    return pages(packets)


INFO = flac._Stream(4096, 0, 0)


def test_flac_in_ogg_and_chained(tmp_path):
    a, b = flac_in_ogg(2.0), flac_in_ogg(3.0)
    wave = agrees(a + b, 80_000, 16000, tmp_path)
    assert np.abs(wave[:32000] - NOISE[:32000]).max() < 1e-4
    assert np.abs(wave[32000:] - NOISE[:48000]).max() < 1e-4


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_wav_from_a_pipe(tmp_path, kind, size):
    data = bytearray(encoded(5.0, kind=kind, subtype="PCM_16"))
    at = data.find(b"data")
    if kind == "RF64":
        data[20:44] = bytes(24)
        size = 0xFFFFFFFF
    data[4:8] = data[at + 4 : at + 8] = size.to_bytes(4, "little")
    agrees(bytes(data), 80_000, 16000, tmp_path)


def test_an_empty_wav_is_empty():
    data = encoded(0.0, kind="WAV", subtype="PCM_16")
    for tail in (b"", b"LIST\4\0\0\0INFO"):
        with pytest.raises(ValueError, match="holds no samples"):
            features.load(io.BytesIO(data + tail))


@pytest.mark.parametrize("size", [0, 0x7F000008, 0xFFFFFFFF])
def test_aiff_from_a_pipe(tmp_path, size):
    data = bytearray(encoded(5.0, kind="AIFF", subtype="PCM_16"))
    at = data.find(b"SSND")
    data[at + 4 : at + 8] = size.to_bytes(4, "big")
    agrees(bytes(data), 80_000, 16000, tmp_path)


@pytest.mark.parametrize(("kind", "subtype", "n"), [
    ("WAV", "GSM610", 80_000), ("W64", "GSM610", 80_000), ("AIFF", "GSM610", 80_000),
    ("WAV", "G721_32", 80_040), ("AU", "G723_24", 80_040), ("AU", "G723_40", 80_040),
    ("WAV", "NMS_ADPCM_16", 80_000), ("WAV", "NMS_ADPCM_32", 80_000),
    ("WAV", "IMA_ADPCM", 80_343), ("CAF", "ALAC_16", 80_000), ("VOC", "PCM_16", 80_000),
])  # fmt: skip
def test_parts_of_what_cannot_seek(tmp_path, kind, subtype, n):
    agrees(encoded(5.0, kind=kind, subtype=subtype), n, 16000, tmp_path)


def test_mp3_in_wav(tmp_path):
    mp3 = without_xing(encoded(5.0, bitrate_mode="VARIABLE"))
    fmt = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16000, 8000, 1, 0, 12, 1, 2, 576, 1, 1393)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(mp3))
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(mp3)) + b"WAVE" + chunks + mp3
    n = sum(run[2] for run in mpeg._walked(mp3, 0).runs)
    agrees(data, 576 * n, 16000, tmp_path)


def test_longer_than_wanted(tmp_path):
    path = tmp_path / "long.flac"
    path.write_bytes(encoded(5.0, kind="FLAC")[:300])  # cannot be decoded: the header is enough
    with pytest.raises(ValueError, match=r"long.flac: lasts 5.000 s, wanted at most 4 s"):
        features.load(path, max_duration_s=4)
    path.write_bytes(encoded(5.0, kind="FLAC"))
    assert len(features.load(path, max_duration_s=5)[0]) == 80_000
    assert len(features.load(path, start_s=2, duration_s=1, max_duration_s=1)[0]) == 16_000


@pytest.mark.parametrize(("rate", "target"), [(16000, 8000), (8000, 16000), (44100, 16000)])
def test_blocks_are_resampled_as_the_whole_is(tmp_path, rate, target, monkeypatch):
    monkeypatch.setattr("features.sound.BLOCK", 10_007)
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(3.0, rate, kind="WAV", subtype="FLOAT", channels=2))
    wave, _ = features.load(path, target, mono=False)
    with features.blocks(path, target, mono=False) as blocks:
        pieces = list(blocks)
    assert blocks.sampling_rate == target and blocks.n_samples == wave.shape[1]
    assert len(pieces) > 5
    assert np.abs(np.concatenate(pieces, axis=1) - wave).max() < 1e-6
