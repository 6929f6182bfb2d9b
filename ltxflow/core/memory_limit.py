"""Check whether this process can get more memory, before a library needs it.

Libraries that draw, decode and encode do not all survive a refused allocation (`ulimit -v`): some end the process,
others report an intact file as damaged, which would then be rendered again. A separate module, since it is the only
code that maps memory to try.
"""

from __future__ import annotations

import errno
import mmap

from ltxflow.core.errors import FAILED, LtxflowError, problem

NEEDED = 256 << 20  # bytes, besides those in use: an encoder with its threads, or two decoders
LITTLE = 64 << 20  # bytes; where even these are refused, a failure was caused by a lack of memory

NO_MEMORY = "U009"


def is_available(size: int) -> bool:
    """Return whether the system grants this process `size` more bytes, without touching them."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, ValueError, MemoryError):
        return False
    return True


def is_lack(error: BaseException) -> bool:
    """Return whether an error is due to refused memory, or to a refused thread, which needs memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "start new thread" in str(error) or not is_available(LITTLE)


def require() -> None:
    """Raise LtxflowError unless there is enough memory to draw, decode or encode."""
    if not is_available(NEEDED):
        raise lack()


def lack() -> LtxflowError:
    """Return the error for a process that gets no more memory."""
    return LtxflowError(problem("U009", size=NEEDED >> 20), exit_code=FAILED)
