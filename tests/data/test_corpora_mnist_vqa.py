"""Scenes of digits: what is asked is true of what is drawn, and the splits share nothing."""

import gzip

import numpy as np
import pytest

from features import image
from speechllm.data import manifest
from speechllm.data.corpora import _scenes, mnist_vqa
from speechllm.data.corpora._scenes import DIGITS, EMPTY, FORMS, PLACES, Asker, Scene
from speechllm.data.validate import validate

SIZES = {"n_train": 40, "n_test": 30, "n_text": 180, "n_digits": 50, "n_cells": 20, "n_talks": 80,
         "n_lists": 40}  # fmt: skip


def idx(path, values: np.ndarray) -> None:
    """Write an array of bytes as MNIST has them."""
    head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes(), 1))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Digits whose pixels are all one grey: 20 times the digit, and 10 for zero."""
    folder = tmp_path_factory.mktemp("mnist")
    labels = np.arange(10_000) % 10
    images = np.broadcast_to((labels * 20 + 10)[:, None, None], (10_000, 28, 28))
    idx(folder / "t10k-images-idx3-ubyte.gz", images)
    idx(folder / "t10k-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    config = mnist_vqa.Config(str(corpus), str(out), **SIZES)
    return {name: [*manifest.Manifest(path)] for name, path in config.prepare().items()}


def test_pictures_hold_what_their_words_say(made):
    """Each cell has the grey of its digit, or is black; the answer of a caption is the words."""
    for row in made["captions_test"]:
        part, _ = row["messages"][0]["content"]
        pixels, words = image.load(part["image"])[..., 0], part["text"].split()
        assert pixels.shape == (108, 108)
        greys = [pixels[36 * r : 36 * r + 36, 36 * c : 36 * c + 36].max() for r in range(3)
                 for c in range(3)]  # fmt: skip
        wanted = [0 if word == EMPTY else DIGITS.index(word) * 20 + 10 for word in words]
        assert greys == wanted
        told = [f"{word} {place}" for word, place in zip(words, PLACES, strict=True)]
        assert row["text"] == " and ".join(one for one in told if not one.startswith(EMPTY))


def test_digits_alone(made):
    assert [len(made[f"digits_{split}"]) for split in ("train", "dev", "test")] == [50, 30, 30]
    for row in made["digits_test"]:
        part, question = row["messages"][0]["content"]
        assert part["text"].split().count(EMPTY) == 8 and row["text"] in part["text"].split()
        assert image.load(part["image"]).max() == DIGITS.index(row["text"]) * 20 + 10
        assert question["text"] == "which digit is it"


def test_cells_are_named_one_by_one(made):
    """As many words as cells, each digit once; what is there is what is said."""
    sizes = set()
    for row in made["cells_train"]:
        part, _ = row["messages"][0]["content"]
        assert row["text"] == part["text"] and len(row["text"].split()) == 9
        named = [DIGITS.index(word) for word in row["text"].split() if word != EMPTY]
        assert len({*named}) == len(named) > _scenes.MOST
        sizes.add(len(named))
        assert image.load(part["image"]).max() == max(named) * 20 + 10
    assert len(sizes) > 4


def test_conversations_are_true(made):
    """Of one scene or two, each question once, on layouts of train alone; a caption comes last."""
    allowed, kinds, answers = set(_scenes.layouts("train", 0)), set(), []
    crowded = 0
    for row in made["talks"]:
        turns = [message["content"] for message in row["messages"]]
        words = turns[0].split()
        n = 18 if _is_scene(words[9:18]) else 9
        scenes = [scene_of(" ".join(words[i : i + 9])) for i in range(0, n, 9)]
        places = [tuple(i for i, c in enumerate(s.cells) if c is not None) for s in scenes]
        assert all(one in allowed or len(one) > _scenes.MOST for one in places)
        crowded += max(map(len, places)) > _scenes.MOST
        questions = [" ".join(words[n:]), *turns[2::2]]
        assert len(set(questions)) == len(questions)
        for question, told in zip(questions, turns[1::2], strict=True):
            kind = kind_of(question)
            kinds.add(kind)
            wanted = scenes[0].caption if kind == "caption" else answer(kind, scenes, question)
            assert told == wanted, (scenes, question)
            answers += [told] if n == 18 else []
        assert (kind_of(questions[-1]) == "caption") == (n == 9)
    assert crowded == len(made["talks"]) // 4
    assert kinds == {*FORMS} and 0.35 < answers.count("true") / len(answers) < 0.65


def _is_scene(words: list[str]) -> bool:
    return len(words) == 9 and {*words} <= {EMPTY, *DIGITS}


def kind_of(question: str) -> str:
    """Which kind has a form of words that fits."""
    words = question.split()
    open_ = {"{a}": DIGITS, "{b}": DIGITS, "{place}": PLACES, "{which}": ("first", "second")}
    (kind,) = {
        kind for kind, forms in FORMS.items() for form in forms["train"]
        if len(form.split()) == len(words)
        and all(w == f or w in open_.get(f, ()) for w, f in zip(words, form.split(), strict=True))
    }  # fmt: skip
    return kind


def test_lists_hold_all_that_is_there(made):
    orders = set()
    for row in made["lists"]:
        scene, words = scene_of(row["heard"][0]), row["text"].split()
        assert len(scene.digits) > _scenes.MOST, "no layout of a split is given away"
        pairs = [tuple(words[i : i + 2]) for i in range(0, len(words), 2)]
        orders.add(words[0] in DIGITS)
        if words[0] in PLACES:
            pairs = [pair[::-1] for pair in pairs]
        there = zip(scene.cells, PLACES, strict=True)
        wanted = {(DIGITS[c], place) for c, place in there if c is not None}
        assert {*pairs} == wanted and len(pairs) == len(wanted)
    assert orders == {True, False}


def scene_of(words: str) -> Scene:
    return Scene(tuple(None if word == EMPTY else DIGITS.index(word) for word in words.split()))


def answer(kind: str, scenes: list[Scene], question: str) -> str:
    """Answer a question anew, from its words alone."""
    cells, named = scenes[0].cells, [DIGITS.index(w) for w in question.split() if w in DIGITS]
    if kind == "which":
        (place,) = (i for i, place in enumerate(PLACES) if place in question.split())
        return DIGITS[cells[place]]
    if kind == "where":
        return PLACES[cells.index(named[0])]
    if kind in ("count", "sum", "largest"):
        made = {"count": len, "sum": sum, "largest": max}[kind](scenes[0].digits)
        return _scenes.NUMBERS[made]
    if kind == "left":
        a, b = (cells.index(digit) % 3 for digit in named)
        return "yes" if a < b else "no"
    if kind == "pair":
        return "true" if all(named[0] in scene.digits for scene in scenes) else "false"
    first, second = (len(scene.digits) for scene in scenes)
    return "true" if (first > second) == ("first" in question) else "false"


@pytest.mark.parametrize("name", ["questions_train", "questions_test", "text"])
def test_answers_are_true(made, name):
    kinds = set()
    for row in made[name]:
        if row["kind"] == "caption":
            continue
        if name == "text":
            words, question = row["heard"], row["question"]
        else:
            *parts, last = row["messages"][0]["content"]
            words, question = [part["text"] for part in parts], last["text"]
        kinds.add(row["kind"])
        assert row["text"] == answer(row["kind"], [*map(scene_of, words)], question), row
        assert row["text"] in row["choices"]
    assert kinds == {*FORMS} - {"caption"}


def test_splits_share_no_layout_no_words_no_digit(made, corpus):
    found = {split: set(_scenes.layouts(split, 0)) for split in _scenes.SHARES}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 36 + 84
    assert min(map(len, found.values())) > 10
    for forms in FORMS.values():
        every = [form for split in forms.values() for form in split]
        assert len(set(every)) == len(every)
    for split in ("train", "test"):
        layout = [tuple(i for i, w in enumerate(row["messages"][0]["content"][0]["text"].split())
                        if w != EMPTY) for row in made[f"captions_{split}"]]  # fmt: skip
        assert set(layout) <= found[split]


def test_words_of_the_test_are_known_from_training():
    known = {word for forms in FORMS.values() for form in forms["train"] for word in form.split()}
    for forms in FORMS.values():
        for split in ("dev", "test"):
            assert {word for form in forms[split] for word in form.split()} <= known


def test_yes_is_as_common_as_no():
    asker = Asker("test", 0, np.random.default_rng(0))
    for kind in ("left", "pair", "more"):
        texts = []
        while len(texts) < 100:
            if asker.fits(kind, scene := asker.scene()):
                texts.append(asker.ask(kind, scene, len(texts)).text)
        assert len(set(texts)) == 2 and texts.count(texts[0]) == 50


def test_manifests_are_fine_and_drawn_alike(made, corpus, tmp_path):
    config = mnist_vqa.Config(str(corpus), str(tmp_path), **SIZES)
    paths = config.prepare()
    assert {n: len([*manifest.Manifest(p)]) for n, p in paths.items()} == {
        name: len(rows) for name, rows in made.items()
    }
    assert [r["text"] for r in manifest.Manifest(paths["text"])] == [
        r["text"] for r in made["text"]
    ]
    assert validate(paths["questions_test"], workers=1, deep=True) == []


def test_what_is_no_mnist_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="no t10k-images-idx3-ubyte.gz in it"):
        mnist_vqa.Config(str(tmp_path), str(tmp_path / "o")).prepare()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"not packed")
    with pytest.raises(ValueError, match="no IDX file of 3 dimensions"):
        mnist_vqa.Config(str(tmp_path), str(tmp_path / "o")).prepare()
    idx(tmp_path / "t10k-images-idx3-ubyte.gz", np.zeros((5, 28, 28)))
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(5))
    with pytest.raises(ValueError, match="wanted 10000 digits of 28 x 28"):
        mnist_vqa.Config(str(tmp_path), str(tmp_path / "o")).prepare()
