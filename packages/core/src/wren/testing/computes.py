"""`ComputeConformance`: what every compute backend must do, checked on the author's platform."""

from wren.testing.computes_calls import CallChecks
from wren.testing.computes_deployments import DeploymentChecks
from wren.testing.computes_faults import FaultChecks
from wren.testing.computes_features import FeatureChecks
from wren.testing.computes_modules import ModuleChecks

__all__ = ["ComputeConformance"]


class ComputeConformance(CallChecks, FaultChecks, FeatureChecks, DeploymentChecks, ModuleChecks):
    """Subclass it as `TestMine`, say what `plugin` is, and write the fixtures that your platform needs.

        class TestMine(ComputeConformance):
            plugin = MyCompute

            @pytest.fixture
            def options(self) -> Mapping[str, Any]:
                return {"url": "http://127.0.0.1:8080"}

    `options` are the keys of the plugin's section of the configuration; the plugin must be installed, or offered by
    `wren.testing.plugged`.  What may be given besides:

    - the fixture `unreachable`: options with which the platform cannot be reached, to see how that is told;
    - `storage_name` and the fixture `storage_options`: a storage that the workers can open, by default localhost's;
    - `slow`: by how much all that is waited for may take longer than on a machine of one's own;
    - `many`: how many calls the largest map has (20 times as many where the backend declares QUEUE).

    Functions that the checks run are in `wren.testing.functions`, or travel by value: workers need wren-core, and not
    its extra `testing`.  A check that finds a process's end looks into /proc where workers are on this machine.
    The deployments that the checks share are left: remove them in a fixture of yours if they cost something.
    """
