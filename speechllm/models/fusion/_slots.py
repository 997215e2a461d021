"""Slots against soft tokens: what both fusions refuse."""


def check(tokens, slots) -> None:
    """Refuse slots (M, 3) of row, start, count that soft tokens (M, K, H) cannot fill.

    Raises:
        ValueError: slots without media or media without slots, a slot for more than K tokens.
    """
    if len(tokens) != len(slots):
        raise ValueError(f"{len(slots)} slots in the text for {len(tokens)} media; each wants one")
    wanted = int(slots[:, 2].max()) if len(slots) else 0
    if wanted > tokens.shape[1]:
        raise ValueError(f"a slot is for {wanted} soft tokens, but there are {tokens.shape[1]}")
