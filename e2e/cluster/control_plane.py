"""etcd, API server, controller manager and scheduler, with TLS, RBAC, audit log and admission as on a real cluster."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
from typing import TYPE_CHECKING

from . import network, pki
from .api import Api

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from .processes import Processes

ETCD, ETCD_PEER = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
# A stock cluster waits 50 s for a silent node; tests of a killed kubelet need not.
NODE_GRACE = "20s"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclasses.dataclass(frozen=True)
class ControlPlane:
    directory: pathlib.Path
    authority: pki.Authority
    tokens: dict[str, str]

    @classmethod
    def prepare(cls, directory: pathlib.Path, nodes: Sequence[str]) -> ControlPlane:
        """Certificates, and a token for everyone who speaks to the API server."""
        authority = pki.Authority.create(directory / "pki")
        groups = {"admin": "system:masters", "system:kube-proxy": "", "dns": ""}
        groups |= {f"system:node:{node}": "system:nodes" for node in nodes}
        tokens = {user: secrets.token_hex(16) for user in groups}
        lines = [f'{tokens[user]},{user},{user},"{group}"' for user, group in groups.items()]
        path = directory / "tokens.csv"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return cls(directory, authority, tokens)

    @property
    def audit_log(self) -> pathlib.Path:
        return self.directory / "audit.log"

    def api(self) -> Api:
        return Api(self.authority.pair.certificate, self.tokens["admin"])

    def write_kubeconfig(self, name: str, user: str, address: str = network.API_ADDRESS) -> pathlib.Path:
        certificate = base64.b64encode(self.authority.pair.certificate.read_bytes()).decode()
        cluster = {"server": f"https://{address}", "certificate-authority-data": certificate}
        path = self.directory / f"{name}.kubeconfig"
        # Readers look for the file to appear: it must be whole when it does.
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "throughline",
                    "clusters": [{"name": "throughline", "cluster": cluster}],
                    "users": [{"name": user, "user": {"token": self.tokens[user]}}],
                    "contexts": [{"name": "throughline", "context": {"cluster": "throughline", "user": user}}],
                }
            )
        )
        part.rename(path)
        return path

    def start(self, processes: Processes, kube: pathlib.Path) -> None:
        names = (
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        )
        addresses = ("127.0.0.1", network.CONTROL_PLANE, network.API_SERVICE)
        alternatives = (*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses))
        serving = self.authority.issue("apiserver", "/CN=kube-apiserver", "serverAuth", alternatives)
        # What the API server shows to kubelets, for logs, exec, port-forward and the node proxy.
        client = self.authority.issue("kubelet-client", "/O=system:masters/CN=kube-apiserver", "clientAuth")
        signing, proving = pki.create_signing_keys(self.authority.directory)
        policy = self.directory / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        authority = self.authority.pair.certificate
        etcd = {
            "data-dir": self.directory / "etcd",
            "listen-client-urls": ETCD,
            "advertise-client-urls": ETCD,
            "listen-peer-urls": ETCD_PEER,
            "initial-advertise-peer-urls": ETCD_PEER,
            "initial-cluster": f"default={ETCD_PEER}",
            "log-level": "error",
        }
        # The data does not outlive the cluster: it need not reach the disk.
        processes.start("etcd", [kube, "etcd", "--unsafe-no-fsync", *_flags(etcd)])
        apiserver = {
            "etcd-servers": ETCD,
            "advertise-address": network.CONTROL_PLANE,
            "secure-port": network.API_PORT,
            "service-cluster-ip-range": network.SERVICE_RANGE,
            "tls-cert-file": serving.certificate,
            "tls-private-key-file": serving.key,
            "client-ca-file": authority,
            "kubelet-certificate-authority": authority,
            "kubelet-client-certificate": client.certificate,
            "kubelet-client-key": client.key,
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-account-key-file": proving,
            "service-account-signing-key-file": signing,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "token-auth-file": self.directory / "tokens.csv",
            "audit-policy-file": policy,
            "audit-log-path": self.audit_log,
            # Readers follow one file: it must not be rotated away below them.
            "audit-log-maxsize": 10_000,
        }
        processes.start("kube-apiserver", [kube, "kube-apiserver", *_flags(apiserver)])
        processes.wait_until("the API server", self.api().is_ready)
        admin = self.write_kubeconfig("control-plane", "admin")
        controllers = {
            "kubeconfig": admin,
            "service-account-private-key-file": signing,
            "use-service-account-credentials": "true",
            "root-ca-file": authority,
            "leader-elect": "false",
            "allocate-node-cidrs": "true",
            "cluster-cidr": network.POD_RANGE,
            "node-monitor-grace-period": NODE_GRACE,
        }
        processes.start("kube-controller-manager", [kube, "kube-controller-manager", *_flags(controllers)])
        scheduler = {"kubeconfig": admin, "leader-elect": "false"}
        processes.start("kube-scheduler", [kube, "kube-scheduler", *_flags(scheduler)])


def _flags(values: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
