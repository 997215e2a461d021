"""One table in five layouts: the same cells in each, and none of them markup."""

import csv
import io
import re

from speechllm.report import layouts
from speechllm.report.layouts import Table

TABLE = Table("By kind & size", ("model", "WER %"), [("a_b|<c>", "3.62"), ("d", "12")], 1, "A note")


def test_the_same_cells_in_each_layout():
    rows = list(csv.reader(io.StringIO(layouts.comma(TABLE))))
    assert rows == [["model", "WER %"], ["a_b|<c>", "3.62"], ["d", "12"]]
    plain = layouts.text(TABLE).splitlines()
    assert plain[2:5] == ["model    WER %", "a_b|<c>   3.62", "d           12"]
    marked = layouts.markdown(TABLE)
    assert "| a_b\\|&lt;c> | 3.62 |" in marked and "| --- | ---: |" in marked
    tex = layouts.latex(TABLE)
    assert r"a\_b|<c> & 3.62 \\" in tex and r"WER \%" in tex and r"By kind \& size" in tex
    page = layouts.html(TABLE)
    assert "<td>a_b|&lt;c&gt;</td>" in page and '<td class="n">3.62</td>' in page
    assert all("A note" in text for text in (tex, page, marked, "\n".join(plain)))


def test_tex_has_no_sign_of_its_own():
    assert layouts._tex(r"a\b~^{}") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}\{\}"
    assert re.fullmatch(r"\w+", TABLE.slug)
