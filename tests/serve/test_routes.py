"""OpenAI's own client against the server, by its types: what comes is what the model says alone."""

import base64
import io

import httpx
import openai
import pytest
from openai.types.audio import TranscriptionVerbose
from openai.types.chat import ChatCompletion

from features.sources import Item
from speechllm.decode import written
from speechllm.decode.listeners import OfSpeech
from speechllm.decode.requests import Request
from speechllm.decode.transcribe import Options, transcripts


@pytest.fixture(scope="module")
def wanted(speech, long, tmp_path_factory):
    """What `speechllm transcribe` says of the long sound."""
    path = tmp_path_factory.mktemp("sounds") / "long.flac"
    path.write_bytes(long)
    (file,) = transcripts(OfSpeech(speech), [Item("sound", str(path))], Options("energy"))
    assert len(file.transcript.segments) > 3 and len(set(file.transcript.text.split())) > 1
    return file.transcript


def ask(client, data: bytes, **more):
    return client.audio.transcriptions.create(file=("a.wav", data), model="tiny", **more)


def test_formats(client, long, wanted):
    assert ask(client, long).text == wanted.text
    assert ask(client, long, response_format="text") == wanted.text + "\n"
    for name in ("srt", "vtt"):
        assert ask(client, long, response_format=name) == written.FORMATS[name](wanted)


def test_verbose(client, long, wanted):
    grains = ["word", "segment"]
    said = ask(client, long, response_format="verbose_json", timestamp_granularities=grains)
    TranscriptionVerbose.model_validate(said.to_dict(), strict=False)
    assert said.text == wanted.text and said.duration == pytest.approx(42, abs=0.01)
    shown = [(one.start, one.end, one.text) for one in said.segments]
    assert shown == [(one.start, one.end, one.text) for one in wanted.segments]
    assert all(one.avg_logprob < 0 and one.tokens for one in said.segments)
    assert " ".join(word.word for word in said.words) == wanted.text
    assert ask(client, long, response_format="verbose_json").words is None


def test_stream(client, long, wanted):
    events = list(ask(client, long, stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) > len(wanted.segments)  # also within a window
    assert "".join(deltas) == wanted.text
    assert events[-1].type == "transcript.text.done" and events[-1].text == wanted.text


def test_silence_says_nothing(client):
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(32000), 16000, format="WAV")
    assert ask(client, file.getvalue()).text == ""


def test_what_a_model_cannot_do_is_said(client, short):
    with pytest.raises(openai.BadRequestError, match="which language is spoken"):
        client.audio.translations.create(file=("a.wav", short), model="tiny")
    for more, word in (
        ({"prompt": "names"}, "prompt"),
        ({"temperature": 9}, "temperature"),
        ({"response_format": "docx"}, "response_format"),
        ({"language": "klingon"}, "klingon"),
        ({"extra_body": {"color": "red"}}, "color"),
        ({"timestamp_granularities": ["syllable"]}, "segment, word"),
    ):
        with pytest.raises(openai.BadRequestError, match=word) as caught:
            ask(client, short, **more)
        assert "\n" not in caught.value.body["message"] and "--" not in caught.value.body["message"]


def test_models(client):
    (one,) = client.models.list().data
    assert one.id == "tiny" and client.models.retrieve("tiny") == one
    for call in (lambda: client.models.retrieve("other"), lambda: client.models.retrieve("../x")):
        with pytest.raises(openai.NotFoundError):
            call()


def part(data: bytes) -> dict:
    audio = {"data": base64.b64encode(data).decode(), "format": "wav"}
    return {"type": "input_audio", "input_audio": audio}


def conversation(data: bytes) -> list[dict]:
    asked = {"type": "text", "text": "say"}
    return [{"role": "user", "content": [part(data), asked]}]


@pytest.fixture(scope="module")
def question(speech, short, tmp_path_factory):
    """What `conversation` asks."""
    path = tmp_path_factory.mktemp("sounds") / "short.wav"
    path.write_bytes(short)
    return Request([speech._wave(path)], [{"role": "user", "content": [
        {"type": "audio"}, {"type": "text", "text": "say"}]}])  # fmt: skip


@pytest.fixture(scope="module")
def answer(speech, question):
    """What the model answers alone."""
    return speech.answers([question], [20])[0]


def test_chat(client, short, answer):
    said = client.chat.completions.create(
        model="tiny", messages=conversation(short), max_completion_tokens=20
    )
    ChatCompletion.model_validate(said.to_dict())
    assert said.choices[0].message.content == answer.text and answer.text
    assert said.choices[0].finish_reason == {"eos": "stop"}.get(answer.stop, answer.stop)
    assert said.usage.completion_tokens == len(answer.ids) and said.usage.prompt_tokens > 3


def test_chat_streams(client, short, answer):
    chunks = list(client.chat.completions.create(
        model="tiny", messages=conversation(short), max_tokens=20, stream=True,
        stream_options={"include_usage": True},
    ))  # fmt: skip
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(texts) == answer.text and sum(map(bool, texts)) > 1
    assert chunks[-1].usage.completion_tokens == len(answer.ids)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1]


@pytest.mark.parametrize("more", [{}, {"temperature": 1.0}])
def test_chat_answers_what_is_allowed(client, speech, short, question, answer, more):
    """The most probable of the answers that there are, or one that is drawn; streamed or whole."""
    allowed = ["low mid", "high", "mid", "say high"]
    asked = {"model": "tiny", "messages": conversation(short), **more}
    asked["extra_body"] = {"structured_outputs": {"choice": allowed}}
    said = client.chat.completions.create(**asked)
    ChatCompletion.model_validate(said.to_dict())
    assert said.choices[0].message.content in allowed and answer.text not in allowed
    assert said.choices[0].finish_reason == "stop"
    chunks = client.chat.completions.create(**asked, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == said.choices[0].message.content
    assert text == speech.answers([question], [20], choices=allowed, **more)[0].text


def test_chat_says_what_is_wrong(client, short):
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
    wrong = {
        "structured_outputs.choice": [{"choice": one} for one in (
            [], ["low", "low"], ["low", ""], [" low"], ["low"] * 99, "low", [1])],
        "structured_outputs": ["low", ["low"], {"regex": "a+"}, {"choice": ["low"], "json": {}}],
        "guided_choice": [["low", "mid"]],
    }  # fmt: skip
    choices = [
        ({"extra_body": {word.split(".")[0]: one}}, word) for word in wrong for one in wrong[word]
    ]
    for change, word in (
        *choices,
        ({"extra_body": {"structured_outputs": {"choice": ["low", "LOW"]}}}, "cannot say"),
        ({"messages": []}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"n": 2}, "n: "),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"messages": conversation(b"RIFF....")}, "none of wav"),
        ({"messages": [{"role": "user", "content": [image]}]}, "image_url"),
    ):  # fmt: skip
        asked = {"model": "tiny", "messages": conversation(short), **change}
        with pytest.raises(openai.BadRequestError, match=word):
            client.chat.completions.create(**asked)


def test_metrics(client, server, short):
    ask(client, short)
    headers = {"Authorization": f"Bearer {client.api_key}"}
    text = httpx.get(f"{server[0]}/metrics", headers=headers).text
    assert 'speechllm_requests_total{route="/v1/audio/transcriptions",status="200"}' in text
    assert "speechllm_batch_size_count" in text and "speechllm_requests_in_flight 0.0" in text
    assert httpx.get(f"{server[0]}/health").json() == {"status": "ok"}
