"""Tasks: messages of a row, prompts drawn, noise that stays within the text's own letters."""

import numpy as np
import pytest

from speechllm import config
from speechllm.data import chat
from speechllm.score import counting
from speechllm.tasks import asr, caption, copy, qa

ROW = {"id": "a", "audio": "a.wav", "start": 1.0, "duration": 2.0, "text": "ÄPFEL UND BIRNEN"}
ROW |= {"lang": "de", "translation": "apples and pears", "translation_lang": "en"}


@pytest.mark.parametrize("name", config.names("tasks"))
def test_each_task_makes_messages_that_end_with_an_answer(name):
    task = config.part("tasks", {"name": name}, "x")
    for rng in (None, np.random.default_rng(0)):
        messages = task.messages(ROW, rng)
        assert messages[-1]["role"] == "assistant" and messages[-1]["content"]
    assert isinstance(task.metric, str)
    for metric in task.metric.split(","):
        assert metric in counting.metrics()


def test_recognition_puts_the_audio_and_the_prompt_in_order():
    messages = asr.Config(prompt=("say",)).messages(ROW)
    assert [part["type"] for part in messages[0]["content"]] == ["audio", "text"]
    assert chat.media(messages) == [
        {"type": "audio", "audio": "a.wav", "start": 1.0, "duration": 2.0}
    ]
    turned = asr.Config(prompt=("say",), audio_first=False).messages(ROW)
    assert [part["type"] for part in turned[0]["content"]] == ["text", "audio"]


def test_prompts_are_drawn_in_training_and_fixed_in_decoding():
    task = asr.Config(prompt=("one", "two", "three"))
    rng = np.random.default_rng(0)
    drawn = {task.messages(ROW, rng)[0]["content"][1]["text"] for _ in range(50)}
    assert drawn == {"one", "two", "three"}
    assert task.messages(ROW)[0]["content"][1]["text"] == "one"


def test_copying_corrupts_the_question_and_never_the_answer():
    rng = np.random.default_rng(0)
    task = copy.Config(noise=0.2, random_share=0.3, plain_share=0.2)
    made = [task.messages(ROW, rng) for _ in range(1000)]
    plain = [m for m in made if len(m) == 1]
    shown = [(m[0]["content"][0]["text"], m[-1]["content"]) for m in made if len(m) == 2]
    assert 150 < len(plain) < 250
    random = [answer for _, answer in shown if answer != ROW["text"]]
    assert 250 < len(random) < 350
    assert all(sorted(a.replace(" ", "")) == sorted("ÄPFELUNDBIRNEN") for a in random)
    letters = set(ROW["text"])
    assert all(set(question) | set(answer) <= letters for question, answer in shown)
    assert any(question != answer for question, answer in shown)
    assert task.messages(ROW)[0]["content"][0]["text"] == ROW["text"]


@pytest.mark.parametrize("gap", [" ", ""])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_the_noise_is_as_strong_as_asked(noise, gap):
    """Errors a word (a character, in a script without spaces), as a scorer counts them.

    A word that is replaced by itself, or is too short to be shortened, is no error.
    """
    from rapidfuzz.distance import Levenshtein

    rng = np.random.default_rng(1)
    words = [chr(0x4E00 + int(i)) * (4 if gap else 1) for i in rng.integers(500, size=5000)]
    shown = copy.corrupt(gap.join(words), noise, rng)
    share = Levenshtein.distance(shown.split(gap) if gap else list(shown), words) / len(words)
    assert share == pytest.approx(noise * (1.0 if gap else 0.8), abs=0.03)


def test_random_strings_are_made_of_the_text_s_parts():
    """As long as the text, of its own letters, in another order."""
    rng = np.random.default_rng(2)
    text = "the quick brown fox jumps"
    made = copy.scramble(text, rng)
    assert sorted(made.replace(" ", "")) == sorted(text.replace(" ", "")) and made != text
    assert 3 <= len(made.split()) <= 20


def test_runs_of_words_have_all_lengths():
    """From the least to the whole text, short ones as often as long ones, words in their order."""
    rng = np.random.default_rng(3)
    text = " ".join(f"w{i}" for i in range(32))
    runs = [copy.run_of_words(text, 2, 0, rng) for _ in range(2000)]
    sizes = [len(run.split()) for run in runs]
    assert set(sizes) == set(range(2, 33)) and all(run in text for run in runs)
    assert 0.4 < np.mean([size < 8 for size in sizes]) < 0.6  # 8 is half way from 2 to 32
    assert copy.run_of_words("one two", 3, 0, rng) == "one two"
    sizes = {len(copy.run_of_words(text, 1, 6, rng).split()) for _ in range(200)}
    assert sizes == set(range(1, 7))


ASKED = {**ROW, "question": "is there a dog", "text": "yes", "choices": ["yes", "no"]}


def test_a_question_is_the_row_s_own_and_the_prompt_stands_in_for_none():
    user, assistant = qa.Config().messages(ASKED)
    assert chat.media([user]) == [
        {"type": "audio", "audio": "a.wav", "start": 1.0, "duration": 2.0}
    ]
    assert user["content"][1] == {"type": "text", "text": "is there a dog"}
    assert assistant == {"role": "assistant", "content": "yes"}
    task = qa.Config(prompt=("one", "two"))
    assert task.messages(ROW)[0]["content"][1]["text"] == "one"
    rng = np.random.default_rng(0)
    drawn = {task.messages(ROW, rng)[0]["content"][1]["text"] for _ in range(30)}
    assert drawn == {"one", "two"}


def test_choices_are_shown_where_the_task_says_how():
    task = qa.Config(question="Question: {}?", choices="Choose one: {}.", audio_first=False)
    text, audio = task.messages(ASKED)[0]["content"]
    assert text["text"] == "Question: is there a dog? Choose one: yes, no." and "audio" in audio
    assert task.messages(ROW)[0]["content"][0]["text"] == "Question: what do you hear?"
    for wrong in ({"choices": "Choose"}, {"question": "{} or {}"}):
        with pytest.raises(ValueError, match="wanted one {}"):
            qa.Config(**wrong)


def test_names_stand_where_sounds_would():
    row = {"id": "t", "heard": ["dog", "rain"], "question": "which is first", "text": "dog"}
    user = qa.Config().messages(row)[0]
    assert user["content"] == [{"type": "text", "text": "dog rain which is first"}]
    with pytest.raises(KeyError, match="heard"):
        qa.Config().messages({"id": "t", "text": "dog"})


def test_one_of_several_descriptions_is_drawn_in_training():
    row = {**ROW, "text": "a", "texts": ["a", "b", "c"]}
    rng = np.random.default_rng(0)
    assert {caption.Config().messages(row, rng)[-1]["content"] for _ in range(50)} == {*"abc"}
    assert caption.Config().messages(row)[-1]["content"] == "a"
    assert caption.Config().messages(ROW)[-1]["content"] == ROW["text"]
    assert row["text"] == "a"


def test_asr_prompt_can_be_the_system_turn():
    task = asr.Config(prompt=("Repeat:",), turn="system")
    system, user, answer = task.messages({"audio": "a.wav", "text": "hi"})
    assert system == {"role": "system", "content": "Repeat:"}
    assert [part["type"] for part in user["content"]] == ["audio"]
    assert answer["content"] == "hi"
    with pytest.raises(ValueError, match="turn: wanted 'user' or 'system', got 'both'"):
        asr.Config(turn="both")
