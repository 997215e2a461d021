"""The meter of energy against counters that go on, begin anew, or may not be read."""

from speechllm import energy


def test_what_counters_go_on_by_also_where_they_begin_anew(tmp_path):
    for name, values in {"intel-rapl:0": (900_000_000, 1_000_000_000), "intel-rapl:0:0": (1, 2),
                         "intel-rapl:1": (5_000_000, 2_000_000_000)}.items():  # fmt: skip
        (tmp_path / name).mkdir()
        for file, value in zip(("energy_uj", "max_energy_range_uj"), values, strict=True):
            (tmp_path / name / file).write_text(f"{value}\n")
    (tmp_path / "intel-rapl:2").mkdir()  # says nothing
    counters = energy.rapl(tmp_path)
    assert [largest for _, largest in counters] == [1000, 2000]
    with energy.Meter(counters) as meter:
        (tmp_path / "intel-rapl:0/energy_uj").write_text("950000000")
        meter.look()
        (tmp_path / "intel-rapl:0/energy_uj").write_text("20000000")  # 50 to its end, 20 more
        (tmp_path / "intel-rapl:1/energy_uj").write_text("8000000")
    assert meter.joules == 50 + 50 + 20 + 3


def test_a_machine_that_tells_nothing(tmp_path):
    assert energy.rapl(tmp_path) == []
    with energy.Meter([]) as meter:
        pass
    assert meter.joules is None
