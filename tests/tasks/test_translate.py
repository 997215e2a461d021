"""Translation: three ways to ask and to answer, what is scored, languages that do not fit."""

from collections import Counter

import numpy as np
import pytest

from speechllm.data import chat
from speechllm.tasks import translate

ROW = {
    "id": "a", "audio": "a.wav", "start": 1.0, "duration": 2.0, "text": "ein hund", "lang": "de",
    "translation": "A dog.", "translation_lang": "en",
}  # fmt: skip
TEXT = {key: value for key, value in ROW.items() if key not in ("audio", "start", "duration")}


def parts(task, row=ROW, rng=None):
    user, assistant = task.messages(row, rng)
    return user["content"], assistant["content"]


def test_prompts_name_the_languages_and_answers_fit_them():
    for way, prompt, answer in (
        ("direct", "Translate the German speech into English.", "A dog."),
        ("recognise", "Transcribe the German speech.", "ein hund"),
        (
            "chain",
            "Transcribe the German speech, then translate it into English.",
            "ein hund English: A dog.",
        ),
    ):
        content, given = parts(translate.Config(way=way))
        assert [part["type"] for part in content] == ["audio", "text"]
        assert content[1]["text"] == prompt and given == answer
    messages = translate.Config(audio_first=False).messages(ROW)
    assert [part["type"] for part in messages[0]["content"]] == ["text", "audio"]
    medium = {"type": "audio", "audio": "a.wav", "start": 1.0, "duration": 2.0}
    assert chat.media(messages) == [medium]


def test_text_stands_where_the_audio_would():
    task = translate.Config(direct="{target}:", audio_first=False)
    assert parts(task, TEXT) == ([{"type": "text", "text": "English: ein hund"}], "A dog.")
    last = translate.Config(direct="{target}:")
    assert parts(last, TEXT)[0] == [{"type": "text", "text": "ein hund English:"}]


def test_what_is_scored():
    task = translate.Config(way="chain")
    answer = parts(task)[1]
    heard = {"transcript": "ein hund", "source": "ein hund"}
    assert task.read(answer, ROW) == {"hyp": "A dog.", **heard}
    assert task.read("ein hund", ROW) == {"hyp": "", **heard}
    assert task.read("x English: y English: z", ROW)["hyp"] == "y English: z"
    assert translate.Config().read("A dog.", ROW) == {"hyp": "A dog.", "source": "ein hund"}
    assert task.reference(ROW) == "A dog."
    assert task.reference(ROW | {"translations": ["A dog.", "One dog."]}) == ["A dog.", "One dog."]
    heard = translate.Config(way="recognise")
    assert heard.reference(ROW) == "ein hund" and heard.metric == "wer"
    assert task.metric == "bleu,chrf,wer@transcript:source"


def test_training_draws_ways_translations_and_noise():
    task = translate.Config(way="chain", mix=("direct", "recognise"), noise=0.3, random_share=0.5)
    row = TEXT | {"text": "the quick brown fox", "translations": ["eins", "zwei"], "lang": "fr"}
    rng = np.random.default_rng(0)
    made = [parts(task, row, rng) for _ in range(600)]
    direct = [(shown, answer) for shown, answer in made if answer in ("eins", "zwei")]
    assert 250 < len(direct) < 350
    assert 100 < Counter(answer for _, answer in direct)["eins"] < 200
    assert {shown[0]["text"][-34:] for shown, _ in direct} == {
        "ate the French speech into English."[1:]
    }
    copies = [answer for _, answer in made if answer not in ("eins", "zwei")]
    scrambled = [answer for answer in copies if answer != row["text"]]
    assert 100 < len(scrambled) < 200
    letters = sorted("thequickbrownfox")
    assert all(sorted(answer.replace(" ", "")) == letters for answer in scrambled)
    spoiled = sum(row["text"] not in shown[0]["text"] for shown, _ in direct)
    assert spoiled > 100
    # speech is never corrupted, nor are its transcripts random strings
    spoken = [parts(task, ROW, rng)[1] for _ in range(100)]
    assert set(spoken) == {"A dog.", "ein hund"}
    shown, answer = parts(task, row)  # no chance without a generator
    assert shown[0]["text"].startswith("the quick brown fox Transcribe the French speech, then")
    assert answer == "the quick brown fox English: eins"


@pytest.mark.parametrize(
    ("settings", "change", "says"),
    [
        ({"source": "en", "target": "de"}, {}, "translates en into de: they are swapped"),
        ({"source": "fr"}, {}, "is de with a translation into en, but .* fr into en: another"),
        ({}, {"lang": "xx"}, "no language has the code 'xx'"),
        ({}, {"translation_lang": None}, "no 'translation_lang' in its row"),
        ({}, {"lang": "en"}, "'lang' and 'translation_lang' are one language, 'en'"),
        ({}, {"translation": None}, "no 'translation' in its row"),
        ({}, {"translations": "A dog."}, "wanted a text, or 'translations', a list"),
    ],
)
def test_languages_and_translations_that_do_not_fit(settings, change, says):
    with pytest.raises(ValueError, match=says):
        translate.Config(**settings).messages(ROW | change)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"way": "cascade"}, "way: wanted one of direct, recognise, chain, got 'cascade'"),
        ({"mix": ("direct", "asr")}, "got 'asr'"),
        ({"target": "german"}, "wanted its code, 'de'"),
        ({"source": "de", "target": "deu"}, "one language"),
        ({"marker": " "}, "marker: wanted something that can be found again"),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    with pytest.raises(ValueError, match=says):
        translate.Config(**settings)


def test_codes_of_three_letters_and_regions_are_the_same_language():
    task = translate.Config(source="deu", target="en-GB")
    assert parts(task, ROW | {"lang": "de-AT"})[0][1]["text"].endswith(
        "German speech into English."
    )
