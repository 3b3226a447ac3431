"""`marscf tune`: what a trial changes, its equal time, and the table of what was tried."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from marscf.cli import main
from marscf.config import load_config, loading, resolve
from marscf.runs import DATASETS
from marscf.training.tuning import COLUMNS, Trial, add_row, changed_config, markdown, read_rows


def test_a_trial_changes_what_it_says(workplace):
    config = load_config()
    trial = Trial(times={"learning_rate": 2, "batch_size": 0.5}, training={"optimizer": "adam"})
    glow = resolve(config, "quick", "digits", "glow", 0)
    plain, changed = (changed_config(glow, each).training for each in (Trial(), trial))
    assert changed == replace(
        plain, learning_rate=2 * plain.learning_rate, batch_size=plain.batch_size // 2, optimizer="adam"
    )
    assert plain.optimizer == "adamax"


def test_a_trial_that_is_none_for_a_system_is_left_out(workplace):
    margin = load_config().dataset("digits").logit_margin
    for system, value, tried in (("glow", 0.3, True), ("glow", margin, False), ("pixelcnn", 0.3, False)):
        trial = Trial(options={"logit_margin": value})
        found = changed_config(resolve(load_config(), "quick", "digits", system, 0), trial)
        assert (found is not None) == tried
        assert not tried or found.options["logit_margin"] == value


def test_trials_are_run_once_each_and_shown(workplace, capsys):
    from marscf.data.prepare import prepare

    prepare(load_config().dataset("digits"), root=DATASETS)
    call = ["tune", "--scale", "quick", "--systems", "pixelcnn", "--minutes", "0.02", "--device", "cpu"]
    call += ["--trials", "as it is,learning rate × 2,no logit"]
    assert main(call) == 0
    rows = read_rows(workplace / "reports/tuning/quick.csv")
    assert [row["trial"] for row in rows] == ["as it is", "learning rate × 2"]  # it has no logit
    assert all(0 < float(row["validation_bits_per_dim"]) < 5 for row in rows)
    assert all(int(row["images"]) == int(row["steps"]) * int(row["batch_size"]) for row in rows)
    before = (workplace / "reports/tuning/quick.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert main(call) == 0
    assert [line.endswith(" (known)") for line in capsys.readouterr().out.splitlines()] == [True, True]
    assert (workplace / "reports/tuning/quick.csv").stat().st_mtime_ns == before
    assert main(["tune", "--scale", "quick", "--show"]) == 0
    assert "| as it is | " in capsys.readouterr().out
    call[call.index("0.02")] = "0.03"
    assert main(call) == 0 and "known" not in capsys.readouterr().out
    again = read_rows(workplace / "reports/tuning/quick.csv")
    assert again[:2] == rows and [row["trial"] for row in again[2:]] == ["as it is", "learning rate × 2"]
    assert len(markdown(again).splitlines()) == len(markdown(rows).splitlines())  # the newest alone


def test_a_trial_of_a_setting_that_was_edited_since_is_tried_again(own_config, capsys):
    from marscf.data.prepare import prepare

    prepare(load_config().dataset("digits"), root=DATASETS)
    call = ["tune", "--scale", "quick", "--systems", "pixelcnn", "--minutes", "0.02", "--device", "cpu"]
    call += ["--trials", "as it is"]
    assert main(call) == 0
    path = own_config / "systems/pixelcnn.yaml"
    path.write_text(path.read_text() + "\n# nothing\n")
    loading._load.cache_clear()
    capsys.readouterr()
    assert main(call) == 0 and "(known)" in capsys.readouterr().out
    values = yaml.safe_load(path.read_text())
    values["training"] = {**values.get("training", {}), "weight_decay": 0.01}
    path.write_text(yaml.safe_dump(values))
    loading._load.cache_clear()
    assert main(call) == 0 and "(known)" not in capsys.readouterr().out


def test_the_settings_of_now_are_shown_also_where_they_were_tried_before_others(own_config, capsys):
    from marscf.data.prepare import prepare

    prepare(load_config().dataset("digits"), root=DATASETS)
    call = ["tune", "--scale", "quick", "--systems", "pixelcnn", "--minutes", "0.02", "--device", "cpu"]
    call += ["--trials", "as it is,mine"]
    path = own_config / "tuning.yaml"

    def tried(factor):
        """Try a trial of one's own, and return the learning rates that are shown for it."""
        trials = {"as it is": {}, "mine": {"times": {"learning_rate": factor}}}
        path.write_text(yaml.safe_dump({"minutes": 1, "trials": trials}))
        assert main(call) == 0
        known = "mine" in "".join(x for x in capsys.readouterr().out.splitlines() if x.endswith("(known)"))
        rows = read_rows(Path("reports/tuning/quick.csv"))
        return known, float([row for row in rows if row["trial"] == "mine"][-1]["learning_rate"]), len(rows)

    (first, low, _), (second, high, count), third = tried(2), tried(20), tried(2)
    assert not first and not second and high == pytest.approx(10 * low)
    assert third == (True, low, count)
    call[call.index("0.02")], call[-1] = "0.03", "mine"
    assert main(call) == 0
    capsys.readouterr()
    assert main(["tune", "--scale", "quick", "--show"]) == 0
    shown = capsys.readouterr().out
    assert "| as it is | " in shown and shown.count("| mine | ") == 1
    assert next(line for line in shown.splitlines() if "mine" in line).split("|")[2].strip()[0] in "+-"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["--scale", "quick", "--trials", "as it iss"], "did you mean 'as it is'"),
        (["--scale", "paper", "--trials", "as it is"], "scale paper validates nothing"),
        (["--scale", "quick", "--trials", "wrong"], "did you mean 'learning_rate'"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_one_line(own_config, capsys, call, words):
    path = own_config / "tuning.yaml"
    path.write_text(path.read_text() + "  wrong: {times: {learning_rates: 2}}\n")
    assert main(["tune", *call, "--systems", "glow", "--device", "cpu"]) == 2
    assert words in capsys.readouterr().err
    assert not Path("reports/tuning").exists()


def test_a_trial_of_augmentation_changes_what_the_training_reads(workplace):
    own = resolve(load_config(), "laptop", "cifar10", "glow", 0)
    assert own.data.augment == "flip-shift"
    assert changed_config(own, Trial(training={"augment": "none"})).data.augment == "none"
    assert changed_config(own, Trial(training={"optimizer": "adam"})).data.augment == "flip-shift"


@pytest.mark.parametrize("host", ["one", "another"])
def test_the_table_shows_differences_on_the_same_host(host):
    rows = [
        {
            "dataset": "digits",
            "system": s,
            "trial": t,
            "validation_bits_per_dim": v,
            "host": h,
            "identity": "",
        }
        for s, t, v, h in (
            ("glow", "as it is", "2.5", host),
            ("glow", "batch × 2", "2.25", host),
            ("flowpp", "as it is", "2.0", host),
            ("glow", "batch × 2", "9.0", "elsewhere"),
        )
    ]
    lines = markdown(rows).splitlines()
    assert lines[0] == f"digits ({host}):"
    assert lines[2] == "| | glow | flowpp |"
    assert lines[4:6] == ["| as it is | 2.500 | 2.000 |", "| batch × 2 | -0.250 |  |"]
    assert lines[11] == "| batch × 2 | 9.000 |"  # nothing to compare it with there


def test_rows_of_processes_at_once_are_all_kept(tmp_path):
    table = tmp_path / "tuning" / "tiny.csv"
    row = dict.fromkeys(COLUMNS, "1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: add_row(table, {**row, "seed": str(k)}), range(40)))
    assert sorted(int(found["seed"]) for found in read_rows(table)) == list(range(40))
