"""A plug-in for Prefect: a deployment that has its flow's name may be called by that name alone.

``prefect deployment run ablations`` is then ``prefect deployment run ablations/ablations``. Prefect loads it at import
through the entry point in pyproject.toml, where ``[plugins] enabled`` is set (prefect.toml).
"""

from typing import Any

from prefect.plugins import HookContext, SetupResult, register_hook


def full(name: str) -> str:
    """``ablations`` → ``ablations/ablations``; anything else as it is."""
    return f"{name}/{name}" if name and "/" not in name else name


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Teach Prefect's clients the short names."""
    from prefect.client.orchestration._deployments import client

    for kind in (client.DeploymentClient, client.DeploymentAsyncClient):
        _teach(kind)
    return None


def _teach(kind: Any) -> None:
    original = kind.read_deployment_by_name
    if getattr(original, "takes_short_names", False):
        return

    def read_deployment_by_name(self: Any, name: str) -> Any:
        return original(self, full(name))

    read_deployment_by_name.takes_short_names = True  # type: ignore[attr-defined]
    kind.read_deployment_by_name = read_deployment_by_name
