"""MuST-C: segments of talks, lines that belong together by their place, faults."""

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import must_c
from speechllm.data.manifest import Manifest

YAML = """\
- {duration: 0.5, offset: 0.25, rW: 2, uW: 0, speaker_id: spk.1, wav: ted_1.wav}
- {duration: 1, offset: 1.0, speaker_id: spk.1, wav: ted_1.wav}
- {duration: 0.75, offset: 0.0, speaker_id: spk.2, wav: ted_2.wav}
"""


@pytest.fixture
def corpus(tmp_path):
    for split in ("dev", "tst-COMMON"):
        base = tmp_path / "MUSTC" / "en-de" / "data" / split
        (base / "wav").mkdir(parents=True)
        (base / "txt").mkdir()
        for name in ("ted_1", "ted_2"):
            soundfile.write(base / "wav" / f"{name}.wav", np.full(32000, 0.1), 16000)
        (base / "txt" / f"{split}.yaml").write_text(YAML)
        (base / "txt" / f"{split}.en").write_text("Good day.\nA  dog\u2028here.\nThank you.\n")
        (base / "txt" / f"{split}.de").write_text("Guten Tag.\nEin Hund.\nDanke.\n")
    return tmp_path / "MUSTC"


def test_segments(corpus, tmp_path):
    paths = must_c.Config(corpus=str(corpus), out=str(tmp_path / "out"), target="de").prepare()
    assert sorted(paths) == ["dev", "tst-COMMON"]
    rows = Manifest(paths["tst-COMMON"])
    assert rows.ids == ["ted_1_0000", "ted_1_0001", "ted_2_0000"]
    assert rows[1] == {
        "id": "ted_1_0001",
        "audio": str(corpus / "en-de/data/tst-COMMON/wav/ted_1.wav"),
        "start": 1.0,
        "duration": 1.0,
        "text": "A dog here.",
        "speaker": "spk.1",
        "lang": "en",
        "translation": "Ein Hund.",
        "translation_lang": "de",
    }
    inside = must_c.Config(
        corpus=str(corpus / "en-de"), out=str(tmp_path / "o"), target="de", splits=("dev",)
    ).prepare()
    assert list(inside) == ["dev"] and len(Manifest(inside["dev"])) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "en", "source": "de"}, "no de-en/data in it; source and target are swapped"),
        ({"target": "fr"}, "no en-fr/data in it; is it unpacked"),
        ({"target": "en"}, "one language, 'en'"),
        ({"target": "de", "splits": ("test",)}, "no test; it has dev, tst-COMMON"),
    ],
)
def test_what_is_not_there(corpus, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        must_c.Config(corpus=str(corpus), out=str(tmp_path / "out"), **options).prepare()


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("dev.de", "Guten Tag.\nDanke.\n", "3 segments, but 3 lines of en, 2 lines of de; unpack"),
        ("dev.de", "Guten Tag.\n\nDanke.\n", "dev.yaml, segment 2: its line of the translation is"),
        ("dev.yaml", YAML.replace("offset: 0.25, ", ""), "segment 1: no offset; wanted {duration"),
        ("dev.yaml", YAML.replace("duration: 1,", "duration: x,"), "segment 2: duration is 'x'"),
        ("dev.yaml", YAML.replace("duration: 1,", "duration: 9,"), "segment 2: ends at 10.000 s"),
        ("dev.yaml", YAML.replace("ted_2", "ted_3"), "segment 3: .*ted_3.wav"),
        ("dev.yaml", "- {a: [}\n", "dev.yaml: not YAML"),
        ("dev.yaml", "a: 1\n", "dev.yaml: wanted a list of segments, got dict"),
    ],
)
def test_faults(corpus, tmp_path, file, text, says):
    (corpus / "en-de/data/dev/txt" / file).write_text(text)
    with pytest.raises(ValueError, match=says):
        must_c.Config(
            corpus=str(corpus), out=str(tmp_path / "out"), target="de", splits=("dev",)
        ).prepare()
