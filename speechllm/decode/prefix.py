"""How probable a beginning of a text is by a CTC head: the sum over all ways to align it.

    states = prefixes.begin(rows)                   # of nothing said, log-probability 0
    states = prefixes.extend(states, which, units)  # one unit more
    states.total                                    # (n,) log-probability of each beginning
    prefixes.whole(states)                          # (n,) of each as a whole text

The recursion of Watanabe et al. 2017 (hybrid CTC/attention), in which a beginning's probability by
frame t comes from that by frame t - 1, is solved for all frames at once. With p(t) the
log-probability of a unit at frame t, P its cumulative sum and f(t) what its path can come from,

    r(t) = p(t) + log(e^r(t-1) + e^f(t-1))   is   r(t) = P(t) + log sum_{s <= t} e^(f(s-1) - P(s-1))

for which torch has logcumsumexp. In float64: P runs to minus ten thousand, and what is wanted are
differences below one.

B rows, T frames, C units and the blank last, n beginnings; all in nats.
"""

from dataclasses import dataclass

import torch

from speechllm.models.masks import valid_mask

NEVER = -1e6  # log-probability of what no alignment can say: more units than there are frames


@dataclass
class States:
    """Beginnings: at each number of frames read, how probable each is with its last frame so.

    Attributes:
        rows: (n,) of the batch.
        last: (n,) last unit, -1 for none.
        total: (n,) of the beginning, whatever follows it.
        frame: (n,) at which its last unit most probably began, -1 for none.
        unit, blank: (n, T + 1) after so many frames, the last of them this unit or the blank.
    """

    rows: torch.Tensor
    last: torch.Tensor
    total: torch.Tensor
    frame: torch.Tensor
    unit: torch.Tensor
    blank: torch.Tensor

    def at(self, numbers: torch.Tensor) -> "States":
        """Take some of the beginnings, each as often as it is named."""
        return States(*(part[numbers] for part in vars(self).values()))

    @classmethod
    def of(cls, several: list["States"]) -> "States":
        """Put beginnings one after another."""
        return cls(*(torch.cat(parts) for parts in zip(*(vars(s).values() for s in several))))  # noqa: B905

    def before(self, numbers: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        """How probable it is (m, T) that a unit begins at each frame, before it is heard.

        The same unit once more wants a blank between the two: "aa" is a - a.
        """
        blank, unit = self.blank[numbers, :-1], self.unit[numbers, :-1]
        same = (self.last[numbers] == units)[:, None]
        return torch.where(same, blank, torch.logaddexp(blank, unit))


class Prefixes:
    """Scores beginnings by what a head says of each frame.

    Args:
        logits: (B, T, C + 1), the blank last.
        lengths: (B,) frames of each row.
    """

    def __init__(self, logits: torch.Tensor, lengths: torch.Tensor):
        if logits.device.type == "mps":  # which has no float64
            logits, lengths = logits.cpu(), lengths.cpu()
        scores = logits.float().log_softmax(-1)
        inside = valid_mask(lengths, logits.shape[1]).unsqueeze(-1)
        # Beyond the end the blank is certain: what was probable there stays so to the last frame.
        scores = scores.masked_fill(~inside, NEVER)
        scores[..., -1].masked_fill_(~inside[..., 0], 0.0)
        self.scores = scores.transpose(1, 2).contiguous()  # (B, C + 1, T): a unit's frames together
        self.lengths = lengths
        self.n_units = logits.shape[-1] - 1

    def begin(self, rows: torch.Tensor) -> States:
        """Give the beginnings of rows (n,) where nothing is said yet."""
        blank = torch.nn.functional.pad(self._heard(rows, self.n_units).cumsum(1), (1, 0))
        none, nothing = torch.full_like(rows, -1), blank.new_zeros(len(rows))
        return States(rows, none, nothing, none, torch.full_like(blank, -torch.inf), blank)

    def _heard(self, rows: torch.Tensor, units) -> torch.Tensor:
        """Log-probability of a unit at each frame, (n, T)."""
        return self.scores[rows, units].double()

    def begins(self, states: States, numbers, units) -> torch.Tensor:
        """Log-probability of beginnings `numbers` (m,) with one unit (m,) more, (m, T).

        By the frame at which that unit begins: their sum is the beginning's.
        """
        return states.before(numbers, units) + self._heard(states.rows[numbers], units)

    def extend(self, states: States, numbers: torch.Tensor, units: torch.Tensor) -> States:
        """Give beginnings `numbers` (m,) with one unit (m,) more."""
        rows = states.rows[numbers]
        before, heard = states.before(numbers, units), self._heard(rows, units)
        unit = _recur(before, heard)
        blank = _recur(unit[:, :-1], self._heard(rows, self.n_units))
        begins = before + heard
        return States(rows, units, begins.logsumexp(1), begins.argmax(1), unit, blank)

    def spell(self, states: States, texts: list[tuple[int, ...]]) -> States:
        """Give each beginning with the units of its text after it; () leaves it as it is."""
        states = states.at(torch.arange(len(texts), device=states.rows.device))
        for depth in range(max(map(len, texts), default=0)):
            longer = [i for i, text in enumerate(texts) if len(text) > depth]
            numbers = torch.tensor(longer, device=states.rows.device)
            units = torch.tensor([texts[i][depth] for i in longer], device=numbers.device)
            grown = self.extend(states, numbers, units)
            for own, new in zip(vars(states).values(), vars(grown).values(), strict=True):
                own[numbers] = new
        return states

    @staticmethod
    def whole(states: States) -> torch.Tensor:
        """Log-probability (n,) of each as the whole text."""
        return torch.logaddexp(states.unit[:, -1], states.blank[:, -1])


def _recur(before: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
    """Solve r(t) = heard(t) + log(e^r(t-1) + e^before(t-1)): (m, T) twice -> (m, T + 1)."""
    sums = torch.nn.functional.pad(heard.cumsum(1), (1, 0))
    found = sums[:, 1:] + torch.logcumsumexp(before - sums[:, :-1], 1)
    return torch.nn.functional.pad(found, (1, 0), value=-torch.inf)
