"""How much a step reads: the sizes of the files that its DataFrames scan.

Not what Spark's tasks say that they have read: with Spark 4, Parquet reads by other threads than
those, and the figure lacks nearly all of it. Every scan of files has a metric of its own instead,
`size of files read` (FileSourceScanExec of Spark), which a listener of queries takes from the plan
that was executed.

The syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Set, TypeVar

from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_METRIC = "size of files read"
# Leaves of a plan that read nothing from outside.
_INNER = (
    *("Execute ", "Range", "LocalTableScan", "Scan OneRowRelation", "CommandResult"),
    *("EmptyRelation", "LocalRelation", "Reused"),
)
_NOTHING = "0.0 B"
_EVENTS_WITHIN_MS = 5000


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
        # Databricks' serverless and shared compute have no JVM, and its own readers (Photon) have
        # other metrics.
        self._queries = None if engine is Engine.databricks else _known(lambda: _Queries(spark))

    def total(self) -> Optional[int]:
        """Bytes until now. None where that is not known: on Databricks, and where something was
        read that no scan of files tells of: RDDs, rows from Python, tables of other sources."""
        return None if self._queries is None else _known(self._queries.total)


_T = TypeVar("_T")


def _known(ask: Callable[[], _T]) -> Optional[_T]:
    """What the JVM answers; None where it may not be asked, or by other names."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    try:
        return ask()
    except (Py4JError, PySparkException, AttributeError, TypeError):
        return None


class _Queries:
    """What Spark knows of the queries of a session, from now on."""

    def __init__(self, spark: SparkSession) -> None:
        from pyspark.java_gateway import ensure_callback_server_started

        context: Any = spark.sparkContext
        self._jvm = context._jvm
        self._context = context._jsc.sc()
        session: Any = spark
        self._queries = session._jsparkSession.sharedState().statusStore()
        self._listener = _Listener(self._jvm)
        self._earlier_queries = set(self._query_metrics())
        self._earlier_stages = self._stages_outside(set())
        ensure_callback_server_started(context._gateway)  # type: ignore[no-untyped-call]
        session._jsparkSession.listenerManager().register(self._listener)

    def total(self) -> Optional[int]:
        """See `FilesRead.total`."""
        # The events follow the queries at some distance.
        self._context.listenerBus().waitUntilEmpty(_EVENTS_WITHIN_MS)
        if self._forgotten() or self._listener.unknown:
            return None
        if self._missed() or self._stages_outside(self._earlier_stages):
            return None
        return sum(self._listener.sizes.values())

    def _missed(self) -> bool:
        """Whether a scan has read something that the listener was not told of. Adaptive execution
        plans some scans anew; those that it drops have read nothing."""
        for query, metrics in self._query_metrics().items():
            unseen = set(metrics) - self._listener.sizes.keys()
            if unseen and query not in self._earlier_queries:
                values = self._queries.executionMetrics(query)
                told = [values.get(one) for one in unseen]
                if any(one.isDefined() and one.get() != _NOTHING for one in told):
                    return True
        return False

    def _query_metrics(self) -> Dict[int, List[int]]:
        """The identifiers of the metrics of all scans, by query: of those too that end without
        telling a listener."""
        found: Dict[int, List[int]] = {}
        queries = self._queries.executionsList()
        for i in range(queries.size()):
            query = queries.apply(i)
            metrics = query.metrics()
            all_of_it = [metrics.apply(j) for j in range(metrics.size())]
            found[query.executionId()] = [
                one.accumulatorId() for one in all_of_it if one.name() == _METRIC
            ]
        return found

    def _stages_outside(self, but: Set[int]) -> Set[int]:
        """Stages that have read something and belong to no query: of RDDs."""
        of_queries: Set[int] = set()
        queries = self._queries.executionsList()
        for i in range(queries.size()):
            stages = queries.apply(i).stages().toSeq()
            of_queries |= {int(stages.apply(j)) for j in range(stages.size())}
        reading = {int(one.stageId()) for one in self._stages() if one.inputBytes() > 0}
        return reading - of_queries - but

    def _stages(self) -> List[Any]:
        nothing = self._jvm.java.util.ArrayList()
        quantiles = self._jvm.scala.Array.emptyDoubleArray()
        stages = self._context.statusStore().stageList(nothing, False, False, quantiles, nothing)
        return [stages.apply(i) for i in range(stages.size())]

    def _forgotten(self) -> bool:
        """Whether Spark has dropped some of what it knows, to keep its limits."""
        conf = self._context.conf()
        queries = self._queries.executionsCount()
        most = min(
            int(conf.get(key, "1000"))
            for key in ("spark.sql.ui.retainedExecutions", "spark.ui.retainedStages")
        )
        newest = max((int(one.stageId()) for one in self._stages()), default=0)
        return bool(queries >= most or newest >= most)


class _Listener:
    """A QueryExecutionListener. Spark calls it from a thread of its own, one query at a time."""

    def __init__(self, jvm: Any) -> None:
        self._jvm = jvm
        self.sizes: Dict[int, int] = {}
        self.unknown = False

    def onSuccess(self, _name: str, query: Any, _duration_ns: int) -> None:  # noqa: N802 - Spark's
        self._take(query)

    def onFailure(self, _name: str, query: Any, _fault: Any) -> None:  # noqa: N802 - Spark's
        self._take(query)

    def _take(self, query: Any) -> None:
        known, self.unknown = self.unknown, True  # should this fail half-way
        plan = query.executedPlan()
        complete = self._walk(self._jvm.org.apache.spark.sql.execution.SparkPlanInfo, plan)
        self.unknown = known or not complete

    def _walk(self, info: Any, plan: Any) -> bool:
        """Whether every leaf of a plan is known."""
        open_nodes, complete = [info.fromSparkPlan(plan)], True
        while open_nodes:
            node = open_nodes.pop()
            children = node.children()
            open_nodes += [children.apply(i) for i in range(children.size())]
            name = node.nodeName()
            if not (name.startswith("Scan ") or children.isEmpty()):
                continue
            size = self._size(node.metrics())
            complete &= size or name.startswith(_INNER)
        return complete

    def _size(self, metrics: Any) -> bool:
        found = [metrics.apply(i) for i in range(metrics.size())]
        for one in found:
            if one.name() == _METRIC:
                number = one.accumulatorId()
                value = self._jvm.org.apache.spark.util.AccumulatorContext.get(number)
                if value.isEmpty():
                    return False
                # Below 0 until the scan is executed.
                self.sizes[number] = max(0, int(value.get().value()))
                return True
        return False

    class Java:
        """The interface that Py4J gives it."""

        implements = ["org.apache.spark.sql.util.QueryExecutionListener"]  # noqa: RUF012
