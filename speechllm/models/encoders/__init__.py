"""One file an encoder: (x (B, T, F) or waves (B, N), lengths (B,)) -> (states (B, L, D), lengths).

An encoder is a frozen dataclass `Config`, whose fields are the settings of `[encoder]`, with

    dim                width D of the states
    count(n) -> L      states of n frames (or samples), before anything is computed; n an int or a
                       tensor of lengths
    build(in_dim)      the module; ValueError, which says which front end is wanted, where in_dim,
                       the width of the front end's rows (1 for waves), does not fit
    check(extractor)   optional: the same before anything is loaded, and for its rate and preset

    placed             optional: True where each state is of a patch of a picture; then the module
                       has `places(x, lengths)` -> (B, L, 3): tile, row and column of each

    dims               optional: the widths of several encoders whose states stand one behind
                       another (`streams`), for an adapter that has a part for each

and a module that maps (x, lengths) to (states, lengths) so that what lies beyond a length changes
nothing before it, be it NaN. tests/models/test_contracts.py holds it to all of this, with the
settings that its file calls TINY; `cnn.py` is a short one.
"""
