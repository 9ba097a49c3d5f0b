"""The simulated scale-outs keep to their bounds: no clock, so they are the same everywhere."""

from typing import Any

import pytest

from bench.budget import Simulation, scenes


@pytest.mark.parametrize("scene", [pytest.param(scene, id=scene.name) for scene in scenes(12)])
def test_all_are_warm_in_time_and_the_registry_was_hardly_troubled(scene: Any) -> None:
    registry = scene.registry()
    seconds = Simulation(registry, scene.limits, nodes=scene.nodes).run()
    assert seconds <= scene.ratio * scene.floor_s
    assert registry.refused <= scene.refused
