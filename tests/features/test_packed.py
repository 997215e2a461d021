"""Frames in fewer bytes: the stated errors, and what bfloat16 is elsewhere."""

import numpy as np
import pytest
import torch

from features import folder, get, packed, stored


def frames(n=50, dim=12):
    x = np.random.default_rng(0).standard_normal((n, dim)).astype(np.float32)
    return x * np.geomspace(1e-3, 1e3, dim, dtype=np.float32)


def test_bfloat16_is_that_of_torch_and_within_its_error():
    x = np.concatenate([frames(), np.float32([[0.0, -0.0, 1.0, 1.00390625, 1.01171875, 3e38] * 2])])
    back = packed.unpack(packed.pack(x, "bfloat16"), "bfloat16")
    assert np.array_equal(back, torch.from_numpy(x).bfloat16().float().numpy())
    assert (np.abs(back - x) <= 2.0**-8 * np.abs(x)).all()


def test_int8_is_within_its_error_of_each_column():
    x = frames()
    x[:, 3] = 0.0
    rows = packed.pack(x, "int8")
    assert rows.dtype == np.int8 and rows.shape == (54, 12)
    error = np.abs(packed.unpack(rows, "int8") - x)
    assert (error <= np.abs(x).max(0) / 253.9).all() and not error[:, 3].any()


@pytest.mark.parametrize("kind, size", [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_a_set_keeps_them(tmp_path, kind, size):
    x, y = frames(), frames(7) * 2
    note = folder.holds(get("kaldi_fbank80")) | {"dtype": kind}
    with folder.writing(tmp_path, note), stored.Writer(tmp_path, "00000", kind) as shard:
        shard.add("a", x, 50)
        shard.add("b", y, 7)
    there = stored.Stored(tmp_path)
    for id, wanted in (("a", x), ("b", y)):
        got, n = there[id]
        assert got.dtype == np.float32 and got.shape == wanted.shape and n == len(wanted)
        assert np.array_equal(got, packed.unpack(packed.pack(wanted, kind), kind))
    there.verify()
    assert (tmp_path / "00000-00.npy").stat().st_size < size * 12 * 65 + 200
    with pytest.raises(ValueError, match="dtype='int4': wanted one of float32, bfloat16, int8"):
        stored.Writer(tmp_path, "00001", "int4")
