"""Values for a container that runs already: they come in order, are its user's, are in memory only, and go with the run."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld, listening_on, soon
from tests.integration.docker_command import LABEL, docker, is_podman, make_image

from worker_orchestrator.core.machine import Holding, Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.extras import Configurable, LateValues
from worker_orchestrator.errors import EngineRejected, InvalidInput, OutcomeUnknown, PortTaken, SetupFailed

pytestmark = pytest.mark.promise("late")

FOLDER: Final = "/run/project"
PLANTED: Final = "pl4nted-and-never-seen"
