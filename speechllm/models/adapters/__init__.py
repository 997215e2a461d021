"""One file an adapter: (states (B, L, D), lengths (B,)) -> (soft tokens (B, K, H), lengths (B,)).

An adapter is a frozen dataclass `Config`, whose fields are the settings of `[adapter]`, with

    count(n) -> K                   soft tokens of n states (the most, where it depends on what is
                                    said), before anything is computed; an int or a tensor
    build(in_dim, embedding)        the module, from width D to that of the LLM's embeddings (V, H)

    placed                          optional: True where the module takes (states, lengths, places),
                                    the places (B, L, 3) of states of pictures: tile, row, column

    beside                          optional: kinds of media; then the module takes besides, as
                                    `beside` (B,), which items stand with one of these in an example
    streams                         optional: True where `build` takes the widths of several
                                    encoders (`dims`), whose states stand one behind another

    places(places, lengths)         optional, of the module: where each soft token stands (B, K, 3)

and a module that maps (states, lengths) to (tokens, lengths) so that padding changes nothing. Its
`match(embeddings)`, if there is one, lets soft tokens start at the scale of text. All of this is
tested because the file is here (tests/models/test_contracts.py, with its defaults; small settings
go into ADAPTERS of test_model.py); `linear.py` is a short one.
"""
