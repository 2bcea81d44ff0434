"""What EMR would refuse, or do otherwise than was meant: found before anything is asked of it.

Limits are those of AWS's documentation of RunJobFlow, instance fleets and tags, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ascii_hydra.catalogue import InstanceType, instance_types
from ascii_hydra.catalogue.prices import price_list
from ascii_hydra.config.choices import CatalogueSource, InstanceCollection
from ascii_hydra.config.cluster_schema import EmrCluster, InstanceFilters
from ascii_hydra.config.engine_schema import EmrEngine
from ascii_hydra.config.problems import ConfigError, Problem, one_of
from ascii_hydra.config.schema import PricesConfig
from ascii_hydra.engines.emr.capacity import capacity, describe
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.instances import disk_gib, worker_types
from ascii_hydra.engines.emr.job_config import OUR_TAGS
from ascii_hydra.engines.emr.releases import label_problem, release_notice, release_problems
from ascii_hydra.engines.emr.rendered import emr_request
from ascii_hydra.engines.emr.submit_words import spark_conf_problems
from ascii_hydra.engines.promise import TOLERANCE
from ascii_hydra.engines.step_run import StepRun

# All strings of a step together. Pipes' bootstrap is added at a launch: two arguments that name a
# folder of S3, compressed.
STEP_CHARACTERS, PIPES_CHARACTERS = 10_240, 1_024
_TYPES_WITHOUT_STRATEGY, _TYPES_OF_A_FLEET = 5, 30
_BOOTSTRAP_ACTIONS, _TAGS = 16, 50
_TAG_KEY, _TAG_VALUE = 128, 256
_TAGGABLE = re.compile(r"[\w .:/=+\-@]*")
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.'()/=-]*)?")
_CLUSTER_ID = re.compile(r"j-[A-Z0-9]+")
_SUBNET = re.compile(r"subnet-[0-9a-f]+")
_VOLUME_TYPES = ("gp3", "gp2", "io1", "io2", "st1", "sc1", "standard")


def emr_problems(run: StepRun) -> Iterator[Problem]:
    """Everything wrong with a step on EMR, by its full configuration key. Asks nobody."""
    engine, cluster = run.settings.engine, run.settings.cluster
    assert isinstance(engine, EmrEngine)
    assert isinstance(cluster, EmrCluster)
    found = [*_engine_problems(engine), *spark_conf_problems(engine.spark_conf)]
    if engine.cluster_id is None:
        found += [*_cluster_problems(engine, cluster, run.settings.prices), *_time_problems(engine)]
    try:
        asked = emr_request(run)
    except ConfigError as fault:
        found += fault.problems
    else:
        found += _request_problems(run, asked)
    yield from dict.fromkeys(found)


def _time_problems(engine: EmrEngine) -> Iterator[Problem]:
    if engine.max_lifetime_minutes < engine.timeout_minutes:
        yield Problem(
            f"engine.max_lifetime_minutes={engine.max_lifetime_minutes:g}",
            f"ends the cluster before a step's own limit, engine.timeout_minutes="
            f"{engine.timeout_minutes:g}: make it longer than that, by what a start takes and, for"
            " a shared cluster, by what all steps take.",
        )


def emr_notices(run: StepRun) -> Iterator[str]:
    """What a user should know of a step on EMR though nothing is wrong."""
    engine, cluster = run.settings.engine, run.settings.cluster
    assert isinstance(engine, EmrEngine)
    assert isinstance(cluster, EmrCluster)
    if (told := release_notice(engine.release_label)) is not None:
        yield told
    workers = cluster.workers or 0
    if cluster.spot_share > 0 and round(workers * cluster.spot_share) >= workers:
        yield (
            f"cluster.spot_share={cluster.spot_share:g}: one of the {workers} workers stays on"
            " demand all the same, the core node that the driver runs on."
        )
    if cluster.filters.source is CatalogueSource.live:
        yield (
            "cluster.filters.source=live: AWS is asked at the launch; the plan shows instance types"
            " as the package knows them."
        )
    if engine.cluster_id is not None:
        yield f"engine.cluster_id={engine.cluster_id}: its own specification counts, not cluster."
        if run.settings.config.emr_job_config:
            at = f"pipeline.steps.{run.settings.name}.emr_job_config"
            yield f"{at} has no effect on an existing cluster."
    if run.settings.mode.region not in (None, engine.region):
        yield (
            f"mode.region={run.settings.mode.region} is not engine.region={engine.region}: reading"
            " across regions is slower and is billed."
        )


# --- the configuration --------------------------------------------------------------------------


def _engine_problems(engine: EmrEngine) -> Iterator[Problem]:
    yield from release_problems(engine.release_label, engine.python_version)
    if not engine.region:
        yield Problem("engine.region", "is required on EMR: us-east-1, ...")
    if not _S3.fullmatch(engine.staging_root):
        yield Problem(
            f"engine.staging_root={engine.staging_root}",
            "write s3://bucket/folder, of letters, digits and !_.'()=- alone.",
        )
    if engine.cluster_id is not None and not _CLUSTER_ID.fullmatch(engine.cluster_id):
        yield Problem(f"engine.cluster_id={engine.cluster_id}", "write j-... as EMR shows it.")
    for key in ("service_role", "job_flow_role"):
        if not getattr(engine, key):
            yield Problem(f"engine.{key}", "is required by EMR: the name of an IAM role.")
    for subnet in engine.subnets:
        if not _SUBNET.fullmatch(subnet):
            yield Problem(f"engine.subnets={subnet}", "write subnet-... as EC2 shows it.")
    for one in engine.bootstrap_actions:
        if not one.script.startswith("s3://"):
            yield Problem(
                "engine.bootstrap_actions", f"{one.script}: EMR reads scripts from s3:// alone."
            )
    for key, value in engine.tags.items():
        if key.startswith(OUR_TAGS):
            yield Problem(f"engine.tags.{key}", "is a tag of ascii_hydra's own.")
        yield from _tag_problems(f"engine.tags.{key}", key, value)


def _tag_problems(where: str, key: str, value: str) -> Iterator[Problem]:
    if key.lower().startswith("aws:"):
        yield Problem(where, "tags that begin with aws: are AWS's own.")
    if not key or len(key) > _TAG_KEY or len(value) > _TAG_VALUE:
        limits = f"a tag's key has 1 to {_TAG_KEY} characters and its value {_TAG_VALUE} at most."
        yield Problem(where, limits)
    if not _TAGGABLE.fullmatch(key) or not _TAGGABLE.fullmatch(value):
        yield Problem(where, "tags have letters, digits, spaces and .:/=+-@_ alone.")


def _cluster_problems(
    engine: EmrEngine, cluster: EmrCluster, config: PricesConfig
) -> Iterator[Problem]:
    groups = cluster.instance_collection is InstanceCollection.groups
    if groups and len(engine.subnets) > 1:
        yield Problem(
            "engine.subnets",
            "instance groups take one subnet; name one, or use cluster.instance_collection=fleets.",
        )
    total = cluster.workers or cluster.promise.workers
    if cluster.max_workers is not None and cluster.max_workers < total:
        yield Problem("cluster.max_workers", f"is less than cluster.workers={total}.")
    if cluster.max_workers is not None and cluster.max_workers > total == 1:
        yield Problem(
            "cluster.max_workers",
            "a cluster grows by task nodes, of which it needs one from the start:"
            " set cluster.workers=2 or more.",
        )
    if cluster.ebs.volume_type not in _VOLUME_TYPES:
        yield Problem(
            f"cluster.ebs.volume_type={cluster.ebs.volume_type}",
            f"must be {one_of(_VOLUME_TYPES)}.",
        )
    known = instance_types(engine.region)
    try:
        prices = price_list(config, engine.region)
        workers = worker_types(cluster, engine.release_label, known, prices)
    except ConfigError:
        return  # said by the request
    primary = cluster.primary_instance_types
    for key, names in (("primary", primary), ("worker", workers)):
        yield from _type_problems(f"cluster.{key}_instance_types", names, engine, known, groups)
    found = {one: known[one] for one in (*primary, *workers) if one in known}
    if len({one.architecture for one in found.values()}) > 1:
        told = ", ".join(f"{name} ({one.architecture})" for name, one in found.items())
        chosen = "filters chose" if cluster.filters != InstanceFilters() else "workers are"
        yield Problem(
            "cluster.primary_instance_types",
            f"a cluster has one architecture; the primary comes first here, then what the"
            f" {chosen}: {told}. Set cluster.primary_instance_types, or other workers.",
        )
    counts = {name: known[name].vcpus for name in workers if name in known}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        yield Problem(
            "cluster.worker_instance_types",
            f"{told} vCPUs: alternatives have equally many, or clusters would not be equal.",
        )
    if cluster.keeps_promise:
        yield from _promise_problems(
            cluster, total, [one for one in workers if one in known], known
        )


def _type_problems(
    where: str,
    names: Sequence[str],
    engine: EmrEngine,
    known: Mapping[str, InstanceType],
    groups: bool,
) -> Iterator[Problem]:
    if not names:
        yield Problem(where, "needs an instance type, such as m5d.xlarge.")
    if groups and len(names) > 1:
        yield Problem(
            where, "instance groups take one type; name one, or cluster.instance_collection=fleets."
        )
    if len(names) > _TYPES_OF_A_FLEET:
        yield Problem(where, f"a fleet takes {_TYPES_OF_A_FLEET} types at most.")
    for name in names:
        yield from _offer_problems(where, name, engine.release_label, known)


def _offer_problems(
    where: str, name: str, release: str, known: Mapping[str, InstanceType]
) -> Iterator[Problem]:
    """An instance type that a release does not offer, with what of its family it does."""
    if label_problem(release) is not None:
        return  # of a release that is none, no types are known
    one = known.get(name)
    if one is not None and one.offered_in(release):
        return
    if one is not None and one.emr_since is not None:
        yield Problem(where, f"{name} is offered from {one.emr_since} on, not in {release}.")
        return
    family = name.partition(".")[0]
    offered = [x for x in known.values() if x.family == family and x.offered_in(release)]
    if offered:
        smallest = min(offered, key=lambda x: (x.vcpus, x.memory_gib)).name
        what = "is no instance type that EMR offers" if one is None else "is not offered by EMR"
        yield Problem(where, f"{name} {what}; the smallest {family} is {smallest}.")
    else:
        yield Problem(where, f"{name} is no instance type that {release} offers.")


def _promise_problems(
    cluster: EmrCluster,
    total: int,
    workers: Sequence[str],
    known: Mapping[str, InstanceType],
) -> Iterator[Problem]:
    promise = cluster.promise
    otherwise = "Choose another, or say cluster.keeps_promise=false: comparisons then tell it."
    if total < promise.workers:
        yield Problem(
            "cluster.workers",
            f"{total} are fewer than the {promise.workers} of cluster={cluster.size}. {otherwise}",
        )
    for name in workers:
        one, least = known[name], 1 - TOLERANCE
        if one.vcpus < promise.vcpus_per_worker:
            lack = f"{one.vcpus} vCPUs, and cluster={cluster.size} promises"
            lack += f" {promise.vcpus_per_worker}"
        elif one.memory_gib < promise.memory_gib_per_worker * least:
            lack = f"{one.memory_gib:g} GiB of memory, and cluster={cluster.size} promises"
            lack += f" {promise.memory_gib_per_worker:g}"
        elif disk_gib(name, cluster, known) < promise.disk_gib_per_worker * least:
            disk = disk_gib(name, cluster, known)
            lack = f"{disk:.0f} GiB of disk, and cluster={cluster.size} promises"
            lack += f" {promise.disk_gib_per_worker} (see cluster.ebs)"
        else:
            continue
        yield Problem("cluster.worker_instance_types", f"{name} has {lack}. {otherwise}")


# --- the request --------------------------------------------------------------------------------


def _request_problems(run: StepRun, asked: EmrRequest) -> Iterator[Problem]:
    from ascii_hydra.aws.model import model_problems

    at = f"pipeline.steps.{run.settings.name}"
    theirs = run.settings.config.emr_job_config
    size = sum(map(len, strings_of(asked.step_config["HadoopJarStep"])))
    if size > STEP_CHARACTERS - PIPES_CHARACTERS:
        yield Problem(
            at,
            f"its arguments have {size:,} characters; EMR takes {STEP_CHARACTERS:,} in all strings"
            f" of a step, of which {PIPES_CHARACTERS:,} are kept for Dagster Pipes. Put large"
            " parameters into a file that the script reads.",
        )
    flow = asked.run_job_flow
    if flow is None:
        steps = {"JobFlowId": asked.cluster_id, "Steps": [asked.step_config]}
        for line in model_problems("emr", "AddJobFlowSteps", steps):
            yield Problem(at, f"{line}.")
        return
    broken = model_problems("emr", "RunJobFlow", flow)
    if not broken:
        yield from _executor_problems(asked)
    for line in broken:
        member = re.split(r"[.\[:]", line)[0]
        where = f"{at}.emr_job_config" if member in theirs else "engine=emr"
        yield Problem(where, f"{line}.")
    for member, most, what in (
        ("BootstrapActions", _BOOTSTRAP_ACTIONS, "bootstrap actions"),
        ("Tags", _TAGS, "tags"),
    ):
        count = len(flow.get(member) or ())
        if count > most:
            where = f"{at}.emr_job_config.{member}" if member in theirs else "engine=emr"
            yield Problem(where, f"{count} {what}; EMR takes {most}, ours among them.")
    for number, tag in enumerate(theirs.get("Tags") or ()):
        where = f"{at}.emr_job_config.Tags[{number}]"
        yield from _tag_problems(where, tag["Key"], str(tag.get("Value", "")))
    for fleet in flow.get("Instances", {}).get("InstanceFleets") or ():
        types = fleet.get("InstanceTypeConfigs") or ()
        most = _TYPES_OF_A_FLEET if fleet.get("LaunchSpecifications") else _TYPES_WITHOUT_STRATEGY
        if len(types) > most and "Instances" in theirs:
            yield Problem(
                f"{at}.emr_job_config.Instances",
                f"{len(types)} types in a fleet; EMR takes {_TYPES_WITHOUT_STRATEGY}, and"
                f" {_TYPES_OF_A_FLEET} with an allocation strategy in LaunchSpecifications.",
            )
    if "Instances" in theirs:
        engine = run.settings.engine
        assert isinstance(engine, EmrEngine)
        known = instance_types(engine.region)
        where = f"{at}.emr_job_config.Instances"
        for name in dict.fromkeys(_named_types(theirs["Instances"])):
            yield from _offer_problems(where, name, engine.release_label, known)


def _executor_problems(asked: EmrRequest) -> Iterator[Problem]:
    """A cluster on which no executor has room waits for ever."""
    try:
        has = capacity(asked)
    except ConfigError as fault:
        yield from fault.problems
        return
    if has is not None and has.executor_vcpus == 0:
        yield Problem(
            "engine.spark_conf",
            f"no worker ({describe(asked)}) has room for an executor of Spark beside the driver:"
            " set less spark.driver.memory or spark.executor.memory, or leave both out; overhead,"
            " spark.memory.offHeap.size and spark.executor.pyspark.memory count too.",
        )


def strings_of(value: Any) -> Iterator[str]:
    """Every string in plain data, as EMR counts them in a step."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from strings_of(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from strings_of(one)


def _named_types(value: Any) -> Iterator[str]:
    """Every instance type that a user's own `Instances` names."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key.endswith("InstanceType") and isinstance(one, str):
                yield one
            else:
                yield from _named_types(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _named_types(one)
