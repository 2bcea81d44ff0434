"""The Spark settings by which s3a:// URIs are read and written. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ascii_hydra.aws.client import Place
from ascii_hydra.aws.place import place_of
from ascii_hydra.engines.step_run import StepRun

_S3A = "org.apache.hadoop.fs.s3a.S3AFileSystem"
_COMMITTERS = "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory"
_CLOUD = "org.apache.spark.internal.io.cloud"
# In a plan: the address is known only once the cloud has been started.
_NOT_STARTED = "<address of the rehearsal>"


def s3a_conf(place: Place) -> dict[str, str]:
    """Settings for s3a:// (and s3://) with the jars of `s3_jars`. They hold no credentials: the
    AWS SDK finds those in the environment, as `aws_environment` gives it, or in its usual places.
    """
    hadoop = {
        "fs.s3.impl": _S3A,
        "fs.s3a.aws.credentials.provider": (
            "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"
        ),
        # What a task writes appears only when the whole job has succeeded: a failed or repeated
        # task leaves nothing. (Renaming, as on disks, is copying in S3, and can stop halfway.) It
        # refuses spark.sql.sources.partitionOverwriteMode=dynamic; Hadoop's "partitioned" committer
        # with its conflict mode "replace" does the like.
        "fs.s3a.committer.name": "magic",
        "mapreduce.outputcommitter.factory.scheme.s3a": _COMMITTERS,
        "mapreduce.outputcommitter.factory.scheme.s3": _COMMITTERS,
        # The newer kind of stream has threads and a cache of its own, for nothing on small data.
        "fs.s3a.input.stream.type": "classic",
        # By Hadoop's own limits, a step whose service is gone fails after several minutes. By
        # these, a call that is refused is given up after about 15 s: long enough for a service
        # that is restarted, or a network that comes back. ("Slow down" has a limit of its own.)
        "fs.s3a.attempts.maximum": "1",
        "fs.s3a.retry.limit": "4",
        "fs.s3a.connection.establish.timeout": "15s",  # less is not accepted
    }
    if place.region is not None:
        hadoop["fs.s3a.endpoint.region"] = place.region
    url = _NOT_STARTED if place.rehearsal and place.url is None else place.url
    if url is not None:
        hadoop["fs.s3a.endpoint"] = url
        hadoop["fs.s3a.connection.ssl.enabled"] = str(not url.startswith("http://")).lower()
    if place.path_style:
        hadoop["fs.s3a.path.style.access"] = "true"
    return {f"spark.hadoop.{key}": value for key, value in hadoop.items()} | {
        "spark.sql.sources.commitProtocolClass": f"{_CLOUD}.PathOutputCommitProtocol",
        "spark.sql.parquet.output.committer.class": f"{_CLOUD}.BindingParquetOutputCommitter",
    }


def local_s3_conf(place: Place, asked: Mapping[str, str]) -> dict[str, str]:
    """Settings for s3a:// of a step on local Spark, `asked` among them, which wins."""
    from ascii_hydra.engines import s3_jars  # it brings an HTTP client along

    conf = {**s3a_conf(place), **asked}
    try:
        # One process runs the tasks of local[n]; the workers of other masters are sent the jars.
        one_process = re.fullmatch(r"local(\[.*])?", conf.get("spark.master", "local[*]"))
        jars = [str(one) for one in s3_jars.spark_jars(on_this_machine=one_process is not None)]
    except s3_jars.JarsMissingError:
        return conf  # a plan needs no Spark; before a run, `machine` has said so
    conf["spark.jars"] = ",".join([*jars, *filter(None, [conf.get("spark.jars")])])
    return conf


def s3_place(run: StepRun) -> Place | None:
    """The AWS that a step's data is in, or None for a step that has none there."""
    settings = run.settings
    said = (run.output, *run.inputs.values(), *settings.config.parameters.values())
    on_s3 = any(isinstance(one, str) and re.match("s3a?://", one) for one in said)
    return place_of(settings) if on_s3 or settings.mode.bucket is not None else None
