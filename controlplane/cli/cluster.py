"""`picket cluster`: what a Kubernetes cluster gets back when Picket is removed; the chart's Jobs run it. Asks no control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import click

from controlplane.cli.output import plural

if TYPE_CHECKING:
    from controlplane.kubernetes.client import Client

T = TypeVar("T")


@click.group("cluster", short_help="Take Picket out of a Kubernetes cluster.")
def cluster() -> None:
    """Take out of a cluster what a release of the chart leaves there.

    By the pod's own service account, else by KUBECONFIG or ~/.kube/config. `helm uninstall` runs these by itself.
    """


@cluster.command("stop-injection", short_help="Have no more pods given a sidecar.")
@click.argument("configuration")
def stop_injection(configuration: str) -> None:
    """Remove the MutatingWebhookConfiguration of that name, and show which pods have a sidecar."""
    leaving = _leaving()
    was_there = _asked(lambda client: leaving.stop_injection(client, configuration))
    click.echo(f"{configuration}: {'removed' if was_there else 'not there'}; no pod is given a sidecar any more")
    if not (pods := _asked(leaving.with_sidecars)):
        click.echo("no pod has a sidecar")
        return
    click.echo(f"{plural(sum(pods.values()), 'pod')} {'has' if sum(pods.values()) == 1 else 'have'} one: {_by_namespace(pods)}")
    click.echo(
        "They go on with what they accepted last until their certificates end (within an hour, unless --svid-lifetime-seconds says "
        "otherwise), and then refuse each other. Make them anew, without a sidecar:"
    )
    for namespace in sorted(pods):
        click.echo(f"  kubectl rollout restart -n {namespace} deployment,statefulset,daemonset")


@cluster.command("clean", short_help="Remove what control planes kept in a cluster.")
@click.option("--ca-secret", metavar="NAME", help="Remove this certificate authority of the own namespace, too.")
def clean(ca_secret: str | None) -> None:
    """Remove the mesh's roots from all namespaces, but for those whose pods mount them: without a control plane that keeps them."""
    leaving = _leaving()
    cleaned = _asked(leaving.remove_bundles)
    click.echo(f"{leaving.TRUST_BUNDLE}: removed from {plural(len(cleaned.removed), 'namespace')}")
    if cleaned.mounted:
        click.echo(f"Kept where pods with a sidecar mount it: {_by_namespace(cleaned.mounted)}. Once these are made anew:")
        for namespace in sorted(cleaned.mounted):
            click.echo(f"  kubectl delete configmap -n {namespace} {leaving.TRUST_BUNDLE}")
    if ca_secret is not None:
        was_there = _asked(lambda client: leaving.remove_authority(client, ca_secret))
        click.echo(f"{ca_secret}: {'removed' if was_there else 'not there'}")


def _by_namespace(pods: Mapping[str, int]) -> str:
    return ", ".join(f"{namespace} ({count})" for namespace, count in sorted(pods.items()))


def _leaving() -> ModuleType:
    """What asks a cluster."""
    try:
        from controlplane.kubernetes import leaving  # noqa: PLC0415  # an extra that others do not install
    except ImportError as error:
        raise click.ClickException(f"{error}; pip install 'picket[kubernetes]'") from error
    return leaving


def _asked(ask: Callable[[Client], Coroutine[None, None, T]]) -> T:
    """What a cluster answers."""
    from controlplane.kubernetes.client import Client, KubernetesError  # noqa: PLC0415  # an extra that others do not install

    async def answer() -> T:
        async with Client() as client:
            return await ask(client)

    try:
        return asyncio.run(answer())
    except KubernetesError as error:
        raise click.ClickException(str(error)) from error
