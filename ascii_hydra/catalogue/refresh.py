"""`action=refresh_prices`: today's prices, from those who set them."""

from __future__ import annotations

from collections.abc import Callable

from ascii_hydra.config.settle import Settings


def refreshed(settings: Settings, say: Callable[[str], None]) -> None:
    """Ask for prices and keep them in `prices.folder`; what cannot be had stays as it was.

    Raises ConfigError if nothing could be had.
    """
    raise NotImplementedError
