"""The system makes no process, or no more descriptors: what that costs, and what the log says of it."""

from spacedrive_node.supervisor.spawner import SpawnError
from spacedrive_node.supervisor.task_spawner import TaskSpawner
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import spec

SWARM = spec("swarm", "quiet_swarm", TinyConfig())


NO_PROCESS, NO_FILE = "Resource temporarily unavailable", "Too many open files"


class RefusingSpawner(TaskSpawner):
    """Starts no session at the first tries, for these reasons."""

    def __init__(self, reasons):
        self.reasons = iter(reasons)

    async def spawn(self, spec):
        if spec.kind == "session" and (why := next(self.reasons, None)):
            raise SpawnError(why)
        return await super().spawn(spec)
