"""Hostile content: random damage to files, and texts with markup."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# deterministic, and no example takes long: a hang is a failure
steady = settings(
    derandomize=True,
    deadline=5000,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw a file cut short, with bits flipped, or with other bytes."""
    how = draw(st.sampled_from(["cut", "flip", "splice", "replace"]))
    place = draw(st.integers(0, max(0, len(whole) - 1)))
    match how:
        case "cut":
            return whole[:place]
        case "flip":
            flipped = bytearray(whole)
            for _ in range(draw(st.integers(1, 8))):
                flipped[draw(st.integers(0, len(whole) - 1))] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case "splice":
            return whole[:place] + draw(st.binary(max_size=64)) + whole[place:]
        case _:
            return draw(st.binary(max_size=256))


MARKUP = [
    "<script>alert(1)</script>",
    "<!-- hidden -->",
    "<http://there.example>",
    "[a link](http://there.example)",
    "[a reference]: http://there.example",
    "a | cell | more",
    "a \\\\| cell",
    "at the end \\",
    "a line\n\n# and a heading",
    "a line\r\n| row | of | cells |",
    "a line\u2028another\x85another",
    "<!--\n end: harness report -->",
    "**loud** __loud__ _soft_ ~~gone~~ `code`",
    "&lt;b&gt; &#60;b>",
]
