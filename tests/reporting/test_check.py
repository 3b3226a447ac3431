import itertools
import json
from pathlib import Path

import pandas
import pytest

from marscf import cli, seals
from marscf.reporting.collect import collect, read_metrics
from marscf.reporting.regression import FAILING, compare, report

REFERENCE = Path(__file__).parents[2] / "reports" / "reference" / "quick" / "metrics.csv"


@pytest.fixture
def metrics(workdir):
    return read_metrics(collect("quick", workdir))


def write_metrics(metrics):
    path = Path("reports/quick/metrics.csv")
    metrics.to_csv(path, index=False)
    seals.seal(path.with_name(seals.METRICS), [path])


def change(metrics, metric="bits_per_dim", system="glow", **columns):
    """A copy in which one cell has other columns."""
    changed = metrics.copy()
    row = changed["metric"].eq(metric) & changed["system"].eq(system)
    assert row.sum() == 1
    for name, value in columns.items():
        changed.loc[row, name] = value
    return changed


def verdicts(metrics, reference):
    """The cells that differ: {(run, metric): verdict}."""
    quiet = ("same", "untracked")
    return {(c.name, c.metric): c.verdict for c in compare(metrics, reference) if c.verdict not in quiet}


GLOW = ("digits/glow/seed0", "bits_per_dim")


def test_identical_measurements_differ_nowhere(metrics):
    assert verdicts(metrics, metrics) == {}


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({"value": 1.93}, None),  # noise of the test images and of the seed
        ({"value": 2.30}, "worse"),  # a learning rate of zero
        ({"value": 1.70}, "doubtful"),  # Flow++ without log q(u|x), or a wrong sign in a log-determinant
        ({"value": -0.70}, "wrong"),  # and like this after more training
        ({"stderr": 0.016}, "worse"),  # with a larger one, chance would explain more
        ({"stderr": 0.006}, "worse"),
        ({"n": 256}, "worse"),  # a dropped test batch, the value the same
        ({"protocol": "lower bound, 1 draw, 360 test images, dims 64"}, "worse"),
    ],
)
def test_cell(metrics, columns, verdict):
    expected = {} if verdict is None else {GLOW: verdict}
    assert verdicts(change(metrics, **columns), metrics) == expected


def test_direction_of_each_metric(metrics):
    score = change(metrics, "inception_score[digits-net]", value=3.0)
    assert set(verdicts(score, metrics).values()) == {"worse"}
    fid = change(metrics, "fid[digits-net]", value=3.0)
    assert set(verdicts(fid, metrics).values()) == {"doubtful"}
    assert set(verdicts(change(metrics, "parameters", value=12346.0), metrics).values()) == {"worse"}
    assert verdicts(change(metrics, "sampling_ms[32]", value=1e6), metrics) == {}  # timings are the machine's


def test_missing_and_new_cells(metrics):
    without = metrics[metrics["system"] != "glow"]
    assert verdicts(without, metrics)[GLOW] == "missing"
    assert verdicts(metrics, without)[GLOW] == "new"


def test_a_slow_machine_that_leaves_a_point_of_the_sweep_out_fails_nothing(metrics):
    steps = metrics["metric"].eq("sequential_steps[32]") & metrics["system"].eq("glow")
    assert steps.sum() == 1
    assert verdicts(metrics[~steps], metrics) == {}
    more = change(metrics, "sequential_steps[32]", value=99.0)
    assert verdicts(more, metrics) == {("digits/glow/seed0", "sequential_steps[32]"): "worse"}


def test_another_seed_is_compared_with_the_reference_s(metrics):
    other = metrics.copy()
    other.loc[other["system"] != "real", "seed"] = 1
    other["protocol"] = other["protocol"].str.replace("noise seed 0", "noise seed 7")
    assert verdicts(other, metrics) == {}


@pytest.mark.parametrize(("seed", "other"), itertools.permutations((0, 1, 2), 2))
def test_the_reference_s_own_seeds_do_not_fail_each_other(seed, other):
    reference = read_metrics(REFERENCE)
    system, columns = reference["system"].eq("marscf-mixlogcdf"), ["metric", "value", "stderr"]
    measured = reference.copy()
    theirs = reference[system & reference["seed"].eq(other)][columns].set_index("metric")
    for index, row in reference[system & reference["seed"].eq(seed)].iterrows():
        if row["metric"] in theirs.index:
            measured.loc[index, ["value", "stderr"]] = theirs.loc[row["metric"]]
    assert not measured.equals(reference)
    failing = [cell for cell in compare(measured, reference) if cell.verdict in FAILING]
    assert failing == []


def test_a_spread_of_seeds_excuses_no_more_than_itself(metrics):
    seeds = [change(metrics, value=value) for value in (1.80, 1.90, 2.00)]
    for seed, frame in enumerate(seeds):
        frame["seed"] = seed
    reference = pandas.concat(seeds)
    assert verdicts(change(metrics, value=2.15), reference).get(GLOW) is None
    assert verdicts(change(metrics, value=2.30), reference)[GLOW] == "worse"


