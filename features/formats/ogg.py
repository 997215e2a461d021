"""Ogg, page by page: several streams one after another ("chained"), FLAC inside, lost pages.

Each page says to which stream it belongs, its number, and how many samples are complete with it.
libsndfile reads the first of chained streams alone and says nothing; every one is a part here. FLAC
in Ogg is FLAC whose frames lie in pages: without them it is read as FLAC. RFC 3533, RFC 9639.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from features.formats import flac
from features.formats.layout import PLAIN, Layout, Part

BEGIN, END = 2, 4  # flags of a page


@dataclass
class _Link:
    """One of chained streams, from its first page to the next one's."""

    first: int
    serials: set[int]
    magic: bytes
    end: int = 0
    samples: int = 0  # granule position of the last page that has one
    number: int = 0
    flags: int = 0
    lost: int = 0
    payloads: list[tuple[int, int]] = field(default_factory=list)


def layout(data) -> Layout:
    """How to read an Ogg file (bytes or a map of it)."""
    links = _links(data)
    if not links:
        return Layout(cut="no page of the stream is whole at its end")
    if any(len(link.serials) > 1 for link in links):
        return Layout(foreign="several streams at a time")  # a film, say
    for link in links:
        if link.lost or not link.flags & END:
            what = f"{link.lost} pages are missing" if link.lost else (
                "its last page is not the end of the stream"
            )  # fmt: skip
            return Layout(cut=what)
    if links[0].magic[:5] == b"\x7fFLAC":
        return Layout(tuple(_flac(data, link) for link in links))
    if len(links) == 1:
        return PLAIN
    return Layout(tuple(Part(((link.first, link.end),)) for link in links))


def _links(data) -> list[_Link]:
    """All streams; pages that are not whole end one."""
    links: list[_Link] = []
    at = data.find(b"OggS\0")
    while at >= 0 and (page := _page(data, at)):
        flags, granule, serial, number, begin, end = page
        if flags & BEGIN and (not links or len(links[-1].payloads) > 1):
            links.append(_Link(at, {serial}, bytes(data[begin : begin + 8])))
        elif flags & BEGIN:
            links[-1].serials.add(serial)
        if links:
            _add(links[-1], page)
        at = data.find(b"OggS\0", end)
    return links


def _add(link: _Link, page: tuple) -> None:
    flags, granule, serial, number, begin, end = page
    if link.payloads and len(link.serials) == 1 and number > link.number + 1:
        link.lost += number - link.number - 1
    link.number, link.flags, link.end = number, flags, end
    if granule not in (0, 0xFFFFFFFFFFFFFFFF):
        link.samples = granule
    link.payloads.append((begin, end))


def _page(data, at: int) -> tuple | None:
    """Flags, granule position, serial, number, payload of the page at `at`; None if not whole."""
    head = bytes(data[at : at + 27])
    if len(head) < 27:
        return None
    begin = at + 27 + head[26]
    end = begin + sum(data[at + 27 : begin])
    if end > len(data):
        return None
    granule, serial, number = (
        int.from_bytes(head[a:b], "little") for a, b in ((6, 14), (14, 18), (18, 22))
    )
    return head[5], granule, serial, number, begin, end


def _flac(data, link: _Link) -> Part:
    """The FLAC stream in a link: nine bytes of Ogg's stand before its own header."""
    (begin, end), *rest = link.payloads
    head = flac.with_total(bytes(data[begin + 9 : end]), link.samples)
    return Part((head, *rest), link.samples)
