"""The Triton pod: one model, read-only, under the restricted pod security standard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from throughline.api.quantities import canonical, canonical_resource
from throughline.domain.manifests import claims, model_files, names, pod_settings, sampling, triton_config
from throughline.domain.manifests.options import SCRAPE

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.monitoring import Sampling
    from throughline.api.runtime import EnvVar, Runtime
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions

EXIT_TIMEOUT_SECONDS = 30
STARTUP_PERIOD_SECONDS = 2
# Open without the key: health, metadata, inference, statistics. All that changes the server needs it.
# Reading the configuration stays open too: perf_analyzer asks for it first (docs/decisions/0003).
RESTRICTED_APIS = "model-repository,shared-memory,trace,logging"


def image(spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions) -> str:
    """The service's own, else the pool's (edge builds differ), else the installation's."""
    return spec.runtime.image or pool.image or options.default_image


def grace_seconds(runtime: Runtime) -> int:
    """Drain, then Triton's own wait for requests in flight, then a little for the kubelet."""
    return runtime.drain_seconds + EXIT_TIMEOUT_SECONDS + 5


def pod_template(
    identity: Identity,
    spec: InferenceServiceSpec,
    pool_name: str,
    pool: ServingPoolSpec,
    options: RenderOptions,
    *,
    digest: str | None = None,
) -> dict[str, Any]:
    """Nothing here follows from the batch settings: tuning never rolls a pod.

    `digest`: of the model's files, which each pod compares before its server starts; None: it does not.
    """
    model = triton_config.served_name(spec, identity.name)
    revision = triton_config.model_hash(spec, model)
    ours = {
        **names.labels(identity.name),
        names.REVISION_LABEL: revision,
        names.POOL_LABEL: names.label_value(pool_name),
    }
    first = linker(identity, spec, pool, options)
    if digest is not None:
        first.append(_check(spec, options, model, digest))
    template: dict[str, Any] = {
        "metadata": pod_settings.metadata(spec, pool, ours, _scrape_annotations(options)),
        "spec": {
            **_identity_of_pod(identity, spec.runtime),
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_seconds(spec.runtime),
            **_scheduled(identity, spec, pool, options),
            **({"initContainers": first} if first else {}),
            "containers": [_container(identity, spec, pool, options, model)],
            "volumes": volumes(spec, pool, {"name": names.config_map_name(identity.name, revision)}),
            **claimed(spec, pool),
        },
    }
    sampled = sampling.declared(spec, pool, options)
    if sampled is not None:
        _sample(template["spec"], sampled, sampling.sidecar(identity, spec, sampled, options, model))
        template["spec"] = claims.shared(template["spec"])
    return template


def _scrape_annotations(options: RenderOptions) -> dict[str, str]:
    """For a Prometheus that discovers pods by annotation."""
    if not options.scrape_annotations:
        return {}
    return {
        SCRAPE: "true",
        "prometheus.io/port": str(names.METRICS_PORT),
        "prometheus.io/path": "/metrics",
    }


def _scheduled(
    identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions
) -> dict[str, Any]:
    common = pod_settings.common(spec, pool, options)
    affinity = {**common.get("affinity", {}), **pod_settings.among_pods(identity, spec, pool)}
    spread = pod_settings.spread(identity, spec, pool)
    return {
        **common,
        **({"affinity": affinity} if affinity else {}),
        **({"topologySpreadConstraints": spread} if spread else {}),
    }


