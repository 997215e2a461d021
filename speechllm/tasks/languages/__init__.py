"""Languages by their codes: ISO 639-1 ("de"), 639-3 ("deu") and with a region ("pt-BR", "sv_SE").

Prompts name languages, corpora and manifests have codes. The list is ISO 639-1, 183 languages, each
with its code of three letters. A folder, since each file of this room is a task.
"""

import re
from functools import cache

from speechllm.config import suggest

# code, code of three letters, name in English
_ISO_639 = """
aa aar Afar;ab abk Abkhazian;ae ave Avestan;af afr Afrikaans;ak aka Akan;am amh Amharic
an arg Aragonese;ar ara Arabic;as asm Assamese;av ava Avaric;ay aym Aymara;az aze Azerbaijani
ba bak Bashkir;be bel Belarusian;bg bul Bulgarian;bi bis Bislama;bm bam Bambara;bn ben Bengali
bo bod Tibetan;br bre Breton;bs bos Bosnian;ca cat Catalan;ce che Chechen;ch cha Chamorro
co cos Corsican;cr cre Cree;cs ces Czech;cu chu Church Slavic;cv chv Chuvash;cy cym Welsh
da dan Danish;de deu German;dv div Divehi;dz dzo Dzongkha;ee ewe Ewe;el ell Greek;en eng English
eo epo Esperanto;es spa Spanish;et est Estonian;eu eus Basque;fa fas Persian;ff ful Fulah
fi fin Finnish;fj fij Fijian;fo fao Faroese;fr fra French;fy fry Western Frisian;ga gle Irish
gd gla Scottish Gaelic;gl glg Galician;gn grn Guarani;gu guj Gujarati;gv glv Manx;ha hau Hausa
he heb Hebrew;hi hin Hindi;ho hmo Hiri Motu;hr hrv Croatian;ht hat Haitian;hu hun Hungarian
hy hye Armenian;hz her Herero;ia ina Interlingua;id ind Indonesian;ie ile Interlingue;ig ibo Igbo
ii iii Sichuan Yi;ik ipk Inupiaq;io ido Ido;is isl Icelandic;it ita Italian;iu iku Inuktitut
ja jpn Japanese;jv jav Javanese;ka kat Georgian;kg kon Kongo;ki kik Kikuyu;kj kua Kuanyama
kk kaz Kazakh;kl kal Kalaallisut;km khm Khmer;kn kan Kannada;ko kor Korean;kr kau Kanuri
ks kas Kashmiri;ku kur Kurdish;kv kom Komi;kw cor Cornish;ky kir Kyrgyz;la lat Latin
lb ltz Luxembourgish;lg lug Ganda;li lim Limburgish;ln lin Lingala;lo lao Lao;lt lit Lithuanian
lu lub Luba-Katanga;lv lav Latvian;mg mlg Malagasy;mh mah Marshallese;mi mri Maori
mk mkd Macedonian;ml mal Malayalam;mn mon Mongolian;mr mar Marathi;ms msa Malay;mt mlt Maltese
my mya Burmese;na nau Nauru;nb nob Norwegian Bokmål;nd nde North Ndebele;ne nep Nepali
ng ndo Ndonga;nl nld Dutch;nn nno Norwegian Nynorsk;no nor Norwegian;nr nbl South Ndebele
nv nav Navajo;ny nya Chichewa;oc oci Occitan;oj oji Ojibwa;om orm Oromo;or ori Odia;os oss Ossetian
pa pan Punjabi;pi pli Pali;pl pol Polish;ps pus Pashto;pt por Portuguese;qu que Quechua
rm roh Romansh;rn run Rundi;ro ron Romanian;ru rus Russian;rw kin Kinyarwanda;sa san Sanskrit
sc srd Sardinian;sd snd Sindhi;se sme Northern Sami;sg sag Sango;si sin Sinhala;sk slk Slovak
sl slv Slovenian;sm smo Samoan;sn sna Shona;so som Somali;sq sqi Albanian;sr srp Serbian
ss ssw Swati;st sot Southern Sotho;su sun Sundanese;sv swe Swedish;sw swa Swahili;ta tam Tamil
te tel Telugu;tg tgk Tajik;th tha Thai;ti tir Tigrinya;tk tuk Turkmen;tl tgl Tagalog;tn tsn Tswana
to ton Tonga;tr tur Turkish;ts tso Tsonga;tt tat Tatar;tw twi Twi;ty tah Tahitian;ug uig Uyghur
uk ukr Ukrainian;ur urd Urdu;uz uzb Uzbek;ve ven Venda;vi vie Vietnamese;vo vol Volapük
wa wln Walloon;wo wol Wolof;xh xho Xhosa;yi yid Yiddish;yo yor Yoruba;za zha Zhuang;zh zho Chinese
zu zul Zulu
"""
# Names that data sets use besides those.
_ALSO = {
    "mandarin": "zh", "mandarin chinese": "zh", "farsi": "fa", "castilian": "es", "flemish": "nl",
    "oriya": "or", "panjabi": "pa", "uighur": "ug", "pushto": "ps", "sinhalese": "si",
    "moldavian": "ro", "modern greek": "el", "haitian creole": "ht", "norwegian bokmal": "nb",
}  # fmt: skip


@cache
def table() -> dict[str, tuple[str, str]]:
    """Map every code, of two and three letters, to (code of two letters, name)."""
    languages = {}
    for line in re.split("[;\n]", _ISO_639.strip()):
        short, long, name = line.split(" ", 2)
        languages[short] = languages[long] = (short, name)
    return languages


def code(language: str) -> str:
    """Return the code of two letters: "de" of "deu", "DE" and "de-AT".

    Raises:
        ValueError: there is no such language.
    """
    return _find(language)[0]


def name(language: str) -> str:
    """Return the name in English: "German" of "de".

    Raises:
        ValueError: there is no such language.
    """
    return _find(language)[1]


def from_name(language: str) -> str | None:
    """Return what a manifest says of a language that a data set calls "German" or "de_DE".

    A code stays as it is, a name in English becomes its code; None where it is neither.
    """
    language = str(language).strip()
    words = language.lower().replace("-", " ").replace("_", " ")
    if words in _names():
        return _names()[words]
    return language if re.split("[-_]", language)[0].lower() in table() else None


@cache
def _names() -> dict[str, str]:
    """Map names in English, in small letters, to codes."""
    return {name.lower(): short for short, name in table().values()} | _ALSO


def _find(language: str) -> tuple[str, str]:
    main = re.split("[-_]", str(language))[0].lower()
    if main in table():
        return table()[main]
    codes = _names()
    if main in codes:
        raise ValueError(f"language {language!r}: wanted its code, {codes[main]!r}")
    hint = suggest(main, codes).split("?")[0].replace("did you mean", "is it")
    near = f"; {hint}?" if hint.startswith("is it") else ""
    raise ValueError(
        f"no language has the code {language!r}; wanted ISO 639, as 'en' or 'deu'{near}"
    )
