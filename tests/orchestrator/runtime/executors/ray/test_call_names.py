"""Names of calls, by which Ray's dashboard and summaries show them."""

from segtransfer.experiment.task import Task
from segtransfer.runtime.executors.ray.worker import call_name
from segtransfer.tasks.attacks.spec import AttackSpec

PGD = AttackSpec.model_validate({"preset": "pgd", "eps": "8/255", "steps": 3})


def test_calls_are_named_after_their_kind_attack_and_model() -> None:
    attack = Task("key", "model key", "shard", 1.0, 0, attack=PGD)
    assert call_name(attack, "pspnet-r18") == "attack pgd on pspnet-r18"
    assert call_name(Task("key", "model key", "shard", 1.0, 0), "fcn-r18") == "evaluate fcn-r18"


def test_name_of_an_attack_without_a_source_has_no_model() -> None:
    noise = AttackSpec.model_validate({"preset": "noise", "eps": "8/255"})
    assert call_name(Task("key", None, "shard", 1.0, 0, attack=noise), "fcn-r18") == "attack noise"
