"""Language codes: two and three letters, regions, names, and what is no code."""

import pytest

from speechllm.tasks import languages


def test_codes_and_names():
    for given in ("de", "deu", "DE", "de-AT", "de_DE"):
        assert (languages.code(given), languages.name(given)) == ("de", "German")
    assert languages.code("zh-CN") == "zh" and languages.name("sv-SE") == "Swedish"
    # CoVoST 2 and MuST-C
    codes = "fr de es ca it ru zh pt fa et mn nl tr ar sv lv sl ta ja id cy en ro cs vi".split()
    assert [languages.code(code) for code in codes] == codes


def test_the_table_is_iso_639_1():
    short = {key: row for key, row in languages.table().items() if len(key) == 2}
    assert len(short) == 183 and len(languages.table()) == 2 * 183
    assert all(key == row[0] for key, row in short.items())
    assert len({name for _, name in short.values()}) == 183


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("xx", "no language has the code 'xx'; wanted ISO 639"),
        ("german", "language 'german': wanted its code, 'de'"),
        ("Germn", "code 'Germn'.*is it .german."),
        ("", "no language has the code ''"),
    ],
)
def test_no_code(given, says):
    with pytest.raises(ValueError, match=says):
        languages.code(given)
