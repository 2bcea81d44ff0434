"""Earlier attempts at a step, by their Pipes folders: none of them works beside a retry.

A launcher that is killed during RunJobFlow tells nobody what it has submitted, and EMR may show the
cluster only later. But the folder was written before the call, and the lists of S3 show all that
has been written. So a retry looks at every folder of its step, by whichever attempt. Before it
submits anything, it writes `stop` there and then looks for a driver's claim: without one, no driver
of that folder will ever work (`ascii_hydra/step/claim.py`); one that works ends itself, and is
waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ascii_hydra.engines.emr.api import ENDED, Emr, pipes_uri, state_of, submission_of
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.submission import (
    LOOKS_S,
    WORKING_PAUSE_S,
    WORKING_S,
    StoppedError,
    living,
)
from ascii_hydra.engines.pipes_folder import FolderError, PipesFolder
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.step.claim import claimed_numbers

Shown = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A cluster and a step of it, as EMR lists them."""
# The application of a step has ended with it; that of a cancelled one may go on (ending.py).
_DRIVER_ENDED = ("COMPLETED", "FAILED")


class EarlierAttempts:
    """What earlier attempts at a step have submitted, or were about to.

    Args:
        emr: where.
        token: the step's.
        request: what is asked for now, with its placeholders.
        say: is told what is waited for.

    Raises FolderError if the folders cannot be listed.
    """

    def __init__(
        self, emr: Emr, token: str, request: EmrRequest, say: Callable[[str], None]
    ) -> None:
        self._emr = emr
        self._token = token
        self._cluster_id = request.cluster_id
        self._say = say
        store = S3Store(emr.place)
        root = PipesFolder(store, request.messages_uri.partition("<run>")[0])
        # <run>/<token>/<attempt>/<file>: a re-execution has another run, and the same token.
        paths = (name.split("/") for name in root.names())
        folders = {"/".join(path[:3]) for path in paths if len(path) > 3 and path[1] == token}  # noqa: PLR2004
        self._folders = [PipesFolder(store, f"{root.uri}/{one}") for one in sorted(folders)]

    def living(self, is_asked_for: Callable[[Mapping[str, Any]], bool]) -> list[Shown]:
        """What EMR shows running, after it had time to show what the folders tell of: 10 s, and
        5 min if a driver has begun, by the clock.

        Args:
            is_asked_for: whether a step is one to go on with; then nothing is waited for.

        Raises StoppedError, and what `living` of submission.py raises.
        """
        begun, told = self._emr.clock.local.now(), False
        while True:
            shown = living(self._emr, self._token, self._cluster_id)
            uris = {pipes_uri(step) for _, step in shown}
            hidden = [one for one in self._folders if one.uri not in uris and one.is_wanted()]
            working = [one for one in hidden if self._may_work(one)]
            unbegun = [one for one in hidden if not claimed_numbers(one.names())]
            patience_s = WORKING_S if working else sum(LOOKS_S) if unbegun else 0.0
            waited_s = self._emr.clock.local.now() - begun
            if waited_s >= patience_s or any(is_asked_for(step) for _, step in shown):
                return shown
            if not told:
                told = True
                self._say("looks whether EMR shows what an earlier attempt may have submitted")
            self._sleep(WORKING_PAUSE_S if working else LOOKS_S[-1])

    def stop(self, kept: str | None, end: Callable[[Shown], None]) -> str | None:
        """Let no driver of an earlier attempt work from now on, and see that none does.

        Args:
            kept: URI of the folder whose step goes on.
            end: ends a step that EMR shows by now, and sees it end.

        Returns:
            The URI of a folder whose driver may still work after 5 min by the clock, though EMR
            does not show it; else None.

        Raises StoppedError and FolderError, and what `living` and `end` raise.
        """
        others = [one for one in self._folders if one.uri != kept and one.names()]
        for one in others:
            one.ask_to_stop()
        deadline = self._emr.clock.local.now() + WORKING_S
        while working := [one for one in others if self._may_work(one)]:
            shown = living(self._emr, self._token, self._cluster_id)
            by_uri = {pipes_uri(pair[1]): pair for pair in shown}
            ending = [by_uri[one.uri] for one in working if one.uri in by_uri]
            for pair in ending:
                end(pair)
            if ending:
                continue
            if self._emr.clock.local.now() >= deadline:
                return working[0].uri
            self._sleep(WORKING_PAUSE_S)
        for one in others:
            try:
                one.delete()  # no driver begins without its context
            except FolderError as unclean:
                self._say(str(unclean))
        return None

    def _may_work(self, folder: PipesFolder) -> bool:
        """Whether a driver has begun, and nothing says that it has ended."""
        numbers = claimed_numbers(folder.names())
        return bool(numbers) and not folder.is_finished() and not self._ended(folder, numbers)

    def _ended(self, folder: PipesFolder, numbers: set[int]) -> bool:
        """Whether EMR shows that the steps of all these submissions have ended."""
        left = set(numbers)
        for cluster in self._clusters():
            for step in self._emr.all_steps(cluster["Id"]):
                if pipes_uri(step) != folder.uri or submission_of(step) not in left:
                    continue
                if state_of(cluster) not in ENDED and state_of(step) not in _DRIVER_ENDED:
                    return False
                left.discard(submission_of(step) or 0)
            if not left:
                return True
        return False

    def _clusters(self) -> list[Mapping[str, Any]]:
        """Where it may have been submitted, in any state, the likeliest first."""
        cluster_id = self._cluster_id
        ours = [one for one in self._emr.clusters() if one["Name"].startswith("ascii_hydra")]
        ours.sort(key=lambda one: self._token not in one["Name"])
        if cluster_id is None:
            return ours
        return [self._emr.patient(lambda: self._emr.cluster(cluster_id)), *ours]

    def _sleep(self, pause_s: float) -> None:
        if self._emr.stop.is_set():
            raise StoppedError
        self._emr.clock.sleep(pause_s, self._emr.stop)
