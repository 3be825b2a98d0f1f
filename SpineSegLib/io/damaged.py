"""What readers raise on files that break their format, depending on where they do."""

from __future__ import annotations

import struct
import zlib

DAMAGED = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, AssertionError),
    *(NotImplementedError, RuntimeError, RecursionError, MemoryError, SyntaxError, struct.error, zlib.error),
)
"""Caught only around the reading of a user's file; the original error stays attached as the cause."""
