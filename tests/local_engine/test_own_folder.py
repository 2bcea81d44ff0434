"""Temporary folders do not outlive their owners."""

from __future__ import annotations

import subprocess
import sys

from ascii_hydra.engines.own_folder import OwnFolder, sweep


def test_only_folders_whose_owners_are_gone_are_swept(tmp_path):
    base = str(tmp_path)
    source = f"""
import time
from ascii_hydra.engines.own_folder import OwnFolder
kept = OwnFolder("spark", {base!r})
(kept.path / "file").touch()
print(kept.path, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", source]
    strangers = ["ascii_hydra-spark-abcdefgh", "ascii_hydra-pipes", "spark-1-abc"]
    for name in strangers:
        (tmp_path / name).mkdir()
    (tmp_path / "ascii_hydra-spark-1-link").symlink_to(tmp_path / strangers[0])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        theirs = other.stdout.readline().strip()
        own = OwnFolder("pipes", base)
        sweep(base)
        assert {str(own.path), theirs} <= {str(path) for path in tmp_path.iterdir()}
        other.kill()
    sweep(base)
    own.remove()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*strangers, "ascii_hydra-spark-1-link"}


def test_the_first_folder_of_a_process_sweeps_what_others_left(tmp_path):
    (tmp_path / "ascii_hydra-spark-1-left").mkdir()
    with OwnFolder("spark", str(tmp_path)) as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []
