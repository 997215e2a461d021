"""The check that a front end gives the mel bands which an encoder was made for."""


def check(encoder: str, wanted: int, got: int, front: str) -> None:
    """Refuse another number of bands than `wanted`; `front` says which front end gives those.

    Raises:
        ValueError: how many are wanted, and what came.
    """
    if got != wanted:
        raise ValueError(
            f"this {encoder} encoder wants {wanted} mel bands ({front}), got a front end of "
            f"dimension {got}"
        )
