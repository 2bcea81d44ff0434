"""How close an instance must come to what a size promises, whichever cloud it is of."""

from __future__ import annotations

TOLERANCE = 0.1
"""AWS sells disks by 10^9 bytes and memory by 2^30, and EMR's own figures of memory are lower than
EC2's: a promise is kept by what comes this close to it."""
