"""The automation that takes a cell from a dead worker: a run whose heartbeat stops is scheduled again.

Workers send a heartbeat where PREFECT_FLOWS_HEARTBEAT_FREQUENCY is set (`make worker` and `make services` do). Prefect
itself leaves the run of a machine that is gone in state Running for ever.
"""

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.events import ResourceSpecification

NAME = "langpose: begin the runs of dead workers again"
HEARTBEAT_S = 30
"""Seconds between heartbeats of a run."""
SILENCE_S = 75
"""A run is given up after so long without one."""

_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDS = {
    f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Trouble", "Preempted")
}


async def ensure(client: PrefectClient) -> None:
    """Create the automation, if the server has none of its name."""
    if await client.read_automations_by_name(NAME):
        return
    again = ChangeFlowRunState(
        state=StateType.SCHEDULED, name="AwaitingRetry", message="its worker is gone", force=True
    )
    await client.create_automation(
        AutomationCore(
            name=NAME,
            description="A flow run whose heartbeat has stopped for over a minute is scheduled again.",
            trigger=EventTrigger(
                posture=Posture.Proactive,
                after={_HEARTBEAT},
                expect={_HEARTBEAT, *_ENDS},
                match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
                for_each={"prefect.resource.id"},
                threshold=1,
                within=timedelta(seconds=SILENCE_S),
            ),
            actions=[again],
        )
    )
