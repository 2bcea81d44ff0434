"""EMR's operations, as the rehearsal answers them: arguments in, a reply in plain types out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ascii_hydra.engines.emr.releases import release_of
from ascii_hydra.rehearsal import emr_rules, emr_telling
from ascii_hydra.rehearsal.emr_cluster import Cluster
from ascii_hydra.rehearsal.emr_errors import ApiError, invalid, unknown
from ascii_hydra.rehearsal.emr_releases import release_labels, supported_instance_types
from ascii_hydra.rehearsal.emr_steps import Step
from ascii_hydra.rehearsal.world import World

_PAGE = 50
_LABELS_PAGE = 100
_CLOSE_S = 15.0
Reply = dict[str, Any]


class EmrApi:
    """The service. It is asked under the agenda's lock, when all that was due has happened."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clusters: dict[str, Cluster] = {}
        self._operations: Mapping[str, Callable[[Mapping[str, Any], str], Reply]] = {
            "RunJobFlow": self._run_job_flow,
            "AddJobFlowSteps": self._add_steps,
            "TerminateJobFlows": self._terminate,
            "SetTerminationProtection": self._protect,
            "SetKeepJobFlowAliveWhenNoSteps": self._keep_alive,
            "ModifyCluster": self._modify,
            "ListClusters": self._list_clusters,
            "DescribeCluster": self._describe_cluster,
            "ListSteps": self._list_steps,
            "DescribeStep": self._describe_step,
            "CancelSteps": self._cancel_steps,
            "ListInstances": self._list_instances,
            "ListInstanceFleets": self._list_fleets,
            "ListInstanceGroups": self._list_groups,
            "ListBootstrapActions": self._list_bootstrap_actions,
            "GetManagedScalingPolicy": self._get_scaling,
            "PutManagedScalingPolicy": self._put_scaling,
            "RemoveManagedScalingPolicy": self._remove_scaling,
            "GetAutoTerminationPolicy": self._get_auto_termination,
            "PutAutoTerminationPolicy": self._put_auto_termination,
            "RemoveAutoTerminationPolicy": self._remove_auto_termination,
            "AddTags": self._add_tags,
            "RemoveTags": self._remove_tags,
            "ListReleaseLabels": self._list_labels,
            "DescribeReleaseLabel": self._describe_label,
            "ListSupportedInstanceTypes": self._list_types,
        }

    def answer(self, operation: str, params: Mapping[str, Any], region: str) -> Reply:
        """Carry out one operation. Raises ApiError."""
        asked = self._operations.get(operation)
        if asked is None:
            raise ApiError(
                "UnknownOperationException", f"The rehearsal cloud has no operation {operation}."
            )
        emr_rules.check_model(operation, params)
        with self._world.agenda.moment():
            return asked(params, region)

    def answer_late(
        self, operation: str, params: Mapping[str, Any], region: str, seconds: float
    ) -> None:
        """Carry out a submission so many virtual seconds from now, for nobody who waits for it."""

        def late() -> None:
            # What EMR refuses makes nothing, and nobody is told.
            with suppress(ApiError):
                self.answer(operation, params, region)

        self._world.agenda.after(seconds, late)

    def answer_unseen(
        self, operation: str, params: Mapping[str, Any], region: str, seconds: float
    ) -> None:
        """Carry out a submission now; lists show what it makes so many virtual seconds from now."""
        with self._world.agenda.moment(), suppress(ApiError):
            reply = self.answer(operation, params, region)
            visible = self._world.agenda.now() + seconds
            cluster = self._clusters[reply.get("JobFlowId") or params["JobFlowId"]]
            if "JobFlowId" in reply:
                cluster.visible = visible
            for step in cluster.steps:
                if "JobFlowId" in reply or step.id in reply["StepIds"]:
                    step.visible = visible

    def alive(self) -> list[str]:
        """The ids of the clusters that have not ended."""
        with self._world.agenda.moment():
            return [one.id for one in self._clusters.values() if one.alive]

    def close(self) -> None:
        """End every cluster; returns when no step executes any more."""
        with self._world.agenda.moment():
            for cluster in self._clusters.values():
                cluster.terminate()
        deadline = time.monotonic() + _CLOSE_S
        while any(cluster.executing for cluster in self._clusters.values()):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.01)

    # --- clusters ------------------------------------------------------------------------------

    def _run_job_flow(self, params: Mapping[str, Any], region: str) -> Reply:
        emr_rules.check_run_job_flow(params, region)
        cluster = Cluster(self._world, region, params)
        self._clusters[cluster.id] = cluster
        return {"JobFlowId": cluster.id, "ClusterArn": cluster.arn}

    def _terminate(self, params: Mapping[str, Any], region: str) -> Reply:
        most = emr_rules.MOST_TERMINATED_AT_ONCE
        if len(params["JobFlowIds"]) > most:
            raise invalid(f"At most {most} clusters can be terminated at once.")
        clusters = self._flows(params["JobFlowIds"], region)
        for cluster in clusters:
            if not cluster.protected:
                cluster.terminate()
        if any(cluster.protected and cluster.modifiable for cluster in clusters):
            raise invalid(
                "Could not shut down one or more job flows since they are termination protected."
            )
        return {}

    def _protect(self, params: Mapping[str, Any], region: str) -> Reply:
        for cluster in self._flows(params["JobFlowIds"], region):
            cluster.protected = params["TerminationProtected"]
        return {}

    def _keep_alive(self, params: Mapping[str, Any], region: str) -> Reply:
        for cluster in self._flows(params["JobFlowIds"], region):
            cluster.put_keep_alive(params["KeepJobFlowAliveWhenNoSteps"])
        return {}

    def _modify(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._cluster(params, region)
        if "StepConcurrencyLevel" in params:
            emr_rules.check_concurrency(params["StepConcurrencyLevel"])
            cluster.put_concurrency(params["StepConcurrencyLevel"])
        return {"StepConcurrencyLevel": cluster.concurrency}

    def _list_clusters(self, params: Mapping[str, Any], region: str) -> Reply:
        after, before = params.get("CreatedAfter"), params.get("CreatedBefore")
        states = params.get("ClusterStates")
        now = self._world.agenda.now()
        found = [
            one
            for one in reversed(self._clusters.values())
            if one.region == region
            and one.visible <= now
            and (not states or one.state in states)
            and (after is None or one.created >= after)
            and (before is None or one.created <= before)
        ]
        page, marker = _page(found, params)
        return {"Clusters": [emr_telling.summary(one, now) for one in page], **marker}

    def _describe_cluster(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._cluster(params, region)
        return {"Cluster": emr_telling.description(cluster, self._world.agenda.now())}

    def _list_bootstrap_actions(self, params: Mapping[str, Any], region: str) -> Reply:
        actions = self._cluster(params, region).request.get("BootstrapActions", ())
        page, marker = _page(actions, params)
        told = []
        for one in page:
            script = one["ScriptBootstrapAction"]
            args = list(script.get("Args", ()))
            told.append({"Name": one["Name"], "ScriptPath": script["Path"], "Args": args})
        return {"BootstrapActions": told, **marker}

    def _add_tags(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._resource(params, region)
        cluster.tags |= {one["Key"]: one.get("Value", "") for one in params["Tags"]}
        return {}

    def _remove_tags(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._resource(params, region)
        for key in params["TagKeys"]:
            cluster.tags.pop(key, None)
        return {}

    # --- steps ---------------------------------------------------------------------------------

    def _add_steps(self, params: Mapping[str, Any], region: str) -> Reply:
        (cluster,) = self._flows([params["JobFlowId"]], region)
        return {"StepIds": [step.id for step in cluster.add_steps(params["Steps"])]}

    def _list_steps(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._cluster(params, region)
        states, ids = params.get("StepStates"), params.get("StepIds")
        if ids and states:
            raise unknown("StepIds and StepStates cannot be specified together.")
        if ids and len(ids) > emr_rules.MOST_STEP_IDS:
            raise unknown(f"At most {emr_rules.MOST_STEP_IDS} StepIds can be specified.")
        if ids:
            found = [_step(cluster, one) for one in ids]
        else:
            # Newest first, unless they are chosen by their state.
            now = self._world.agenda.now()
            found = [
                step
                for step in cluster.steps
                if step.visible <= now and (not states or step.state in states)
            ]
            found = found if states else found[::-1]
        page, marker = _page(found, params)
        return {"Steps": [step.as_json() for step in page], **marker}

    def _describe_step(self, params: Mapping[str, Any], region: str) -> Reply:
        step = _step(self._cluster(params, region), params["StepId"])
        return {"Step": step.as_json()}

    def _cancel_steps(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._cluster(params, region)
        gently = params.get("StepCancellationOption", "SEND_INTERRUPT") == "SEND_INTERRUPT"
        told = []
        for one in params["StepIds"]:
            why = cluster.cancel(_step(cluster, one), gently=gently)
            status = {"Status": "SUBMITTED"} if why is None else {"Status": "FAILED", "Reason": why}
            told.append({"StepId": one, **status})
        return {"CancelStepsInfoList": told}

    # --- instances -----------------------------------------------------------------------------

    def _list_instances(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._cluster(params, region)
        roles = set(params.get("InstanceGroupTypes") or ())
        if "InstanceFleetType" in params:
            roles.add(params["InstanceFleetType"])
        owners = {params[name] for name in ("InstanceGroupId", "InstanceFleetId") if name in params}
        states = params.get("InstanceStates")
        found = [
            one.as_json(collection.owner)
            for collection in cluster.collections
            if (not roles or collection.role in roles) and (not owners or collection.id in owners)
            for one in collection.instances
            if not states or one.state in states
        ]
        page, marker = _page(found, params)
        return {"Instances": list(page), **marker}

    def _list_fleets(self, params: Mapping[str, Any], region: str) -> Reply:
        return self._collections(params, region, fleets=True)

    def _list_groups(self, params: Mapping[str, Any], region: str) -> Reply:
        return self._collections(params, region, fleets=False)

    def _collections(self, params: Mapping[str, Any], region: str, *, fleets: bool) -> Reply:
        cluster = self._cluster(params, region)
        if cluster.collections[0].is_fleet is not fleets:
            kinds = ("fleets", "groups") if fleets else ("groups", "fleets")
            raise unknown(f"Instance {kinds[0]} and instance {kinds[1]} are mutually exclusive.")
        page, marker = _page(emr_telling.fleets_or_groups(cluster), params)
        return {"InstanceFleets" if fleets else "InstanceGroups": list(page), **marker}

    # --- policies ------------------------------------------------------------------------------

    def _get_scaling(self, params: Mapping[str, Any], region: str) -> Reply:
        policy = self._cluster(params, region).scaling
        return {} if policy is None else {"ManagedScalingPolicy": policy}

    def _put_scaling(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._modifiable(params, region)
        emr_rules.check_scaling(params["ManagedScalingPolicy"])
        cluster.put_scaling(params["ManagedScalingPolicy"])
        return {}

    def _remove_scaling(self, params: Mapping[str, Any], region: str) -> Reply:
        self._cluster(params, region).put_scaling(None)
        return {}

    def _get_auto_termination(self, params: Mapping[str, Any], region: str) -> Reply:
        idle = self._cluster(params, region).idle_timeout_s
        return {} if idle is None else {"AutoTerminationPolicy": {"IdleTimeout": int(idle)}}

    def _put_auto_termination(self, params: Mapping[str, Any], region: str) -> Reply:
        cluster = self._modifiable(params, region)
        policy = params.get("AutoTerminationPolicy", {})
        emr_rules.check_idle_timeout(policy)
        cluster.put_idle_timeout(policy.get("IdleTimeout"))
        return {}

    def _remove_auto_termination(self, params: Mapping[str, Any], region: str) -> Reply:
        self._cluster(params, region).put_idle_timeout(None)
        return {}

    # --- releases ------------------------------------------------------------------------------

    def _list_labels(self, params: Mapping[str, Any], region: str) -> Reply:
        filters = params.get("Filters", {})
        labels = [
            one for one in release_labels(region) if one.startswith(filters.get("Prefix", ""))
        ]
        start = _offset(params.get("NextToken"))
        size = params.get("MaxResults", _LABELS_PAGE)
        more = {"NextToken": str(start + size)} if start + size < len(labels) else {}
        return {"ReleaseLabels": labels[start : start + size], **more}

    def _describe_label(self, params: Mapping[str, Any], region: str) -> Reply:
        label = params.get("ReleaseLabel", "")
        if label not in release_labels(region):
            raise unknown(f"The supplied release label is invalid: {label}.")
        spark = release_of(label).spark
        application = {"Name": "Spark"} if spark is None else {"Name": "Spark", "Version": spark}
        return {"ReleaseLabel": label, "Applications": [application], "AvailableOSReleases": []}

    def _list_types(self, params: Mapping[str, Any], region: str) -> Reply:
        label = params["ReleaseLabel"]
        if label not in release_labels(region):
            raise unknown(f"The supplied release label is invalid: {label}.")
        page, marker = _page(list(supported_instance_types(label).values()), params)
        return {"SupportedInstanceTypes": [dict(one) for one in page], **marker}

    # --- what is named -------------------------------------------------------------------------

    def _cluster(self, params: Mapping[str, Any], region: str) -> Cluster:
        found = self._clusters.get(params["ClusterId"])
        if found is None or found.region != region:
            raise unknown(f"Cluster id '{params['ClusterId']}' is not valid.")
        return found

    def _modifiable(self, params: Mapping[str, Any], region: str) -> Cluster:
        cluster = self._cluster(params, region)
        if not cluster.modifiable:
            raise unknown(f"Cluster {cluster.id} is in {cluster.state} state: not modifiable.")
        return cluster

    def _resource(self, params: Mapping[str, Any], region: str) -> Cluster:
        return self._cluster({"ClusterId": params["ResourceId"]}, region)

    def _flows(self, ids: Iterable[str], region: str) -> list[Cluster]:
        found = [self._clusters.get(one) for one in ids]
        if any(one is None or one.region != region for one in found):
            raise invalid("Specified job flow ID does not exist.")
        return [one for one in found if one is not None]


def _step(cluster: Cluster, name: str) -> Step:
    for step in cluster.steps:
        if step.id == name:
            return step
    raise unknown(f"Step id '{name}' is not valid.")


def _page(found: Sequence[Any], params: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, str]]:
    start = _offset(params.get("Marker"))
    more = {"Marker": str(start + _PAGE)} if start + _PAGE < len(found) else {}
    return found[start : start + _PAGE], more


def _offset(marker: str | None) -> int:
    if marker is None:
        return 0
    if not marker.isdecimal():
        raise unknown("The marker is not valid.")
    return int(marker)
