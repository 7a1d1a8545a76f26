"""The model's files in a pod: a model repository put together from mounts and links, of which nothing is copied.

Triton wants the configuration inside the model's folder, and a folder on a read-only claim takes no mount inside that
was not there. So the folder is mounted beside the repository, and an init container links its entries into it: the
version that is served and whatever lies beside it (tokenizers, labels, a Python environment). Other versions stay out,
for Triton looks at the time of every file it finds; so do hidden entries, which some file systems fill with snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import names

if TYPE_CHECKING:
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.manifests.options import RenderOptions

FOLDER = "/mnt/model"  # the model's folder as it lies on the claim
WHOLE_FOLDER_SINCE = 2  # version of the pod template; before, only the version's folder was mounted

# $1: the model's folder, $2: its place in the repository, $3: the version, $4: where the kubelet reads a message.
# A link that leads nowhere is named and hinders nobody: the model may not need it.
LINKING = r"""
named=0
name_broken() {
  if [ -L "$1" ] && [ ! -e "$1" ] && [ "$named" -lt 3 ]; then
    named=$((named + 1))
    echo "${1#"$from"/} is a link to $(readlink "$1"), which leads out of the model's folder or to nothing" \
      "there; put the file itself into the folder" >>"$message"
  fi
}
look_into() {
  for file in "$1"/*; do
    name_broken "$file"
    if [ -d "$file" ] && [ ! -L "$file" ]; then look_into "$file"; fi
  done
}
from=$1 to=$2 version=$3 message=$4
if [ ! -d "$from/$version" ]; then
  name_broken "$from/$version"
  echo "the model's folder has no folder $version; it has: $(cd "$from" && ls | head -n 20 | tr '\n' ' ')" >>"$message"
  exit 1
fi
mkdir -p "$to" || exit 1
for file in "$from"/*; do
  name=${file##*/}
  case $name in
    "$version") ;;
    configs | config.pbtxt) continue ;;
    *[!0-9]*) ;;
    *) continue ;;
  esac
  name_broken "$file"
  ln -sfn "$file" "$to/$name" || exit 1
done
look_into "$from/$version"
"""


def linked(spec: InferenceServiceSpec, options: RenderOptions) -> bool:
    """Whether the pod has the model's whole folder. A ConfigMap has none: its keys are the files of the version."""
    return spec.model.storage.uri.startswith("pvc://") and options.template_version >= WHOLE_FOLDER_SINCE


def linker(
    spec: InferenceServiceSpec, model: str, image: str, resources: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """The init container. It needs a shell, which the server's image has, so that no other is pulled; and it asks for
    no more than the server, so that the pod does not either.
    """
    arguments = [FOLDER, f"/models/{model}", str(spec.model.version), "/dev/termination-log"]
    return {
        "name": names.MODEL_FILES,
        "image": image,
        "command": ["/bin/sh", "-c", LINKING, names.MODEL_FILES],
        "args": arguments,
        "volumeMounts": [{"name": "models", "mountPath": "/models"}, folder_mount(spec)],
        **({"resources": resources} if resources else {}),
        **more,
    }


def served_mounts(spec: InferenceServiceSpec, options: RenderOptions, model: str) -> list[dict[str, Any]]:
    """What the server needs of the storage."""
    if linked(spec, options):
        return [folder_mount(spec)]
    labels = sorted({o.label_filename for o in spec.model.outputs if o.label_filename})
    if spec.model.storage.uri.startswith("pvc://"):
        return [version_mount(spec, model)]
    beside = [
        {"name": "storage", "mountPath": f"/models/{model}/{file}", "subPath": file, "readOnly": True}
        for file in labels
    ]
    return [version_mount(spec, model), *beside]


def folder_mount(spec: InferenceServiceSpec) -> dict[str, Any]:
    """The model's whole folder."""
    mount: dict[str, Any] = {"name": "storage", "mountPath": FOLDER, "readOnly": True}
    return {**mount, "subPath": path} if (path := _path(spec)) else mount


def version_mount(spec: InferenceServiceSpec, model: str) -> dict[str, Any]:
    """The files of the version that is served: those that are judged."""
    version = str(spec.model.version)
    storage: dict[str, Any] = {"name": "storage", "mountPath": f"/models/{model}/{version}", "readOnly": True}
    if spec.model.storage.uri.startswith("pvc://"):
        storage["subPath"] = "/".join(part for part in (_path(spec), version) if part)
    return storage


def volume(spec: InferenceServiceSpec) -> dict[str, Any]:
    """What is mounted."""
    scheme, _, rest = spec.model.storage.uri.partition("://")
    name, _, _ = rest.partition("/")
    if scheme == "pvc":
        # Read-only at the claim too: a missing folder is then an error that is seen, and never made on the claim.
        return {"name": "storage", "persistentVolumeClaim": {"claimName": name, "readOnly": True}}
    return {"name": "storage", "configMap": {"name": name}}


def _path(spec: InferenceServiceSpec) -> str:
    """Of the model's folder on its claim; empty: its root."""
    _, _, rest = spec.model.storage.uri.partition("://")
    return rest.partition("/")[2].strip("/")