def claimed(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> dict[str, Any]:
    """Of a pod with a server: devices by dynamic resource allocation."""
    found = pod_settings.resource_claims(spec, pool)
    return {"resourceClaims": found} if found else {}


def _sample(pod: dict[str, Any], sampled: Sampling, sidecar: dict[str, Any]) -> None:
    """Adds sampling to a pod. A scratch server is not sampled: it answers the evaluator alone."""
    (server,) = pod["containers"]
    server["args"] += sampling.flags(sampled)
    server["volumeMounts"] += sampling.server_mounts()
    pod["initContainers"] = [*pod.get("initContainers", ()), {**sidecar, "securityContext": container_security()}]
    pod["volumes"] += sampling.volumes(sampled)


def _identity_of_pod(identity: Identity, runtime: Runtime) -> dict[str, Any]:
    pull = pull_secrets(runtime)
    if runtime.service_account_name:
        # The account is the user's, and so is whether its token is mounted.
        return {"serviceAccountName": runtime.service_account_name, **pull}
    account = names.service_account_name(identity.name)
    return {"serviceAccountName": account, "automountServiceAccountToken": False, **pull}


def pull_secrets(runtime: Runtime) -> dict[str, Any]:
    """Of any pod of the service: all its images may be in the same registry."""
    secrets = [{"name": reference.name} for reference in runtime.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def _check(spec: InferenceServiceSpec, options: RenderOptions, model: str, digest: str) -> dict[str, Any]:
    """Ends well only where the model's files are those that were judged."""
    return {
        "name": names.LOAD_CHECK,
        "image": options.in_serving_pods,
        "command": ["python3", "-m", "throughline.lineage.atload"],
        "args": [f"--directory=/models/{model}", f"--version={spec.model.version}", f"--digest={digest}"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [model_files.version_mount(spec, model)],
        **options.pull_policy,
    }


def linker(
    identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions
) -> list[dict[str, Any]]:
    """The init container that comes before the server, where the model's folder is on a claim."""
    if not model_files.linked(spec, options):
        return []
    resources = {kind: amounts for kind, amounts in _compute(spec.runtime).items() if amounts}
    model, security = triton_config.served_name(spec, identity.name), container_security()
    made = model_files.linker(spec, model, image(spec, pool, options), resources, securityContext=security)
    return [{**made, **options.pull_policy}]


def scratch_server(
    identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions
) -> dict[str, Any]:
    """The server as it would serve, as a sidecar (KEP-753): it is up before the container beside it begins, and ends
    after that. Nobody else reaches it, so it has no ports, and nothing to drain for.
    """
    container = _container(identity, spec, pool, options, triton_config.served_name(spec, identity.name))
    for field in ("lifecycle", "ports", "readinessProbe"):
        container.pop(field, None)
    for probe in ("startupProbe", "livenessProbe"):
        container[probe]["httpGet"]["port"] = names.HTTP_PORT
    return {**container, "restartPolicy": "Always"}


def container_security() -> dict[str, Any]:
    """Of the restricted pod security standard, and a root that cannot be written."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _container(
    identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions, model: str
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": names.CONTAINER,
        "image": image(spec, pool, options),
        # By name, through PATH: images differ in where the server lies, and their entry points only print a banner.
        "command": ["tritonserver"],
        "args": _arguments(model, spec.runtime),
        "env": _environment(identity, spec.runtime),
        "ports": [
            {"name": "grpc", "containerPort": names.GRPC_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": names.METRICS_PORT, "protocol": "TCP"},
        ],
        **_probes(model, spec.runtime),
        # Triton refuses HTTP at once on SIGTERM; first let every client learn that this pod is gone (fact 10).
        "lifecycle": {"preStop": {"sleep": {"seconds": spec.runtime.drain_seconds}}},
        "securityContext": container_security(),
        "volumeMounts": _mounts(spec, pool, options, model),
        **options.pull_policy,
    }
    if spec.runtime.drain_seconds == 0:  # the API server refuses a sleep of no time before 1.33
        del container["lifecycle"]
    resources = _resources(spec, pool)
    if resources:
        container["resources"] = resources
    return container


def _arguments(model: str, runtime: Runtime) -> list[str]:
    """Every flag was run against Triton 2.51.

    - exit-on-error=false: a model that does not load leaves a live server that says why, instead of a crash loop;
    - default-max-batch-size=0: max_batch_size 0 means "no batch dimension", not "complete it to 4";
    - the connection age makes gRPC clients spread over new replicas (fact 15); the grace is long, since a connection
      is cut at its end with what is still under way on it: 10 s lost requests that queued longer under overload.
    """
    restricted = f"{RESTRICTED_APIS}:{names.CONTROL_KEY_HEADER}=$({names.CONTROL_KEY_ENV})"
    return [
        "--model-repository=/models",
        "--model-control-mode=explicit",
        f"--load-model={model}",
        f"--model-config-name={names.CONFIG_NAME}",
        "--exit-on-error=false",
        "--strict-readiness=true",
        "--backend-config=default-max-batch-size=0",
        "--metrics-config=summary_latencies=true",
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
        "--grpc-max-connection-age=5000",
        "--grpc-max-connection-age-grace=600000",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        # The kubelet would put variables, the key among them, in for $(NAME), and one $ for two.
        *(flag.replace("$", "$$") for flag in runtime.args),
    ]


def _environment(identity: Identity, runtime: Runtime) -> list[dict[str, Any]]:
    key = {"secretKeyRef": {"name": names.secret_name(identity.name), "key": "key"}}
    ours: list[dict[str, Any]] = [{"name": names.CONTROL_KEY_ENV, "valueFrom": key}]
    if all(e.name != "HOME" for e in runtime.env):
        # The root is read-only; backends that keep a cache in the home directory find one that is not.
        ours.append({"name": "HOME", "value": "/tmp"})  # noqa: S108 - an emptyDir of the pod
    return ours + [_variable(e) for e in runtime.env if e.name != names.CONTROL_KEY_ENV]


def _variable(variable: EnvVar) -> dict[str, Any]:
    # An empty value is left out, as the API server leaves it out.
    if variable.value_from is None:
        return {"name": variable.name, **({"value": variable.value} if variable.value else {})}
    return {"name": variable.name, "valueFrom": variable.value_from.to_wire()}


def _probes(model: str, runtime: Runtime) -> dict[str, Any]:
    """Triton opens its ports only when the model has loaded or failed to: the startup probe gives it that time.

    After that, alive is the server and ready is the model. A busy server must not be killed for being slow, so
    liveness allows a minute; health is never behind the key.
    """
    live = {"path": "/v2/health/live", "port": "http", "scheme": "HTTP"}
    return {
        "startupProbe": {
            "httpGet": live,
            "periodSeconds": STARTUP_PERIOD_SECONDS,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(runtime.start_timeout_seconds / STARTUP_PERIOD_SECONDS),
        },
        "readinessProbe": {
            "httpGet": {"path": f"/v2/models/{model}/ready", "port": "http", "scheme": "HTTP"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "livenessProbe": {"httpGet": dict(live), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    }


def _compute(runtime: Runtime) -> dict[str, Any]:
    return {
        "requests": {k: canonical_resource(v) for k, v in sorted(runtime.resources.requests.items())},
        "limits": {k: canonical_resource(v) for k, v in sorted(runtime.resources.limits.items())},
    }


def _resources(spec: InferenceServiceSpec, pool: ServingPoolSpec) -> dict[str, Any]:
    resources = _compute(spec.runtime)
    if pool.accelerator and pool.accelerator.resource:
        # An extended resource cannot be overcommitted: both must be given, and be the same.
        amount = str(pool.accelerator.count_per_replica)
        resources["requests"][pool.accelerator.resource] = amount
        resources["limits"][pool.accelerator.resource] = amount
    resources["claims"] = [{"name": claim["name"]} for claim in pod_settings.resource_claims(spec, pool)]
    return {kind: amounts for kind, amounts in resources.items() if amounts}


def _mounts(
    spec: InferenceServiceSpec, pool: ServingPoolSpec, options: RenderOptions, model: str
) -> list[dict[str, Any]]:
    """The configuration is mounted as a directory; a file mounted by subPath would never be updated (fact 6)."""
    return [
        {"name": "models", "mountPath": "/models"},
        *model_files.served_mounts(spec, options, model),
        {"name": "config", "mountPath": f"/models/{model}/configs", "readOnly": True},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - an emptyDir of the pod
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
        *pod_settings.mounts(spec, pool),
    ]


def volumes(spec: InferenceServiceSpec, pool: ServingPoolSpec, config: dict[str, Any]) -> list[dict[str, Any]]:
    """What the server's container mounts. `config`: the ConfigMap with its configuration, as a volume's source."""
    return [
        {"name": "models", "emptyDir": {}},
        model_files.volume(spec),
        {"name": "config", "configMap": config},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": canonical(spec.runtime.shared_memory)}},
        {"name": "tmp", "emptyDir": {}},
        *pod_settings.volumes(spec, pool),
    ]
