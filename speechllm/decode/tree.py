"""What candidates of a search are worth by CTC: what they have in common is computed once."""

import torch

from speechllm.decode.prefix import Prefixes, States

HOPELESS = 30.0  # nats below the best of as many units, from which a candidate is given up


class Tree:
    """Candidates of all lines as a tree of units: what they share is computed once."""

    def __init__(self, prefixes: Prefixes, states: States, value):
        self.prefixes, self.states, self.value = prefixes, states, value
        self.best: dict[tuple, float] = {}  # (number, units) -> the LLM's best of what lies beyond
        self.levels: list[dict[tuple, None]] = []
        self.found: dict[tuple, float] = {}

    def add(self, number: int, units: tuple[int, ...], score: float) -> None:
        """Add a candidate of line `number`, which scores so much by the LLM."""
        for depth in range(1, len(units) + 1):
            if len(self.levels) < depth:
                self.levels.append({})
            node = (number, units[:depth])
            self.levels[depth - 1][node] = None
            self.best[node] = max(score, self.best.get(node, -torch.inf))

    def grown(self) -> dict[tuple, float]:
        """Give what each node is worth; those that are given up are missing."""
        parents, states = {(n, ()): n for n in range(len(self.states.rows))}, self.states
        for depth, level in enumerate(self.levels):
            alive = [node for node in level if (node[0], node[1][:-1]) in parents]
            if not alive:
                break
            places = [parents[number, units[:-1]] for number, units in alive]
            device = states.rows.device
            numbers = torch.tensor(places, device=device)
            units = torch.tensor([node[1][-1] for node in alive], device=device)
            begins = self.prefixes.begins(states, numbers, units)
            rows, totals = states.rows[numbers], begins.logsumexp(1)
            values = self.value(rows, totals, begins.argmax(1))
            self.found |= zip(alive, values, strict=True)
            further = self._further(alive, values, depth)
            if not further:
                break
            kept = torch.tensor(further, device=device)
            states = self.prefixes.extend(states, numbers[kept], units[kept])
            parents = {alive[place]: i for i, place in enumerate(further)}
        return self.found

    def _further(self, alive: list[tuple], values: list[float], depth: int) -> list[int]:
        """Say which nodes of a level have candidates beyond them and are not hopeless."""
        if depth + 1 == len(self.levels):
            return []
        most: dict[int, float] = {}
        bounds = [value + self.best[node] for node, value in zip(alive, values, strict=True)]
        for node, bound in zip(alive, bounds, strict=True):
            most[node[0]] = max(bound, most.get(node[0], -torch.inf))
        inner = {(number, units[:-1]) for number, units in self.levels[depth + 1]}
        return [i for i, node in enumerate(alive)
                if node in inner and bounds[i] > most[node[0]] - HOPELESS]  # fmt: skip
