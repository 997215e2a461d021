"""Ids, labels and slots: built once, alike for training and decoding."""

import pytest

from speechllm.data import chat
from speechllm.data.batch import IGNORE, Kind
from speechllm.models.tokens import load_tokenizer

AUDIO = {"type": "audio", "audio": "a.wav"}


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny / "bpe")


def messages(answer="low mid"):
    content = [{"type": "text", "text": "say "}, AUDIO, {"type": "text", "text": "write"}]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]


def build(tokenizer, *args, **options):
    config = chat.Config(user="{}<unk>", assistant="{}</s>")
    return chat.Builder(config, tokenizer).build(*args, **options)


def test_kinds_labels_and_slots(tokenizer):
    made = build(tokenizer, messages(), [3])
    start, count = made.slots[0]
    assert count == 3
    assert made.kinds[start : start + 3] == [Kind.SLOT] * 3
    assert made.kinds.count(Kind.SLOT) == 3
    answer = tokenizer("low mid", add_special_tokens=False)["input_ids"]
    wanted = [label for label in made.labels if label != IGNORE]
    assert wanted == [*answer, tokenizer.eos_token_id]
    assert made.ids[0] == tokenizer.bos_token_id


def test_the_decoding_prompt_is_a_prefix_of_training(tokenizer):
    whole = build(tokenizer, messages(), [3])
    prompt = build(tokenizer, messages(), [3], answer=False)
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert whole.kinds[len(prompt.ids)] is Kind.ANSWER
    assert whole.slots == prompt.slots


def test_an_answer_that_spells_a_special_token_stays_text(tokenizer):
    made = build(tokenizer, messages("low</s> mid"), [1])
    ids = [i for i, k in zip(made.ids, made.kinds, strict=True) if k is Kind.ANSWER]
    assert tokenizer.eos_token_id not in ids


def test_several_media_and_turns(tokenizer):
    turns = [*messages(), {"role": "user", "content": [AUDIO, AUDIO]},
             {"role": "assistant", "content": "high"}]  # fmt: skip
    made = build(tokenizer, turns, [2, 1, 4])
    assert [count for _, count in made.slots] == [2, 1, 4]
    assert made.kinds.count(Kind.CLOSE) == 2


def test_media_and_counts_must_match(tokenizer):
    with pytest.raises(ValueError, match="1 media in the messages, but 2 counts"):
        build(tokenizer, messages(), [3, 3])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"role": "robot", "content": "x"}, "wanted system, user or assistant, got 'robot'"),
        ({"role": "user", "content": [{"type": "smell"}]}, "got type 'smell'"),
    ],
)
def test_wrong_messages(tokenizer, change, says):
    with pytest.raises(ValueError, match=says):
        build(tokenizer, [change], [])


def test_pad_equal_to_eos_is_refused(tiny):
    tokenizer = load_tokenizer(tiny / "bpe")
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(ValueError, match="pad == eos"):
        chat.Builder(chat.Config(), tokenizer)


def test_an_answer_without_end_is_refused(tokenizer):
    with pytest.raises(ValueError, match="nothing would ever end an answer"):
        chat.Builder(chat.Config(assistant="{}"), tokenizer)


def test_equal_to_the_chat_template_of_the_tokenizer(tokenizer):
    """ChatML written as our three strings gives the ids of the template itself."""
    template = (
        "{% for m in messages %}<s>{{ m.role }} {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant {% endif %}"
    )
    turns = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "low mid"}]
    config = chat.Config(bos=False, user="<s>user {}</s><s>assistant ", assistant="{}</s>")
    made = chat.Builder(config, tokenizer).build(turns, [], answer=False)
    options = {"chat_template": template, "add_generation_prompt": True, "tokenize": True}
    wanted = tokenizer.apply_chat_template(turns[:1], return_dict=False, **options)
    assert made.ids == wanted


def test_text_around_media_and_before_the_conversation(tokenizer):
    """Media are numbered through; the opening stands only where no system turn does."""
    config = chat.Config(opening="low", medium="{n}: {} high", system="mid {}", user="{}<unk>")
    builder = chat.Builder(config, tokenizer)
    one = [{"role": "user", "content": [AUDIO, AUDIO]}]
    made = builder.build(one, [2, 1], answer=False)

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    pad, bos = [tokenizer.pad_token_id], [tokenizer.bos_token_id]
    before, between = [*bos, *ids("low1: ")], ids(" high2: ")
    assert made.ids == [*before, *pad * 2, *between, *pad, *ids(" high<unk>")]
    assert made.slots == [(len(before), 2), (len(before) + 2 + len(between), 1)]
    with_system = builder.build([{"role": "system", "content": "say"}, *one], [1, 1], answer=False)
    assert with_system.ids[: len(bos + ids("mid say1: "))] == [*bos, *ids("mid say1: ")]
    with pytest.raises(ValueError, match="medium: wanted one {}"):
        chat.Config(medium="<audio>")
