"""At most one driver works for a submission, and none for a submission that was revoked.

EMR has no token that makes a submission happen once: a call whose reply is lost may start a
cluster or a step minutes later, beside the one that was submitted in its stead. So the submissions
of a step are numbered; each has its number in its Pipes parameters, and marks in the step's folder:

* A driver, before any work, writes `claim-<number>-<random>` and then lists the folder. It goes on
  only if it sees no other driver's claim of its submission, no `revoked-<number>` and no `stop`,
  and if the context, which it reads after that, is there.
* The launcher, before it submits again, writes `revoked-<number>` of the submission before and
  then lists the folder. It submits again only if it sees no claim of that submission; else a
  driver works already, and the launcher looks for that one.

Why this is enough: each of two parties writes its own mark before it looks for the other's, so the
one that writes later sees the other's mark. Of two drivers of one submission, at most one goes on;
and where the launcher sees no claim, every driver that claims later sees the revocation. Two that
write at the same moment may both see each other: then the step fails, and nothing runs twice.
Whoever deletes the folder empties the context first, since the marks may go in any order.

It needs a store whose lists show every object that has been written. Amazon S3 is one since
December 2020: a GET or LIST that begins after the response to a PUT returns what was written
(Amazon S3 User Guide, "Amazon S3 data consistency model"). A put on the condition that the object
is not there (If-None-Match) would need no list, but a driver has none: Hadoop's S3A has it since
3.4.2 (HADOOP-19256), EMR 7.12 comes with Hadoop 3.4.1, and no library of AWS is assumed there.

Databricks carries out a submission once, by its idempotency token. So its Pipes parameters have no
number, and nothing is claimed in a mounted folder, whose lists may be late.

The syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

import os
import socket
import uuid
from typing import Iterable, Optional, Set

from ascii_hydra.step.folder_files import Folder

SUBMISSION_KEY = "submission"
"""Pipes parameter: number of the submission, from 1."""
CONTEXT = "context.json"
"""File without which, or if it is empty, no driver begins."""
STOP = "stop"
"""File that asks the step to end."""


def revocation(number: int) -> str:
    """Name of the file that revokes a submission."""
    return "revoked-{}".format(number)


def is_claim(name: str, number: int) -> bool:
    """Whether a file of this name is a driver's claim of a submission."""
    return name.startswith("claim-{}-".format(number))


def claimed_numbers(names: Iterable[str]) -> Set[int]:
    """Numbers of the submissions that drivers have claimed, by the files of a folder."""
    parts = [one.split("-") for one in names if one.startswith("claim-")]
    return {int(one[1]) for one in parts if one[1].isdigit()}


def is_revoked(names: Iterable[str], number: int) -> bool:
    """Whether these files of a folder revoke a submission that no driver works for."""
    given = set(names)
    return revocation(number) in given and not any(is_claim(one, number) for one in given)


def claim(folder: Folder, number: int) -> None:
    """Claim a submission for this driver. Raises SystemExit if it must not work: Python then prints
    the reason on stderr and exits with code 1.

    Args:
        folder: of the submission's Pipes messages.
        number: of the submission.
    """
    mine = "claim-{}-{}".format(number, uuid.uuid4().hex)
    # Looked at before, too, so that nothing is left in a folder that has been deleted.
    _heed(folder.names(), number)
    folder.write(mine, "{} {}\n".format(socket.gethostname(), os.getpid()).encode())
    _heed(folder.names() - {mine}, number)


def _heed(names: Iterable[str], number: int) -> None:
    why = _objection(set(names), number)
    if why is not None:
        raise SystemExit(
            "This driver ends before any work: {} (submission {}).".format(why, number)
        )


def _objection(names: Set[str], number: int) -> Optional[str]:
    if CONTEXT not in names:
        return "its step has ended, and its Pipes folder has been deleted"
    if STOP in names:
        return "its step was stopped by whoever submitted it"
    if revocation(number) in names:
        return "the step was submitted again in its stead"
    if any(is_claim(one, number) for one in names):
        return "another driver of the same submission works already"
    return None