def test_new_weights_of_an_extractor_are_no_other_protocol(metrics):
    other = metrics.copy()
    for ours, theirs in (("abcdef012345", "012345abcdef"), ("accuracy 0.986", "accuracy 0.983")):
        other["protocol"] = other["protocol"].str.replace(ours, theirs)
    assert not other["protocol"].equals(metrics["protocol"])
    assert verdicts(other, metrics) == {}


def test_report_names_the_cells_worst_first(metrics):
    text = report(compare(change(change(metrics, value=2.3), system="histogram", value=2.0), metrics))
    assert text.index("| worse") < text.index("| doubtful")
    assert "digits/glow/seed0" in text and "2.300" in text


def test_command_accepts_with_a_note_then_passes_then_fails(metrics, capsys):
    assert cli.main(["check", "--scale", "quick"]) == 2  # no reference
    assert "marscf check --accept" in capsys.readouterr().err
    assert cli.main(["check", "--scale", "quick", "--accept", "  "]) == 2
    assert cli.main(["check", "--scale", "quick", "--accept", "first measurements"]) == 0
    assert "first measurements" in Path("reports/reference/quick/NOTES.md").read_text()
    receipts = json.loads(Path("reports/reference/quick/provenance.json").read_text())
    assert receipts["data/runs/quick/digits/glow/seed0"]["weights_sha256"] == "1" * 64
    assert Path("reports/reference/quick/sampling_speed.csv").is_file()
    assert cli.main(["check"]) == 0  # the scale of config/config.yaml
    change(metrics, "fid[digits-net]", value=99.0).pipe(write_metrics)
    capsys.readouterr()
    assert cli.main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "worse" in printed and "digits/glow/seed0" in printed and "fid[digits-net]" in printed
    assert cli.main(["check", "--accept", "a larger learning rate"]) == 0
    notes = Path("reports/reference/quick/NOTES.md").read_text()
    assert notes.index("first measurements") < notes.index("a larger learning rate")


@pytest.mark.parametrize(
    ("metric", "value", "why"),
    [
        ("inception_score[digits-net]", -0.7, "impossible"),
        ("fid[digits-net]", 1.0, "better than real images"),
        ("bits_per_dim", 1.85, "nats"),
    ],
)
def test_a_wrong_number_is_not_accepted(metrics, capsys, metric, value, why):
    assert cli.main(["check", "--scale", "quick", "--accept", "first measurements"]) == 0
    change(metrics, metric, value=value).pipe(write_metrics)
    assert cli.main(["check", "--scale", "quick", "--accept", "wonderful"]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("narrowed", "words"),
    [
        (["--systems", "gloww"], "did you mean 'glow'"),
        (["--datasets", "mnst"], "did you mean 'mnist'"),
        (["--datasets", "mnist"], "have no dataset mnist"),
        (["--systems", "glow,tarflow"], "have no system tarflow"),
    ],
)
def test_a_name_that_nothing_was_measured_of_is_refused(metrics, capsys, narrowed, words):
    assert cli.main(["check", "--accept", "first measurements"]) == 0
    assert cli.main(["check", *narrowed]) == 2
    assert words in capsys.readouterr().err


def test_a_system_that_was_not_measured_on_a_dataset_is_refused_there(metrics, capsys):
    """Real images were, whatever the system."""
    assert cli.main(["check", "--accept", "first measurements"]) == 0
    real = metrics.iloc[:1].assign(system="real")
    elsewhere = metrics[metrics["system"] == "glow"].assign(dataset="mnist")
    write_metrics(pandas.concat([elsewhere, real]))
    pandas.concat([elsewhere, real]).to_csv("reports/reference/quick/metrics.csv", index=False)
    capsys.readouterr()
    assert cli.main(["check", "--systems", "glow", "--datasets", "digits"]) == 2
    assert "have none of these systems on these datasets" in capsys.readouterr().err


def test_a_scale_that_no_file_names_is_asked_for(metrics, capsys):
    for content in ("device: auto\n", "# nothing\n", "- quick\n"):
        Path("config/config.yaml").write_text(content)
        for command in ("check", "plan"):
            assert cli.main([command]) == 2
            assert "config/config.yaml: scale: is missing" in capsys.readouterr().err


def test_narrowed_command_misses_nothing_else(metrics, capsys):
    assert cli.main(["check", "--accept", "first measurements"]) == 0
    others = metrics[metrics["system"] == "glow"].assign(system="flowpp")
    reference = pandas.concat([metrics, others])
    reference.to_csv("reports/reference/quick/metrics.csv", index=False)
    assert cli.main(["check"]) == 1
    assert "missing" in capsys.readouterr().out
    assert cli.main(["check", "--systems", "glow"]) == 0
    assert cli.main(["check", "--systems", "flowpp"]) == 1
    assert cli.main(["check", "--datasets", "digits", "--systems", "glow"]) == 0
    assert cli.main(["check", "--systems", "glow", "--accept", "a part"]) == 2
