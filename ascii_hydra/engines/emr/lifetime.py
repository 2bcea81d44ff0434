"""What ends a cluster of EMR after a time, whatever happens to us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ascii_hydra.engines.emr.emr_request import EmrRequest
    from ascii_hydra.engines.identity import Identity

LIFETIME_ACTION = "ascii_hydra-max-lifetime"
LIFETIME_NAME = "max_lifetime.sh"
# EMR has no parameter for the longest life of a cluster. Without its primary instance a cluster is
# terminated, and EMR's instances are terminated when they shut down.
MAX_LIFETIME = """\
#!/bin/sh
# Ends the cluster after so many seconds, whatever happens to who started it.
set -eu
if grep -q '"isMaster": *true' /mnt/var/lib/info/instance.json; then
    sudo systemd-run --on-active="$1" /usr/sbin/shutdown -h now
fi
"""


def submitted_identity(identity: Identity, request: EmrRequest, now: float) -> Identity:
    """The identity with the end of the life of a cluster that is asked for now.

    Args:
        identity: of the run.
        request: says how long its cluster may live.
        now: seconds since the epoch.
    """
    lifetime_s = _lifetime_s(request.run_job_flow or {})
    if lifetime_s is None:
        return identity
    deadline = datetime.fromtimestamp(now + lifetime_s, UTC)
    return replace(identity, deadline=deadline.isoformat(timespec="seconds"))


def _lifetime_s(flow: Mapping[str, Any]) -> float | None:
    for action in flow.get("BootstrapActions", ()):
        if action["Name"] == LIFETIME_ACTION:
            return float(action["ScriptBootstrapAction"]["Args"][-1])
    return None
