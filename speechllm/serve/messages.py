"""Messages of a conversation: texts, sounds in base64, pictures as `data:` URLs, the only ones."""

import base64
import binascii
import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from speechllm.serve.decoder import PICTURE, SOUND
from speechllm.serve.refusals import UnfitError

MOST_PARTS, MOST_LETTERS = 64, 1 << 20
MEDIA = {"input_audio": "audio", "image_url": "image"}  # part of a message -> medium


class Sound(BaseModel):
    """A sound file in a message, base64."""

    data: str
    format: str = ""


class Picture(BaseModel):
    """A picture in a message; how closely to look (`detail`) is the model's own affair."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class Part(BaseModel):
    """A piece of a message."""

    type: Literal["text", "input_audio", "image_url"]
    text: str = ""
    input_audio: Sound | None = None
    image_url: Picture | None = None


class Message(BaseModel):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Annotated[str, Field(max_length=MOST_LETTERS)]
        | Annotated[
            list[Part],
            Field(max_length=MOST_PARTS),  # before any of them is looked at
        ]
    )


class Taken:
    """Takes messages apart: sounds and pictures in order, and messages that name their places.

    Attributes:
        waves: (N,) each, at the model's rate.
        pictures: (height, width, 3) uint8 each.
    """

    def __init__(self, service, folder: Path, job):
        self.waves: list[np.ndarray] = []
        self.pictures: list[np.ndarray] = []
        self._service, self._folder, self._job = service, folder, job
        self._left_s = service.settings.max_chat_s
        self._left_pixels = service.settings.max_pixels

    def message(self, message: Message) -> dict:
        """Give a message as the model takes it.

        Raises:
            UnfitError: a part that the model does not take, or too much of it.
        """
        parts = message.content
        if isinstance(parts, str):
            parts = [Part(type="text", text=parts)]
        role = "system" if message.role == "developer" else message.role
        return {"role": role, "content": [self._part(part) for part in parts]}

    def _part(self, part: Part) -> dict:
        if part.type == "text":
            return {"type": "text", "text": part.text}
        self._job.check()
        kind, value = MEDIA[part.type], getattr(part, part.type)
        if value is None or kind not in self._service.backend.media:
            names = [name for name, one in MEDIA.items() if one in self._service.backend.media]
            raise UnfitError(f"{part.type}: this model takes {', '.join(names)}, text", "messages")
        (self._sound if kind == "audio" else self._picture)(value)
        return {"type": kind}

    def _sound(self, sound: Sound) -> None:
        self._write(SOUND, sound.data, "input_audio.data: wanted base64")
        with self._service.decoders.open(self._folder, self._service.backend.sampling_rate) as one:
            if one.duration_s > self._left_s:
                raise UnfitError(
                    f"the sounds last more than {self._service.settings.max_chat_s:g} s together; "
                    "longer ones: /v1/audio/transcriptions", "messages",
                )  # fmt: skip
            self.waves.append(np.concatenate([np.zeros(0, np.float32), *one]))
            self._left_s -= one.duration_s

    def _picture(self, picture: Picture) -> None:
        head, _, data = picture.url.partition(",")
        if not re.fullmatch(r"data:[\w/+.-]{0,60};base64", head):
            raise UnfitError("image_url.url: wanted data:image/...;base64,...", "messages")
        self._write(PICTURE, data, "image_url.url: wanted base64 behind the comma")
        self.pictures.append(self._service.decoders.picture(self._folder, self._left_pixels))
        self._left_pixels -= self.pictures[-1].size // 3

    def _write(self, name: str, text: str, wanted: str) -> None:
        """Put a medium of a message where it is decoded."""
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise UnfitError(wanted, "messages") from None
        (self._folder / name).write_bytes(data)
