"""Whether this process may still have memory. A limit, as by `ulimit -v`, is no fault of a file.

Libraries that draw, decode and encode do not all survive a refused allocation: some end the process, others call a
whole file damaged, which would be rendered once more for nothing. So memory is asked for before they start.
"""

from __future__ import annotations

import errno
import mmap

from ltxflow.core.errors import FAILED, LtxflowError, Problem

NEEDED = 256 << 20  # bytes beside what is in use already: an encoder with its threads, or two decoders
LITTLE = 64 << 20  # where so much is refused, what failed just now failed for want of memory

NO_MEMORY = "U009"


def is_available(size: int) -> bool:
    """Return whether the system lets this process have so many bytes more. None of them is touched."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, ValueError, MemoryError):
        return False
    return True


def is_lack(error: BaseException) -> bool:
    """Return whether something failed because the system refused memory, or a thread, which is made of it."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "start new thread" in str(error) or not is_available(LITTLE)


def require() -> None:
    """Raise LtxflowError where there is not enough memory to draw, decode or encode."""
    if not is_available(NEEDED):
        raise lack()


def lack() -> LtxflowError:
    """Return the error for a process that gets no more memory."""
    hint = "raise the limit (`ulimit -v unlimited`), or close other programs; what is finished is kept"
    message = f"not enough memory: this process may not have {NEEDED >> 20} MB more"
    return LtxflowError(Problem(message, hint=hint, code=NO_MEMORY), exit_code=FAILED)
