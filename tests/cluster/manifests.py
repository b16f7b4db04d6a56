"""Online Boutique as manifests of our own: the services, accounts and edges of the demo's topology, each a small HTTP server.

Each calls those that it is declared to call, once a second, and can be told to call others. They run from Picket's own image,
so that a cluster needs no other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import controlplane.demo
from controlplane.topology.document import TopologyDocument, load_topology
from controlplane.topology.model import Service

NAMESPACE = "boutique"
Json = dict[str, Any]
_PROGRAM = """
import http.server, sys, threading, time, urllib.request

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\\n")

    def log_message(self, *words):
        pass

def call(url):
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).read()
        except OSError as error:
            print(url, error, flush=True)
        time.sleep(1)

for url in sys.argv[2:]:
    threading.Thread(target=call, args=(url,), daemon=True).start()
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Answer).serve_forever()
"""
PORT = 8080


def boutique() -> TopologyDocument:
    """The demo's topology."""
    return load_topology(Path(controlplane.demo.__file__).parent / "topologies" / "online-boutique.yaml")


def url(service: Service, port: int) -> str:
    """How a service is called within the cluster."""
    return f"http://{service.name.name}.{NAMESPACE}:{port}/"


def manifests(image: str) -> str:
    """All of it, for `kubectl apply -f -`."""
    document = boutique()
    items: list[Json] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"picket.dev/injection": "enabled"}}}
    ]
    for service in document.topology.services.values():
        called = [
            url(document.topology.services[edge.destination], edge.port) for edge in document.edges if edge.source == service.name
        ]
        items += _service(service, image, called)
    items.append(_job(image))
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


#: Says whom it was asked by, and for what.
_TALKATIVE = """
import http.server, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, self.headers["Host"], self.headers["User-Agent"], flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Answer).serve_forever()
"""


def hooked(image: str) -> str:
    """A pod of an account of its own, with an HTTP hook before its end, for `kubectl create -f -`."""
    metadata: Json = {"name": "hooked", "namespace": NAMESPACE}
    container = _container(image, [str(PORT)])
    handler = {"path": "/bye?now=1", "port": PORT, "httpHeaders": [{"name": "Host", "value": "shop.example.org"}]}
    container |= {"command": ["python3", "-c", _TALKATIVE, str(PORT)], "lifecycle": {"preStop": {"httpGet": handler}}}
    items: list[Json] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"serviceAccountName": "hooked", "terminationGracePeriodSeconds": 15, "containers": [container]},
        },
    ]  # fmt: skip
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _service(service: Service, image: str, called: list[str]) -> list[Json]:
    name = service.name.name
    metadata: Json = {"name": name, "namespace": NAMESPACE}
    labels = {"app": name}
    ports = [{"name": f"http-{port.number}", "port": port.number, "targetPort": PORT} for port in service.ports]
    made: list[Json] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"serviceAccountName": name, "containers": [_container(image, [str(PORT), *called])]},
                },
            },
        },
    ]
    if ports:
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": ports}})
    return made


def _container(image: str, arguments: list[str]) -> Json:
    probe = {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 5}
    return {
        "name": "app",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _PROGRAM, *arguments],
        "ports": [{"containerPort": PORT}],
        # Its endpoint goes before it does: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
        "readinessProbe": probe,
        "livenessProbe": {**probe, "initialDelaySeconds": 10},
        "securityContext": {"runAsUser": 65534, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _job(image: str) -> Json:
    container = {
        "name": "once", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-c", "print('done')"],
        "securityContext": {"runAsUser": 65534},
    }  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": NAMESPACE},
        "spec": {"backoffLimit": 2, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
