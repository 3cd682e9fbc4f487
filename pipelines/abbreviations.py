"""What a stop may belong to in a language, besides the end of a sentence: abbreviations and
ordinal numbers."""
# ruff: noqa: RUF001 - Cyrillic abbreviations are meant as they stand

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words in lower case, abbreviations without their last stop.

    `never`: something always follows. `unless`: the sentence goes on if a small letter or a digit
    follows. `starters`: words that begin sentences, and are no part of names. `ordinals`: a number
    with a stop may be an ordinal; then `before_ordinals` come before it.
    """

    never: frozenset[str]
    unless: frozenset[str]
    starters: frozenset[str]
    ordinals: bool
    before_ordinals: frozenset[str]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


MONTHS = _set(
    "jan feb mär mar apr mai maj jun jul aug sep okt oct nov dez dec des led úno bře dub kvě čer "
    "srp zář říj lis pro sty lut kwi cze lip sie wrz paź gru ene mag giu lug ago set ott dic "
    "tam hel maa huh tou kes hei elo syy lok mar jou"
)
"""How the names of months begin, in languages that write `3. October`."""

_ORDINALS = _set("de da nb nn no fi cs sk pl hu hr sl sr bs et lv lt tr is fo lb")

_NEVER = {
    "en": "mr mrs ms mx dr prof st mt ft messrs gen rep sen gov pres lt col sgt capt cmdr maj adm "
    "rev hon fr supt insp e.g i.e vs viz cf approx esp incl excl",
    "de": "dr prof hr fr frl dipl ing mag st z.b d.h u.a i.d.r z.t s.o s.u o.ä u.ä v.a m.e i.d "
    "bzw ca vgl evtl ggf ggfs inkl exkl zzgl sog bspw insb geb gest jun u.u d.i",
    "fr": "mme mlle mm mr dr me mgr pr st ste p.ex c.-à-d c.à.d cf env",
    "es": "sr sra srta sres dr dra d dña prof profa lic arq ing gral ud uds vd vds p.ej p.e aprox "
    "av avda",
    "it": "sig sigg sig.ra sig.na dott dott.ssa prof prof.ssa avv ing arch geom on rev p.es ad.es "
    "spett gent egr",
    "pt": "sr sra srta dr dra prof profa eng exmo exma p.ex av",
    "nl": "dhr mevr mw drs dr ir ing mr prof ds bijv d.w.z m.n o.a t.a.v v.d ca resp",
    "sv": "t.ex d.v.s bl.a dr prof ca resp s.k",
    "da": "f.eks bl.a dvs dr prof ca hr fru",
    "pl": "np tzn tj dr prof inż mgr ks św płk gen",
    "cs": "např tj tzv dr prof ing mgr p sv cca",
    "ru": "г-н г-жа т.е т.к напр проф др ул",
}

_UNLESS = {
    "en": "no nos fig figs vol vols p pp ch sec sect art para eq ed eds ver inc ltd co corp jr sr "
    "etc al est dept govt temp appt assn misc univ ave blvd rd min max avg "
    "tel ext jan feb mar apr jun jul aug sep sept oct nov dec "
    "mon tue tues wed thu thur thurs fri sat sun oz lb lbs ph.d m.d b.a m.a hr hrs",
    "de": "nr nrn abb bd bde s abs art kap ziff tel str pl usw usf etc u.s.w min max std mio mrd "
    "tsd stk jh jhd n.chr v.chr co jr sr jan feb mär apr jun jul aug sep sept okt nov dez",
    "fr": "no n° p pp art chap fig vol éd etc tél bd av janv févr avr juil sept oct nov déc apr ex",
    "es": "ej núm nro n.º pág págs art cap fig vol ed etc tel cía ee.uu ene feb abr ago sept oct "
    "nov dic",
    "it": "n pag pagg art cap fig vol ecc tel es gen feb mar apr mag giu lug ago set ott nov dic",
    "pt": "n.º pág págs art cap fig vol ed etc tel cia ltda jan fev abr ago set out nov dez",
    "nl": "nr nrs blz p art hfst fig enz etc tel jl a.s n.chr v.chr",
    "sv": "nr s kap osv m.m m.fl etc tel kl",
    "da": "nr s kap osv m.m mv etc tlf kl",
    "pl": "nr s str ul pkt itd itp tel godz r w m.in al pl",
    "cs": "č čís str kap obr atd apod tel hod r ul",
    "ru": "стр рис табл им гл руб коп тыс млн млрд и.т.д т.д т.п",
}

_STARTERS = {
    "en": "the a an this that these those it its it's he she he's she's i i'm i've i'd i'll we "
    "we're they they're you you're your my our his her their there there's here but and or so if "
    "in on at by for from to with as when while where what why how who which then than however "
    "also although because since after before now once do does did is are was were have has can "
    "could would should will may please yes no not let let's some many most all every each one "
    "another other meanwhile still yet",
    "de": "der die das den dem des ein eine einen einem er sie es ich wir ihr du man und aber oder "
    "denn doch wenn als dann da dort hier so was wer wie wo warum nach vor bei mit von zu zur zum "
    "in im am an auf für aus um über ist sind war hat haben kann alle diese dieser dieses sein "
    "seine auch nun jetzt danach außerdem ja nein",
    "fr": "le la les l un une des ce cet cette ces il elle ils elles on je j nous vous tu et mais "
    "ou donc si quand dans en sur à au aux pour par avec sans après avant puis ensuite c'est c d "
    "qui que quoi comment pourquoi où oui non son sa ses leur",
    "es": "el la los las un una unos unas este esta esto ese esa él ella ellos ellas yo nosotros "
    "usted y pero o si cuando en de por para con sin después antes luego entonces es son fue hay "
    "no sí también su sus qué quién cómo",
    "it": "il lo la i gli le l un uno una questo questa quello lui lei loro io noi voi e ma o se "
    "quando in di da per con su dopo prima poi è sono c'è non sì anche che chi come",
    "pt": "o a os as um uma este esta isto esse ele ela eles elas eu nós você e mas ou se quando "
    "em de por para com depois antes então é são foi há não sim também seu sua no na",
    "nl": "de het een dit dat deze die hij zij ze ik we wij jij je u en maar of als toen dan in op "
    "bij voor na met van te is zijn was er hier daar ook nu wat wie hoe waarom ja nee",
}

_BEFORE_ORDINALS = {
    "de": "der die das dem den des am im vom zum zur beim bis ab seit jeder jede jedes jeden ein "
    "eine einen einem eines ihr ihre sein seine seinen mein meine unser unsere ins ans",
    "da": "den det de",
    "nb": "den det de",
}


_ORDINARY = _set("on me mag mm ing ca")
"""Abbreviations of one language that are common words of another."""

_PARTICLES = _set("de la le di da du der den des el las los o e")
"""Words that begin sentences in one language and belong to names in others."""


@cache
def lexicon(language: str | None) -> Lexicon:
    """For a tag such as `de-at`; None, or a language without a table: of all languages."""
    code = (language or "").replace("_", "-").split("-")[0].lower()
    if code not in _NEVER:
        return Lexicon(
            never=_words(_NEVER, set(_NEVER)) - _ORDINARY,
            unless=_words(_UNLESS, set(_UNLESS)),
            starters=_words(_STARTERS, set(_STARTERS)) - _PARTICLES,
            ordinals=True,
            before_ordinals=_set("der dem den vom zum beim"),
        )
    # English comes with every language: its titles and names are written in all of them.
    languages = {code, "en"}
    return Lexicon(
        never=_words(_NEVER, languages),
        unless=_words(_UNLESS, languages),
        starters=_words(_STARTERS, languages),
        ordinals=code in _ORDINALS,
        before_ordinals=_words(_BEFORE_ORDINALS, {code}),
    )


def _words(table: dict[str, str], languages: set[str]) -> frozenset[str]:
    return frozenset(word for language in languages for word in table.get(language, "").split())
