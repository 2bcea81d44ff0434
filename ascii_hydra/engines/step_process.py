"""The first thing that runs in a local step's process: `-m ... FD GRACE SCRIPT ARGUMENT...`.

It runs the script as `python SCRIPT ARGUMENT...` would. If the process that started the step dies,
however suddenly, the pipe FD comes to its end, and the step is ended with all its descendants.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import types

_MARK = "ASCII_HYDRA_PROCESS"  # process_tree.MARK; not imported, for every millisecond counts here


def _end_with_starter(pipe: int, grace_s: str) -> None:
    os.read(pipe, 1)
    # Another process, without the mark: it must outlive this one to see to the descendants.
    environment = dict(os.environ)
    mark = environment.pop(_MARK, None)
    if mark is not None:
        subprocess.Popen(
            [sys.executable, "-m", "ascii_hydra.engines.process_tree", mark, grace_s],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _run() -> None:
    pipe, grace_s, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.set_inheritable(pipe, False)
    threading.Thread(target=_end_with_starter, args=(pipe, grace_s), daemon=True).start()
    sys.argv = sys.argv[3:]
    sys.path[0] = os.path.dirname(script)  # noqa: PTH120
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = main
    try:
        with io.open_code(script) as file:
            code = compile(file.read(), script, "exec")
        exec(code, main.__dict__)  # noqa: S102
    except Exception as fault:  # noqa: BLE001
        # What `python SCRIPT` does, so that the traceback starts in the script and not here.
        trace = fault.__traceback__
        fault.__traceback__ = trace.tb_next if trace else None
        sys.excepthook(type(fault), fault, fault.__traceback__)
        sys.exit(1)


if __name__ == "__main__":
    _run()
