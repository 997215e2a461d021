"""Speech from espeak-ng through its C library, which the package `espeakng-loader` brings along.

The library keeps state between sentences (flutter, echo, noise), so that a wave is a pure function
of the calls since the process began: for the same speech twice, start a fresh process.
"""

import ctypes
import itertools

import numpy as np

# From espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_RATE, _PITCH, _RANGE = 1, 3, 4
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_OK = 0
_NO_MORE, _WORD, _END = 0, 1, 5


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in letters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """`say(text, ...)` -> wave; one instance a process. Raises ValueError where it is missing.

    `words` are those of what was said last, with their times.
    """

    def __init__(self, seed: int = 0):
        try:
            import espeakng_loader
        except ModuleNotFoundError as error:
            raise ValueError("espeak-ng is missing: pip install espeakng-loader") from error
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = espeakng_loader.get_data_path().encode()
        self.sampling_rate = self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, folder, 0)
        if self.sampling_rate <= 0:
            raise ValueError(f"espeak-ng did not start with its data in {folder.decode()}")
        # Initialisation seeds both generators with time and process number.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        ctypes.CDLL(None).srand(seed)
        self._pieces: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # must live as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    def say(
        self, text: str, voice: str, wpm: int = 175, pitch: int = 50, pitch_range: int = 50
    ) -> np.ndarray:
        """Speak a text: float32 (N,) in -1..1 at `sampling_rate`.

        voice is an accent with a variant ("en-us+f3"); pitch and pitch_range are 0 to 100.
        Raises ValueError for a voice that espeak-ng does not have.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != _OK:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, wpm), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        self._pieces.clear()
        self._events: list[tuple[float, str]] = []
        self._text = text
        data = text.encode()
        size = ctypes.c_size_t(len(data) + 1)
        status = self._library.espeak_Synth(
            data, size, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if status != _OK or not self._pieces:
            raise ValueError(f"espeak-ng did not speak {text!r} with the voice {voice!r}")
        return np.concatenate(self._pieces).astype(np.float32) / 32768.0

    @property
    def words(self) -> list[tuple[float, float, str]]:
        """List the words of what was said last: each ends where the next, or a pause, begins."""
        pairs = zip(self._events, self._events[1:], strict=False)
        return [(start, end, word) for (start, word), (end, _) in pairs if word]

    def _receive(self, samples: object, count: int, events: object) -> int:
        for event in itertools.takewhile(lambda one: one.type != _NO_MORE, events or ()):
            if event.type in (_WORD, _END):
                at, n = event.text_position - 1, event.length
                word = self._text[at : at + n] if event.type == _WORD else ""
                self._events.append((event.sample / self.sampling_rate, word))
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0
