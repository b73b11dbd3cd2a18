"""A program of its own: decodes .aedat4 recordings, for `apart.Reader`, which starts it.

Paths come on standard input, each as JSON on a line. To each the answer is a line of JSON: what is
wrong with the recording, or how many events it holds; then follow their t, x, y, p as int64. It
ends where its input does, so it never outlives who started it, and imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import aedat
import numpy as np
from numpy.typing import NDArray


def main(seconds: float) -> None:
    """Answers until the input ends; a recording may take as many seconds of the processor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the input's end says when to end
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        for line in sys.stdin.buffer:
            if sys.platform != "win32":  # the signal ends a decoder that would never come back
                signal.setitimer(signal.ITIMER_PROF, seconds)
            answer = decoded(json.loads(line))
            if isinstance(answer, str):
                answers.write(json.dumps(answer).encode() + b"\n")
            else:
                answers.write(b"%d\n" % answer.shape[1] + answer.tobytes())
            answers.flush()


def decoded(path: str) -> NDArray[np.int64] | str:
    """The events' t, x, y, p as rows (4, N), or why there are none."""
    try:
        decoder = aedat.Decoder(path)
        streams = decoder.id_to_stream().items()
        numbers = sorted(number for number, each in streams if each["type"] == "events")
        all_packets = decoder if numbers else ()
        packets = [each["events"] for each in all_packets if each["stream_id"] == numbers[0]]
        if not sum(map(len, packets)):
            return "it holds no events"
        events = np.concatenate(packets)
        # aedat's fourth field has two names, "p" and "on": the order is what stays
        t, x, y, p = (events[name].astype(np.int64) for name in events.dtype.names or ())
        return np.stack([t, x, y, p])
    except BaseException as error:  # noqa: BLE001 Rust's panics are no Exception
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(float(sys.argv[1]))
