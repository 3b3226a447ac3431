"""Non-finite steps are skipped and counted; too many in a row go back; in the end the run is given up."""

import math

import pytest
import torch
from comparing import final_state, log

from marscf.errors import MarscfError
from marscf.training.gradients import Gradients
from marscf.training.run import train_run


@pytest.fixture
def spoil(monkeypatch):
    """Make the loss of some steps NaN, while `when(step, model)` says so."""

    def spoil(when):
        compute = Gradients.__call__

        def spoiled(self, step, x, noise):
            loss = compute(self, step, x, noise)
            return loss * math.nan if when(step) else loss

        monkeypatch.setattr(Gradients, "__call__", spoiled)

    return spoil


def test_a_bad_step_changes_no_weight_and_is_counted(make_run, spoil):
    spoil(lambda step: step in (4, 7))
    receipt = train_run(make_run(steps=8, checkpoint_every=1), "cpu")
    assert receipt["skipped_steps"] == 2
    assert receipt["rollbacks"] == 0
    assert [event["step"] for event in receipt["events"]] == [5, 8]
    assert "step skipped" in receipt["events"][0]["event"]


def test_skipped_steps_leave_the_weights(make_run, spoil):
    folder = make_run(steps=3, checkpoint_every=2, max_skips=5)
    spoil(lambda step: step == 2)
    train_run(folder, "cpu")
    before, after = [
        torch.load(folder / f"state-0000000{step}.pt", weights_only=True)["model"] for step in (2, 3)
    ]
    assert all(torch.equal(before[name], after[name]) for name in before if name != "calls")


def test_back_to_the_last_good_state_with_half_the_learning_rate(make_run, spoil):
    bad = [5, 6, 7]  # once each: what the half learning rate heals
    spoil(lambda step: step in bad and (bad.remove(step) or True))
    folder = make_run(max_skips=3, checkpoint_every=5)
    receipt = train_run(folder, "cpu")
    # the state after 5 steps has the weights whose next loss is NaN: not a good one
    assert receipt["rollbacks"] == 1
    assert receipt["learning_rate_factor"] == 0.5
    assert receipt["skipped_steps"] == 3
    assert receipt["steps"] == 12
    assert "back to step 0 with 0.5 of the learning rate" in receipt["events"][-1]["event"]
    rates = {line["step"]: line["learning_rate"] for line in log(folder) if "learning_rate" in line}
    assert rates[12] == 0.005
    assert any("back to step 0" in line.get("event", "") for line in log(folder))


def test_a_state_that_was_followed_by_a_good_step_is_gone_back_to(make_run, spoil):
    bad = [6, 7, 8]
    spoil(lambda step: step in bad and (bad.remove(step) or True))
    receipt = train_run(make_run(max_skips=3, checkpoint_every=5), "cpu")
    assert "back to step 5 with 0.5" in receipt["events"][-1]["event"]


def test_given_up_after_so_many_rollbacks(make_run, spoil):
    spoil(lambda step: step >= 6)
    folder = make_run(max_skips=2, max_rollbacks=2)
    with pytest.raises(MarscfError, match=r"diverged.*after 2 rollbacks; lower training.learning_rate"):
        train_run(folder, "cpu")
    assert not (folder / "receipt.json").exists()
    assert final_state(folder)["record"]["learning_rate_factor"] == 0.25


def test_a_nan_in_the_gradient_alone(make_run, monkeypatch):
    compute = Gradients.__call__

    def spoiled(self, step, x, noise):
        loss = compute(self, step, x, noise)
        if step == 3:
            next(self.loss.parameters()).grad[0] = math.inf
        return loss

    monkeypatch.setattr(Gradients, "__call__", spoiled)
    receipt = train_run(make_run(steps=6), "cpu")
    assert receipt["skipped_steps"] == 1
    assert math.isfinite(receipt["best_validation_bits_per_dim"])
