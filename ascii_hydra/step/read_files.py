"""How much a step reads: the sizes of the files that its DataFrames scan.

Not what Spark's tasks say that they have read: with Spark 4, Parquet reads by other threads than
those, and the figure lacks nearly all of it. Every scan of files has a metric of its own instead,
`size of files read` (FileSourceScanExec of Spark). Spark keeps it, with the plans that were
executed, in the store from which its UI is drawn (SQLAppStatusStore), which is there without the
UI too. That store is asked once, when the step's work has ended: nothing listens to the queries,
and nothing of Spark calls back into Python.

The syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Set

from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MOST_QUERIES = 200
"""Of a step with more queries, nobody is told what it has read: asking for 200 takes 0.6 s."""

_METRIC = "size of files read"
# Leaves of a plan that read nothing from outside.
_INNER = (
    *("Execute ", "Range", "LocalTableScan", "Scan OneRowRelation", "CommandResult"),
    *("EmptyRelation", "LocalRelation", "Reused"),
)
# They are leaves though a subquery (which prunes partitions) hangs below them.
_SCANS = ("Scan ", "BatchScan")
_EVENTS_WITHIN_MS = 5000
_SERIALIZER = "KVUtils$KVStoreScalaSerializer"
# SQLMetrics.stringValue of Spark: one value, or their sum before the least, middle and greatest.
_SIZE = re.compile(r"(?:total \(min, med, max[^\n]*\)\n)?(\d+\.\d) ([KMGTPE]i)?B(?: \([^\n]*\))?")
_UNITS = {None: 0, "Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


class FilesRead:
    """The sizes of the files that a step's queries scan from now on.

    A scan counts the whole size of every file that it selects (partitions that are pruned are
    not), whatever columns and rows it takes of them, and once, though its rows are kept and used
    again. Two scans of the same file count it twice.

    Args:
        spark: the step's session.
        engine: where it runs.
    """

    def __init__(self, spark: SparkSession, engine: Engine) -> None:
        self._queries: Optional[_Queries] = None
        # Databricks' serverless and shared compute have no JVM, and its own readers (Photon) have
        # other metrics.
        if engine is not Engine.databricks:
            try:
                self._queries = _Queries(spark)
            except Exception:  # noqa: BLE001 - see total()
                return

    def total(self) -> Optional[int]:
        """Bytes until now, to 2.5 %: exact where Spark still has the scan's own count, else what
        its store shows, which has one decimal of a binary unit, of which there are at least two
        (Utils.bytesToString of Spark).

        None where that is not known: on Databricks; where something was read that no scan of
        files tells of (RDDs, rows from Python, tables of other sources); after more than
        `MOST_QUERIES` queries, or as many stages as Spark keeps (`spark.ui.retainedStages`); and
        where Spark does not answer, or in other words than those known here.
        """
        try:
            return None if self._queries is None else self._queries.total()
        except Exception:  # noqa: BLE001 - no step fails for want of this figure; it is absent
            return None


class _UnknownError(Exception):
    """What was read cannot be told from what Spark says."""


class _Queries:
    """What Spark knows of the queries of an application, from now on."""

    def __init__(self, spark: SparkSession) -> None:
        context: Any = spark.sparkContext
        session: Any = spark
        self._jvm = context._jvm
        self._context = context._jsc.sc()
        self._store = session._jsparkSession.sharedState().statusStore()
        self._earlier_query = max(
            (one.executionId() for one in self._newest_queries(1)), default=-1
        )
        self._earlier_stage = max((one.stageId() for one in self._stages()), default=-1)

    def total(self) -> int:
        """Bytes. Raises _UnknownError, or what Py4J raises."""
        # The events follow the queries at some distance.
        self._context.listenerBus().waitUntilEmpty(_EVENTS_WITHIN_MS)
        queries = [
            one
            for one in self._newest_queries(MOST_QUERIES + 1)
            if one.executionId() > self._earlier_query
        ]
        self._check_limits(len(queries))
        # As Spark writes its stores to a disk: compressed JSON. One call for it all, where every
        # node and metric would take some; and a short answer, for one above 8 KiB takes Py4J 40 ms
        # (Nagle's algorithm there, a delayed acknowledgement here).
        serializer = getattr(self._jvm.org.apache.spark.status, _SERIALIZER)()

        def plain(value: Any) -> Any:
            return json.loads(gzip.decompress(serializer.serialize(value)))

        sizes: Dict[int, int] = {}
        stages: Set[int] = set()
        for query in queries:
            stages.update(plain(query.stages()))
            number = query.executionId()
            _check_leaves(plain(self._store.planGraph(number)))
            # Of the plans too that adaptive execution has dropped; those may have read something.
            scans = [one["accumulatorId"] for one in plain(query.metrics()) if _is_size(one)]
            values = plain(self._store.executionMetrics(number)) if scans else {}
            for scan in scans:
                # A scan whose rows are kept is in several plans, and has its value in one.
                sizes[scan] = max(sizes.get(scan, 0), self._size(scan, values))
        if self._reading_outside(stages):
            raise _UnknownError("an RDD was read")
        return sum(sizes.values())

    def _newest_queries(self, most: int) -> List[Any]:
        # In the order of their numbers, which ascend within a JVM.
        count = self._store.executionsCount()
        queries = self._store.executionsList(max(0, count - most), most)
        return [queries.apply(i) for i in range(queries.size())]

    def _check_limits(self, queries: int) -> None:
        """Raise _UnknownError if Spark may have dropped some of what it knows, or has too much."""
        conf = self._context.conf()
        kept_queries = int(conf.get("spark.sql.ui.retainedExecutions", "1000"))
        kept_stages = int(conf.get("spark.ui.retainedStages", "1000"))
        newest_stage = max((one.stageId() for one in self._stages()), default=-1)
        if (
            queries > MOST_QUERIES
            or self._store.executionsCount() >= kept_queries
            or newest_stage + 1 >= kept_stages
        ):
            raise _UnknownError("there are more queries or stages than are kept or asked for")

    def _size(self, scan: int, values: Mapping[str, str]) -> int:
        """Bytes; 0 of a scan that was not executed."""
        exact = self._jvm.org.apache.spark.util.AccumulatorContext.get(scan)
        if exact.isDefined():
            # Below 0 until the scan is executed.
            return max(0, int(exact.get().value()))
        return _bytes(values.get(str(scan), "0.0 B"))

    def _reading_outside(self, of_queries: Set[int]) -> bool:
        """Whether a stage has read something and belongs to no query: one of an RDD."""
        return any(
            one.inputBytes() > 0
            for one in self._stages()
            if one.stageId() > self._earlier_stage and one.stageId() not in of_queries
        )

    def _stages(self) -> Iterator[Any]:
        nothing = self._jvm.java.util.ArrayList()
        quantiles = self._jvm.scala.Array.emptyDoubleArray()
        stages = self._context.statusStore().stageList(nothing, False, False, quantiles, nothing)
        return (stages.apply(i) for i in range(stages.size()))


def _is_size(metric: Mapping[str, Any]) -> bool:
    return bool(metric["name"] == _METRIC)


def _bytes(text: str) -> int:
    """Bytes of a metric as Spark shows it. Raises _UnknownError for any other text."""
    shown = _SIZE.fullmatch(text)
    if shown is None:
        raise _UnknownError("no size: {!r}".format(text))
    return round(float(shown.group(1)) * (1 << 10 * _UNITS[shown.group(2)]))


def _check_leaves(graph: Mapping[str, Any]) -> None:
    """Raise _UnknownError if a leaf of a plan's graph reads and does not say how much."""
    nodes = list(graph["nodes"])
    inner = {edge["toId"] for edge in graph["edges"]}
    while nodes:
        node = nodes.pop()
        if "nodes" in node:  # a cluster: what runs as one piece of generated code
            nodes += node["nodes"]
            continue
        is_leaf = node["id"] not in inner or node["name"].startswith(_SCANS)
        is_known = any(map(_is_size, node["metrics"])) or node["name"].startswith(_INNER)
        if is_leaf and not is_known:
            raise _UnknownError("{} tells no size".format(node["name"]))
