"""What the rehearsal's Python runs instead of a script: the script, as on a cluster of Databricks.

`python databricks_boot.py <plan.json>`, with nothing else importable than the standard library and
Spark's own packages. The plan:

    script      the file that is run
    arguments   its own
    name        the file's path in the workspace, as it sees it itself
    roots       folders of this machine by the paths that stand for them: /Volumes, ...
    conf        Spark's settings of the session
    connect     the session is one of Spark Connect: no JVM, no RDD
    ended       where to write how it ended: {"error": ..., "trace": ...}, empty if all went well
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import json
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

Function = Callable[..., Any]


def main() -> None:
    """Run the script and write how it ended."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source, write = Path(plan["script"]).read_text(encoding="utf-8"), _writer(plan["ended"])
    sys.path.remove(str(Path(__file__).parent))
    _redirect(plan["roots"])
    session = _Session(plan["conf"], connect=plan["connect"])
    sys.meta_path.insert(0, session)
    sys.argv = [plan["name"], *plan["arguments"]]
    error, trace = "", ""
    try:
        _run(source, plan["name"])
    except SystemExit as leaving:
        if leaving.code not in (None, 0):
            error, trace = f"SystemExit: {leaving.code}", _trace(leaving, plan["name"])
    except BaseException as fault:  # noqa: BLE001 - whatever it is, it is told
        error = traceback.format_exception_only(type(fault), fault)[-1].strip()
        trace = _trace(fault, plan["name"])
    if not error and session.stopped:
        error = "The spark context has stopped and the driver is restarting."
        trace = "The script has called spark.stop(): on Databricks, leave the session as it is."
    if trace:
        sys.stderr.write(f"{trace}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    write(json.dumps({"error": error, "trace": trace}))
    # Databricks' driver lives on: nothing that would run at an interpreter's end does.
    os._exit(0)


def _run(source: str, name: str) -> None:
    module = types.ModuleType("__main__")
    module.__file__ = name
    sys.modules["__main__"] = module
    # For tracebacks: the file is not where its name says.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 - it is what this is for


def _writer(path: str) -> Callable[[str], None]:
    """Writes the end of the run, whatever the script does to Python's file functions."""
    opened, replaced = builtins.open, os.replace

    def write(told: str) -> None:
        with opened(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(told)
        replaced(f"{path}.new", path)

    return write


def _trace(fault: BaseException, name: str) -> str:
    """The traceback without what is above the script."""
    frames = fault.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != name:
        frames = frames.tb_next
    lines = traceback.format_exception(type(fault), fault, frames or fault.__traceback__)
    return "".join(lines).rstrip()


def _redirect(roots: Mapping[str, str]) -> None:
    """Let Python's file functions find the workspace's folders, which this machine does not have.

    Programs and Spark's JVM do not: for them the folders are not there.
    """

    def here(path: Any) -> Any:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
        if isinstance(text, str):
            for root, folder in roots.items():
                if text == root or text.startswith(f"{root}/"):
                    return folder + text[len(root) :]
        return path

    def redirected(function: Function, names: Sequence[str] = ("path", "src", "dst")) -> Function:
        def call(*args: Any, **options: Any) -> Any:
            # No more than the first two are paths, of any of these functions.
            args = (*map(here, args[:2]), *args[2:])
            options = {key: here(one) if key in names else one for key, one in options.items()}
            return function(*args, **options)

        call.__name__ = function.__name__
        return call

    opened: Any = redirected(builtins.open, ("file",))
    builtins.open = io.open = opened
    for name in (
        *("open", "listdir", "scandir", "stat", "lstat", "mkdir", "makedirs", "rmdir", "remove"),
        *("unlink", "rename", "replace", "access", "utime", "chmod", "truncate", "link"),
    ):
        setattr(os, name, redirected(getattr(os, name)))


class _Session:
    """Makes the Spark session that a script finds on a cluster, when it first imports pyspark.

    Databricks makes it before. So a script that needs no Spark need not wait for one here.
    """

    def __init__(self, conf: Mapping[str, str], *, connect: bool) -> None:
        self._conf, self._connect = conf, connect
        self.stopped = False

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """As import hooks do: pyspark itself, with the session after it."""
        if name != "pyspark":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        loader: Any = spec.loader
        executed = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            # One loader may serve all modules of an archive.
            del loader.exec_module
            executed(module)
            self._made()

        loader.exec_module = exec_module
        return spec

    def _made(self) -> None:
        context_class: Any = importlib.import_module("pyspark").SparkContext
        session_class: Any = importlib.import_module("pyspark.sql").SparkSession
        builder = session_class.builder.appName("Databricks Shell")
        for key, value in self._conf.items():
            builder = builder.config(key, value)
        gateway = builder.getOrCreate().sparkContext._gateway
        # As in Databricks' own interpreter: the JVM has not been started by the script.
        os.environ["PYSPARK_GATEWAY_PORT"] = str(gateway.gateway_parameters.port)
        stop = context_class.stop

        def stopped(context: Any) -> None:
            self.stopped = True
            stop(context)

        context_class.stop = stopped
        if self._connect:
            _hide_jvm(session_class, context_class)


def _hide_jvm(session_class: Any, context_class: Any) -> None:
    """Nobody but pyspark itself can use what leads to the JVM, as with Spark Connect."""
    errors: Any = importlib.import_module("pyspark.errors")
    _hide(session_class, ("_jvm", "_jsparkSession", "_sc", "_jsc", "sparkContext"), errors)
    frame_class = importlib.import_module("pyspark.sql").DataFrame
    if importlib.util.find_spec("pyspark.sql.classic") is not None:  # since Spark 4
        frame_class = importlib.import_module("pyspark.sql.classic.dataframe").DataFrame
    _hide(frame_class, ("_jdf", "rdd"), errors)
    made = context_class.getOrCreate.__func__

    def get_or_create(cls: Any, conf: Any = None) -> Any:
        if not _is_own(sys._getframe(1)):
            raise errors.PySparkRuntimeError(
                "[CONTEXT_UNAVAILABLE_FOR_REMOTE_CLIENT] Remote client cannot create a"
                " SparkContext. Create SparkSession instead."
            )
        return made(cls, conf)

    context_class.getOrCreate = classmethod(get_or_create)


def _hide(of: Any, names: Sequence[str], errors: Any) -> None:
    def hide(name: str) -> None:
        inner = of.__dict__.get(name)

        def get(self: Any) -> Any:
            if not _is_own(sys._getframe(1)):
                raise errors.PySparkAttributeError(
                    "[JVM_ATTRIBUTE_NOT_SUPPORTED] Directly accessing the underlying Spark driver"
                    f" JVM using the attribute '{name}' is not supported on serverless compute, nor"
                    " on clusters of the standard access mode. If you require direct access to"
                    " these fields, consider using a cluster of the dedicated access mode."
                )
            if inner is not None:
                return inner.__get__(self, type(self))
            if name not in self.__dict__:
                raise AttributeError(name)
            return self.__dict__[name]

        def put(self: Any, value: Any) -> None:
            self.__dict__[name] = value

        setattr(of, name, property(get, put))

    for one in names:
        hide(one)


def _is_own(frame: types.FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("pyspark", "py4j")


if __name__ == "__main__":
    main()
