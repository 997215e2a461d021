"""What a decode did, and how fast."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """What a decode did. `rtfx` is audio seconds over wall seconds, after the first batch."""

    n_utterances: int = 0
    n_done_before: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    timed_audio_s: float = 0.0
    timed_wall_s: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def rtfx(self) -> float:
        """Audio seconds decoded in a wall second."""
        audio, wall = self.timed_audio_s, self.timed_wall_s
        if not wall:  # one batch only: there is nothing but the warm-up
            audio, wall = self.audio_s, self.wall_s
        return audio / wall if wall else 0.0

    def add(self, audio_s: float, wall_s: float, rows: int, warm: bool = False) -> None:
        """Count one batch; the first is warm-up, unless all is `warm`."""
        if self.wall_s or warm:
            self.timed_audio_s += audio_s
            self.timed_wall_s += wall_s
        self.audio_s += audio_s
        self.wall_s += wall_s
        self.n_utterances += rows

    def join(self, other: "Tally") -> None:
        """Count what another process did beside: its time is no wall's."""
        self.n_utterances += other.n_utterances
        self.errors += other.errors
