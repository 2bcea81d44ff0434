"""What the clusters of a rehearsal share."""

from __future__ import annotations

from dataclasses import dataclass

from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.rehearsal.agenda import Agenda
from ascii_hydra.rehearsal.clock import VirtualClock
from ascii_hydra.rehearsal.driver import Sandbox
from ascii_hydra.rehearsal.faults import Faults
from ascii_hydra.rehearsal.store import Store


@dataclass
class World:
    """Time, chance and place.

    Attributes:
        config: how the cloud behaves; may be replaced.
    """

    config: RehearsalConfig
    clock: VirtualClock
    agenda: Agenda
    faults: Faults
    store: Store
    sandbox: Sandbox
