"""Results and pictures of experiments: RESULTS.md and one HTML page, written by nobody's hand.

from speechllm import report
report.results(["exp/mini"], out="RESULTS.md", page="report.html",
               declared={"100h": "./run.sh --set 100h"})
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path


def results(
    exp_dirs: Sequence[str | Path],
    out: str | Path | None = None,
    page: str | Path | None = None,
    declared: Mapping[str, str] | None = None,
    title: str = "Results",
    seeds: bool = False,
    spent: Mapping[str, Mapping[str, float]] | None = None,
    benchmark: str | Path | None = None,
) -> str:
    """Collect experiments and write RESULTS.md and the page of pictures.

    Args:
        exp_dirs: folders of experiments; one that holds nothing yet is listed as "not run".
        out: file for the Markdown, or None.
        page: file for the HTML page, or None.
        declared: configurations that exist, name -> command; those without an experiment of that
            folder name are listed as "not run".
        title: of both.
        spent: folder -> what was counted besides, `tflop` and `mfu`, for the table of cost.
        seeds: the experiments are one configuration under several seeds; refuse others.
        benchmark: folder that `speechllm benchmark` wrote, whose tables stand in the Markdown too.

    Returns:
        The Markdown.

    Raises:
        ValueError: a file of an experiment is broken (named, with line), or nothing can be written.
    """
    from speechllm import files
    from speechllm.report import collect, markdown
    from speechllm.report import page as pages
    from speechllm.report import seeds as spread

    declared = dict(declared or {})
    experiments = [
        replace(one, run={**one.run, **(spent or {}).get(str(folder), {})})
        for folder, one in zip(exp_dirs, collect.read_all(exp_dirs), strict=True)
    ]
    names = {e.name for e in experiments}
    for k, experiment in enumerate(experiments):
        if experiment.state == "not run":
            command = declared.get(experiment.name, "")
            experiments[k] = collect.Experiment(experiment.name, None, command=command)
    experiments += [
        collect.Experiment(name, None, command=command)
        for name, command in declared.items()
        if name not in names
    ]
    if seeds:
        spread.rows(experiments, strict=True)
    text = markdown.write(experiments, title, _tables(benchmark) if benchmark else "")
    if out is not None:
        files.write_text(Path(out), text)
    if page is not None:
        files.write_text(Path(page), pages.write(experiments, title, Path(page)))
    return text


def _tables(benchmark: str | Path) -> str:
    """Read what `speechllm benchmark` wrote for people.

    Raises:
        ValueError: it has not been there, or the file holds no table of it.
    """
    path = Path(benchmark, "benchmark.md")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; wanted a folder of `speechllm benchmark --out`")
    text = path.read_text(encoding="utf-8")
    if "\n## Results\n" not in text:
        raise ValueError(f"{path}: no results in it; `speechllm benchmark` writes it anew")
    return text
