"""Requests as files that a person has read, made readable and remade here."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parent / "golden"


def readable(request: Any) -> str:
    """Without what changes with every change to the step runtime, a script or the configuration."""
    text = json.dumps(request.as_json(), indent=2) + "\n"
    text = re.sub(r"/payload/[0-9a-f]{16}/", "/payload/<hash>/", text)
    return re.sub(r"<token> [0-9a-f]{12}\"", '<token> <config>"', text)


def golden(case: str, made: str) -> str:
    """What the case's file says; it says what was made if ASCII_HYDRA_REMAKE_GOLDEN is set."""
    path = _FOLDER / f"{case}.json"
    if os.environ.get("ASCII_HYDRA_REMAKE_GOLDEN"):
        path.write_text(made, encoding="utf-8")
    return path.read_text(encoding="utf-8")
