"""Split text into sentences, in any language.

Sentences are spoken one by one, so a wrong split is audible and a missing one is not: in doubt a dot ends nothing. The
language of a text is detected by its function words, where it matters.

Abbreviations ("Dr.", "z. B.", "млн.") apply in all languages at once. One that is a word in another language (German
"mind." is English "mind") counts only in a text of its language, or before a digit. The lists are written by hand, from
grammars and style guides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

_WIDE = "。｡．！？।॥។៕။።፧።։"  # need no space after them: Chinese, Japanese, Indic, Khmer, Burmese, Ethiopic, Armenian
_MARKS = frozenset(f".!?…‼⁇⁈⁉‽؟۔᙮᠃᱿{_WIDE}")
_CLOSERS = "\"'”’»›)]}｝」』）】》〉〕］"
_BRACKETS = {"）": "（", ")": "(", "】": "【", "〕": "〔", "］": "［", "]": "[", "}": "{", "｝": "｛"}
_TWO_SIDED = {"“": "„", "‘": "‚", "«": "»", "‹": "›"}  # they close in German, after these openers
_OPENERS = "\"'“‘«‹([{¿¡„‚»›「『（【《〈〔［｛—–―-•· "
_NEVER_FIRST = re.compile(r"[,;:%](?:\s|$)|[)\]}”、，；：）」』】》〉]")
_BEHIND = 80  # characters searched before a mark: words are shorter
_AHEAD = 60  # characters searched after it


class _Mark(NamedTuple):
    """A run of marks with the closers that belong to them: `?!”`, `…)。`, `。」`, in French `! »`."""

    start: int
    end: int
    marks: str
    closers: str
    is_closed: bool  # whether a closer is the last of it


class _Place(NamedTuple):
    """The context of a mark: the text around it, and the possible languages of the text."""

    before: str  # of the sentence
    mark: _Mark
    after: str
    following: str  # the next word
    is_whole: bool  # whether `before` is all of the sentence
    languages: frozenset[str]


def split(text: str) -> tuple[str, ...]:
    """Return the sentences of a text in order: the whole text except spaces between them.

    `text` has single spaces and no line breaks. The time is linear in its length.
    """
    spoken = languages(text)
    found = []
    first = searched = 0
    has_words = False  # in the current sentence
    for mark in _marks(text):
        has_words = has_words or any(map(str.isalnum, text[searched : mark.start]))
        searched = mark.end
        if has_words and _ends(_place(text, first, mark, spoken)):
            found.append(text[first : mark.end].strip())
            first = mark.end
            has_words = False
    return tuple(part for part in (*found, text[first:].strip()) if part)


def _place(text: str, first: int, mark: _Mark, languages: frozenset[str]) -> _Place:
    begin = max(first, mark.start - _BEHIND)
    after = text[mark.end : mark.end + _AHEAD]
    word = re.match(r"[^\s.,;:!?…。、！？)\"”»]+", after.lstrip(_OPENERS))
    return _Place(text[begin : mark.start].lstrip(), mark, after, word[0] if word else "", begin == first, languages)


def _marks(text: str) -> Iterator[_Mark]:
    end = 0
    for match in re.finditer(f"[{re.escape(''.join(sorted(_MARKS)))};]", text):
        start = match.start()
        if start < end or (match[0] == ";" and not _is_greek(text[start - 1 : start])):
            continue
        end, marks, closers = start + 1, match[0], ""
        while end < len(text):
            char = text[end]
            if char in _MARKS:
                marks += char
            elif char in _CLOSERS or (char in _TWO_SIDED and _is_open(text, start, _TWO_SIDED[char], char)):
                closers += char
            elif text[end : end + 2] == " »" and _is_open(text, start, "« ", "»"):  # as in French
                closers += "»"
                end += 1
            elif re.match(r" \.(?![\w.]*\w)", text[end : end + 3]):  # ". . ."
                marks += "."
                end += 1
            else:
                break
            end += 1
        yield _Mark(start, end, marks, closers, end - start > 1 and text[end - 1] not in _MARKS)


def _is_open(text: str, at: int, opener: str, closer: str) -> bool:
    """Return whether a quotation is open at a position."""
    before = text[max(0, at - 1000) : at]
    return before.rfind(opener) > before.rfind(closer)


def _is_greek(char: str) -> bool:
    return "\u0370" <= char <= "\u03ff" or "\u1f00" <= char <= "\u1fff"


def _ends(place: _Place) -> bool:
    mark, after = place.mark, place.after.lstrip()
    is_wide = any(char in _WIDE for char in mark.marks)
    if not after or _NEVER_FIRST.match(after) or (not is_wide and not place.after.startswith(" ")):
        return False
    if is_wide and place.before[-1:].isdigit() and after[0].isdigit():
        return False  # "３．５"
    if _is_open(place.before, len(place.before), "《", "》"):
        return False  # a title
    begins = after.lstrip(_OPENERS)[:1]
    if _has_cases(begins) and begins.islower() and not place.following[1:2].isupper():  # except "iPhones"
        return False
    if mark.is_closed and not _has_cases(begins) and _continues(place, after):
        return False
    kind = unicodedata.normalize("NFKC", mark.marks)
    if kind == ".":
        return not _is_short(place)
    if set(kind) == {"."} and place.before.endswith(" "):  # a pause: "Well … I think"
        return _starts(place) and place.following != "I"
    return True


def _has_cases(char: str) -> bool:
    """Return whether sentences of its script begin with a capital; Georgian has capitals, but not there."""
    return char.lower() != char.upper() and not "\u10d0" <= char <= "\u10ff"


def _continues(place: _Place, after: str) -> bool:
    """Return whether the sentence continues after a quotation or an aside, in a script without capitals."""
    opener = _BRACKETS.get(place.mark.closers[-1])
    if _PARTICLES.match(after):
        return True
    if opener:
        outside, is_found, _ = place.before.rpartition(opener)
        return bool(is_found) and any(map(str.isalnum, outside)) and place.mark.marks[-1] not in ".．"
    return bool(_SPEAKS.match(after))


# Continuations of a sentence after a quotation: particles of Japanese, Korean and Chinese, and verbs of speech.
_NO_PARTICLES = (  # words that begin sentences and look like a particle
    "ところ|とて|とに|とう|とつ|とも|とり|とき|はい|はじ|はや|はる|はは|でも|では|でき|だから|だが|だって|だけど|だめ|だれ|もう|もし"
    "|もち|もっ|もと|のち|のん|にわ|にっ|にや|かれ|かの|かつ|かな|やが|やっ|やは|やあ|へえ|へん|からす|からだ|がっ|がん"
)
_PARTICLES = re.compile(
    f"(?!{_NO_PARTICLES})(?:[とはがをにもでのへかやだ]|って|です|など|から|まで|より|なんて|みたい|くらい|ぐらい|ばかり)"
    "|하고|이?라고|이?라는|이?라며|이?라면서|하며|[的地得之]"
)
_SPEAKS = re.compile(
    "[^。！？，,.!?…：:]{0,8}[说說道喊問问叫答嚷吼](?![：:])"
    "|[^。！？、,.!?…]{0,12}(?:[言云](?:った|う|って)|叫んだ|聞いた|尋ねた|答えた|つぶやいた|呟いた|囁いた|怒鳴った)"
    "|[^.!?…]{0,16}(?:말했|말하|물었|외쳤|외치|대답했|소리쳤|속삭였)"
    r"|[فو]?(?:قال|صاح|سأل|أجاب|همس|هتف|صرخ|رد)(?:ت|وا|ا)?(?!\w)"
    r"|(?:[^\s.!?।؟۔]+ ){0,3}(?:گفت|پرسید|فریاد|پاسخ|کہا|پوچھا|कहा|पूछा|बोला|बोली|चिल्लाया)(?!\w)"
    r"|(?:אמר|שאל|צעק|ענ|לחש)(?:ה|ו|תה)?(?!\w)"
)


# Abbreviations

_ELISION = re.compile(r"(?:[ldnsmtcj]|qu|un|dell|all|dall|nell|sull|quell|quest)['’](?=\w)", re.IGNORECASE)
_COUNTED = re.compile(r"[#(]?\d{1,2}(?:\.(?:0?[1-9]|1[0-2])|(?:st|nd|rd|th)?)|[IVXL]{2,}")  # "3", "24.12", "XIV"
_ENDINGS = frozenset(
    ("com", "org", "net", "edu", "gov", "info", "io", "ai", "py", "js", "ts", "md", "txt", "html", "pdf")
)
_VOWELS = frozenset("aeiouyøæœıαεηιουωаеёиоуыэюяіїє")


def _is_short(place: _Place) -> bool:
    """Return whether a single dot belongs to the word before it, so that the sentence continues."""
    words = place.before.split()
    token = words[-1] if words else ""
    token = _ELISION.sub("", token.lstrip(_OPENERS))
    word = unicodedata.normalize("NFKC", re.split(r"[-–/(\"]", token)[-1])
    is_first = place.is_whole and not place.before.lstrip(_OPENERS).removesuffix(word)
    if re.fullmatch(r"\d{1,3}|[A-Za-z]|[IVX]+|[ivx]+", word) and (is_first or place.mark.closers == ")"):
        return True  # "1. Open the box.", "a.) Close it."
    if _COUNTED.fullmatch(word):
        return _is_ordinal(place, words)
    if re.fullmatch(r"\d{4}", word):  # "1848. Március 15-én", "2020. 3. 5."
        return bool(re.match(r" \d{1,2}\.", place.after)) or place.following in lists().months
    dotted = _dotted(word, words)
    if dotted:
        starts = _starts_after_name(place) if dotted.isupper() and "." not in word else _starts(place)
        return dotted.casefold() in lists().never or not starts
    letters = [char for char in word if not unicodedata.combining(char) and unicodedata.category(char) != "Mc"]
    if len(letters) == 1 and letters[0].isalpha():
        return _is_initial(place, letters[0], words)
    if len(word) == 2 and word[0] == word[1] and word.isupper():
        return not _starts(place)  # the plural in Spanish: "EE. UU.", "FF. AA."
    return bool(word) and _is_listed(place, word)


def _dotted(word: str, words: list[str]) -> str:
    """Return a word such as `U.S`, `z.B`, `Ph.D`, or letters spaced as in "z. B", else ""."""
    parts = word.split(".")
    if len(parts) > 1:
        is_short = all(0 < len(part) <= 3 and part[0].isalpha() for part in parts) and len(parts[0]) <= 2
        is_name = parts[-1] in _ENDINGS  # of a file or a place in the net
        return word if is_short and not is_name else ""
    chain = [word] if len(word) == 1 and word.isalpha() else []
    for before in reversed(words[:-1]):
        letter = before.lstrip(_OPENERS)
        if not chain or not (len(letter) == 2 and letter[0].isalpha() and letter[1] == "."):
            break
        chain.insert(0, letter[0])
    return ".".join(chain) if len(chain) > 1 else ""


def _is_ordinal(place: _Place, words: list[str]) -> bool:
    """Return whether a number with a dot is an ordinal: "am 3. Oktober", "Karel IV. byl", "5. 3. 2020"."""
    if re.match(r"\d+\b", place.following):
        return True
    named = words[-2].strip(_OPENERS + ".").casefold() if len(words) > 1 else ""
    begins = place.after.lstrip(_OPENERS)[:1]
    if named in lists().numbered or (len(words) > 1 and words[-2].isdigit()) or _starts(place):
        return False
    if not _has_cases(begins) and not "\u3040" <= begins <= "\ud7af":
        return False  # of the scripts without capitals, Chinese, Japanese and Korean date like this
    if _is_greek(begins):
        return False
    return bool(place.languages & WITH_ORDINALS) or not place.languages


def _is_initial(place: _Place, letter: str, words: list[str]) -> bool:
    if letter.islower() and _is_listed(place, letter):
        return True
    if letter.isupper():
        if letter == "I" and not (len(words) > 1 and words[-2][:1].isupper()):
            return False  # "It was I. He knew."
        return not _starts_after_name(place)
    if not letter.islower():
        return not "\u3040" <= letter <= "\ud7af"  # Arabic, Hebrew, Thai …, but no Chinese, Japanese, Korean
    if _starts(place):
        return False
    is_vowel = unicodedata.normalize("NFD", letter)[0] in _VOWELS  # a word in many languages
    return not is_vowel or bool(re.match(r"\w\.|\d", place.after.lstrip()))


def _is_listed(place: _Place, word: str) -> bool:
    known, small = lists(), word.casefold()
    is_number = bool(re.match(r"\d|[IVXLC]+\b", place.following))
    if word == "St" and re.search(r"\b[A-Z][a-z]+ St$", place.before) and _starts(place):
        return False  # a street: "10 Downing St. It has a door"
    if is_number and small in known.numbered:
        return True
    for table, may_end in ((known.never, False), (known.maybe, True)):
        for form in (word, small, word.title() if word.isupper() else small):
            languages = table.get(form)
            if languages is None or (may_end and _starts(place)):
                continue
            is_alone = place.is_whole and " " not in place.before and not may_end and not place.mark.closers
            if form not in known.words or is_alone or is_number or place.languages & languages:
                return True
    is_street = (len(small) > 4 and small.endswith("str")) or (is_number and re.fullmatch("[A-ZÆØÅ].+gt", word))
    return bool(is_street) and not _starts(place)  # "Hauptstr.", "Storgt. 5"


def _starts(place: _Place) -> bool:
    """Return whether the next word usually begins a sentence."""
    return place.following in lists().starters and not _is_abbreviated(place)


def _starts_after_name(place: _Place) -> bool:
    """Return the same after an initial, where "Le" and "Das" may be names."""
    return place.following in lists().english_starters and not _is_abbreviated(place)


def _is_abbreviated(place: _Place) -> bool:
    """Return whether the next word has a dot, too: "I. Newton", "No. 5"."""
    return bool(re.match(r"\w\.|\w+\. ?\d", place.after.lstrip(_OPENERS)))


# By language: abbreviations that never end a sentence, and those that may. An entry in small letters matches any case,
# another only itself.
_SHORT: Mapping[str, tuple[str, str]] = {
    "en": (
        "mr mrs ms mx dr prof profs Gen Col Lt Capt Cpt Cmdr Cdr Sgt Cpl Pvt Adm Maj Brig Sen Rep Gov Pres Hon"
        " Rev Fr msgr Supt Insp Det Amb atty attn messrs vs mt ft st ste approx incl excl esp viz cf eq"
        " e.g i.e Mt Ft St Ste a.k.a p.o Pfc Asst asst Assoc Sec Treas Ofc Prop Bp Abp Msgr",
        "etc inc ltd co corp llc plc bros jr sr esq dept univ assn natl intl est ext tel govt temp misc max appx"
        " Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun Ave Blvd Rd"
        " Ln Sq Hwy ave blvd rd hwy lb lbs oz yd hr hrs mins secs deg mph Ala Ariz Calif Colo Conn Fla Ill Ind Kan"
        " Ky Mass Mich Minn Mo Mont Neb Nev Okla Ore Penn Tenn Tex Va Wash Wis Wyo bldg rm ch pt",
    ),
    "de": (
        "hr hrn frl fr fa dr dres prof dipl ing inkl exkl einschl bzw ca evtl ggf zzgl abzgl vgl sog bspw beispw"
        " insb insbes bes geb gest verh bzgl betr lt gem resp nachm vorm gebr sg z.b d.h i.d.r u.u o.g s.o s.u m.e"
        " i.a z.t z.zt v.a i.v h.c a.s mag gegr durchschn österr schweiz u hrsg hg verf aufl jg bez ehem amtl engl"
        " frz franz lat griech urspr wg ugs allg kath städt staatl techn wiss südl nördl östl westl jew entspr tgl"
        " wchtl wöch monatl jährl red vors bgm ass mus stv med rer nat phil jur theol habil",
        "mio mrd mia std stk okt dez mär jän sept str usw uvm usf tel nr abt bhf jh jhd anm abb kap lfd ges mind"
        " max min mo di mi do sa so fr feb febr jan apr jun jul aug nov gr st u.a u.ä o.ä o.a chr mwst hbf kto ew"
        " blvd",
    ),
    "fr": (
        "mme mmes mlle mlles mgr me dr pr env cie boul bd av st ste p.ex c.-à-d n.d.l.r n.b tél mm cdt gal adj"
        " vve éts sté fg rte bât appt n.-d",
        "etc janv févr al avr juil sept oct nov déc chap art pag vol apr",
    ),
    "es": (
        "sr sra srta sres sras dr dra dña d excmo excma ilmo ilma lic prof profa ing arq ud uds vd vds aprox pág"
        " págs núm núms depto avda av pza urb gral cnel sto sta p.ej vs ee ff vda hnos tte cap sgto cdte pdte mtro"
        " dpto ntra fdo bco pte mons prov",
        "etc ene feb abr may jun jul ago sept oct nov dic izq dcha cía art cap vol uu aa tel ltda",
    ),
    "it": (
        "sig sigg dott avv ing arch geom rag egr gent spett on prof p.es s pag pagg cav comm mons fam amm dir"
        " pres gen col",
        "ecc genn febbr apr ag sett ott nov dic cap vol tav art tel num",
    ),
    "pt": (
        "sr srs sra sras dr dra prof profa exa exmo exma ilmo pe eng arq av trav p.ex aprox pág págs núm d cel gen alm",
        "etc fev abr mai jun jul ago set out nov dez art cap vol tel",
    ),
    "ca": ("sr sra dr dra av pl pàg núm p.ex", "etc art cap"),
    "nl": (
        "dhr mevr mw dr drs ir ing mr prof bijv evt jl plm t.a.v m.b.t d.w.z o.a i.p.v z.g.a.n gebr ds kol gen"
        " burg z.k.h h.k.h",
        "enz mln mld okt afb blz nr str jr sr m.m",
    ),
    "sv": (
        "tex bl dvs fil dir resp ev obs dr prof t.ex bl.a s.k f.d m.a.o d.v.s fr.o.m t.o.m",
        "kl kr mkr osv jfr milj m.m m.fl st nr",
    ),
    "da": ("hr fru fr dr prof ca evt bl adr f.eks bl.a dvs d.v.s t.eks pga", "kl kr osv mio mia nr m.m m.fl"),
    "nb": ("hr fru dr prof ca evt bl adr f.eks bl.a dvs d.v.s pga", "kl kr osv mill mrd nr m.m m.fl"),
    "fi": ("esim mm prof tri vrt os", "jne ym yms ks klo milj mrd n"),
    "is": ("hr dr nr t.d m.a þ.e", "kl o.s.frv bls"),
    "pl": (
        "np tzn tzw św ks ul prof mgr inż hab płk mjr gen rtm dr al pl os im red ok woj pow gm godz m.in zob kard"
        " abp bp wł pw",
        "tys mln mld zł gr sek itd itp nr str tel r w pon wt śr czw pt sob niedz",
    ),
    "cs": (
        "např tzv ing bc mgr mudr judr phdr rndr doc prof gen plk kpt por resp popř nám ul tř sv kr tj",
        "tis mil mld mlrd atd apod hod str tel č",
    ),
    "sk": (
        "napr tzv ing mgr mudr judr phdr rndr doc prof gen plk kpt por resp nám ul tr sv tj t.j",
        "tis mil mld mlrd atď apod hod str tel č",
    ),
    "hr": ("npr tj tzv ul gđa gđica gosp prof dr mr ing sv", "itd tis mil mlrd br str god sl"),
    "sl": ("npr tj t.j tzv ul ga gdč prof dr mag ing sv", "itd tis mio mrd št str ipd"),
    "sr": (
        "npr tj tzv ul gđa gosp prof dr mr ing нпр тј тзв др проф инж ул г",
        "itd tis mil mlrd br str god итд хиљ мил",
    ),
    "hu": ("pl ill ifj özv id gr dr prof ún vö kb", "stb ld db"),
    "ro": ("dl dna dra dr str ing arh acad prof bd nr ex", "etc mil mld lei alin lit pag et ap sc bl"),
    "tr": ("dr prof doç öğr yrd av sn bkz örn sok mah cad bul apt vs üniv ank", "vb yy mad tl"),
    "et": ("nt dr prof lk s.t", "jne jm"),
    "lv": ("piem prof dr", "utt u.c"),
    "lt": ("pvz doc prof dr akad t.y", "kt"),
    "sq": ("rr rruga dr prof p.sh", "etj"),
    "vi": ("tp pgs ts ths bs ks gs th", ""),
    "id": ("jl tn ny sdr yth bpk dr drs ir prof kh mis msl hlm kav kec kab", "dll dsb dst dkk"),
    "tl": ("gng bb kgg dr prof", ""),
    "sw": ("dkt bw prof", ""),
    "ru": (
        "гр ул им проф акад доц просп пр пер наб пл бул пос дер обл буд стр рис табл гл кв корп напр ср св гос"
        " ген рус англ инж тов кн ред изд т.е т.к т.н т.наз и.о полк лейт зав зам нач студ преп оз пгт эт каб чл"
        " член-корр мкр",
        "млн млрд трлн тыс руб долл коп янв февр апр авг сент окт нояб дек см тел мин сек т.д т.п др г в н.э гг вв",
    ),
    "uk": (
        "вул ім проф акад доц просп пл бул обл буд стор рис табл гл кв корп напр гр т.зв див",
        "млн млрд тис грн коп січ лют бер квіт трав черв лип серп вер жовт лист груд р ст т.д",
    ),
    "bg": ("гр ул бул проф доц инж стр напр св т.е т.нар", "млн млрд хил лв ст г и др"),
    "el": (
        "κος κα κκ δρ καθ δηλ αρ οδ λεωφ σελ βλ πρβλ στρ π.χ",
        "κτλ κλπ κά εκ χλμ ιαν φεβρ απρ αυγ σεπτ οκτ νοεμ δεκ μ.χ π.μ μ.μ",
    ),
    "he": ("פרופ עמ מס גב מר אדר ברח שד", "וכו וגו"),
    "ar": ("ود وأ دك أد", "إلخ الخ"),
    "hi": ("डॉ प्रो श्री सुश्री श्रीमती कु पं स्व डा", "रु ई"),
    "bn": ("ডা ডঃ ড মো", ""),
    "ta": ("திரு டாக்டர்", ""),
    "te": ("డా శ్రీ", ""),
    "ur": ("ڈاکٹر", ""),
    "th": ("ดร รศ ผศ นพ พญ พล หม่อม บจก บมจ หจก กทม", ""),
}
# Abbreviations that are also words, of the same language or another: they are abbreviations in texts of a language that
# lists them, and before a digit.
_ALSO_WORDS = """
    abt acad adr al alt an apt art av bd bes bl bs bul cad cap ch co col cor da db del det di dir dl do ed eng en env
    eq er es est et ev ex ext fa fig fil fr ft gem gen ges geb gest god gr gral hr hab id ill im in inc int ir is jan
    jun jul kap kb kl kr ks kt la ld lei lic lit ln lt m mad mag mah mai mar mas max may me mi mia mil min mind mis mm
    mo mt nt ny od ok on os out p par pe pl por pos pow pr rag rd red rep resp ro sa sat se sek set sg si sig sl sn so
    sok sol st sta ste sto sun sv te tel temp tex tj tn tr tri ts tv uu val vb ver vol wed yd yy ag sett bc ree ff aa
    ee d s w r n no см др пр кн вер бер лист ст в г и р св ген пос пер u ap sc pt sob ass mus lat hg jg bez franz west
    comm fam pres gal adj pte prov mons apr bp полк оз зав ds burg wg rm ew allg med nat phil jur ank
"""
# Before a number these are abbreviations: "no. 5", "art. 5", "kl. 9"; or nouns that are counted: "page 5".
_NUMBERED = """
    no nr n nº n° núm num p pp s str art artt abs abb fig figs kap cap ch chap sec sect vol vols bd tab tbl eq par
    para § ziff anm pos rn pag pág págs blz bl pt pkt nos ed app rm bldg cols ver v kl klo sz ext tel max mind max.
    min hlm lk bls č et ap sc al int rp ברח kav стр рис гл п табл ст д кв корп оф буд с т № том σελ αρ κεφ ص عدد
    chapter page
    number part line figure section room version paragraph article step level day week grade apartment flat kapitel
    seite punkt paragraf artikel nummer zimmer teil zeile abschnitt stufe tag schritt hausnummer chapitre numéro
    partie étape capítulo página número parte artículo paso capitolo pagina numero articolo hoofdstuk deel sida sidan
    kapitlet side rozdział strona numer kapitola strana číslo bölüm sayfa розділ fejezet oldal глава страница номер
    пункт часть дом квартира сторінка
"""
# Words that begin sentences, and rarely follow an abbreviation inside one.
_STARTERS = """
    The It He She They We You I This That These Those Then There When Where What Who Why How But And So If In At On
    For My Our Your His Her Its Their After Before Because Although While Now Here Today Yesterday Tomorrow However
    Nobody Everyone Someone Some Many Most All Each Every One No Not Is Are Was Were Do Does Did Can Will Would Let
    Please Yes Er Sie Es Wir Ich Ihr Du Das Die Der Den Dem Ein Eine Dann Danach Dort Hier Heute Gestern Morgen Aber
    Und Doch Wenn Als Da Nun Jetzt Auch Nicht Man Wer Wie Wo Warum Mit Bei Nach Vor Aus Von Zu Im Am Auf Alle Viele
    Niemand Seine Ihre Il Elle Ils Elles Je Tu Nous Vous Ce C'est Cet Cette Ces Mais Et Puis Alors Quand Si Dans Après
    Le La Les Un Une Des El Los Las Él Ella Ellos Yo Tú Pero Cuando Como Este Esta Esto Eso Ahora Hoy Luego Después
    Entonces Aquí Allí Nadie En Lui Lei Loro Io Ma Poi Quando Allora Questo Questa Ora Oggi Qui Lo Gli Uno Ele Ela
    Eles Elas Eu Mas Depois Então Agora Hoje Aqui Isto Isso Não O A Os As Um Uma Hij Zij Ze Wij Het De Een Maar Dan
    Daar Toen Nu Dit Dat Ik Han Hon Hun Det Vi Jag Jeg Men Og Och Så Då Ett Hän Se Ne Me Minä Sinä Mutta Ja Sitten Nyt
    Tämä Ona Ono Oni Wy Ty To Ten Ta Te Ale Potem Tam Jest Są Był Była Było Nie Kiedy Gdy Dziś Byl Byla Bylo Pak Tady
    Když Jsem Jsou Žije Má Sú Bol Bola Potom Su Bio Bila Ali Tada Ovo Ő Ők Én Az Egy És Majd Ez Ea Ei Dar Apoi Acum
    Sunt Aici Bu Ben Sen Biz Siz Onlar Ama Ve Sonra Şimdi Он Она Они Оно Я Мы Вы Ты Это Этот Эта Но И А В На Когда
    Потом Тогда Там Здесь Сейчас Его Её Их Не Все Всё Где Что Кто Как Він Вона Вони Воно Ми Ви Ти Це Цей Ця Але І Коли
    Потім Тоді Тут Його Її Їх Де Що Хто Той Тя Те Аз Ние Вие Това Тази Този Сега Тук Αυτός Αυτή Αυτό Εγώ Εσύ Εμείς Το
    Ο Η Οι Τα Και Αλλά Τότε Τώρα Εδώ Εκεί
"""
_ENGLISH_STARTERS = """
    The It He She They We You This That These Those Then There When Where What Who Why How But And So If Now His Her
    Our My Your Their Its
"""
_MONTHS = """
    Január Február Március Április Május Június Július Augusztus Szeptember Október November December
"""  # Hungarian: it writes a dot after the year
# Languages that write "3." for "third".
WITH_ORDINALS = frozenset(
    ("de", "da", "nb", "fi", "is", "pl", "cs", "sk", "sl", "hr", "sr", "hu", "tr", "et", "lv", "lt")
)
# Function words of each language that few others have.
_SMALL_WORDS: Mapping[str, str] = {
    "en": "the and of to is was it that with for i like she he they his from are have this you not we at by her who"
    " what when never my there been would their has him by",
    "de": "der die das und ist nicht ein eine einen einem einer zu mit den dem von sich auf im wir ich es wird auch als"
    " wurde war am vom zum zur bei nach kam sind er sie haben hat für über uns dass aus seit",
    "fr": "le la les des et est un une du dans que qui pas il elle ils au aux avec pour sur sont ce ne se en où ont à"
    " été",
    "es": "el la los las y es un una del en que no se por con para su al está son muy pero más como a lo hay nació",
    "it": "il lo la gli le di e è un una del della che non si per con sono nel al da dei alla anche nacque disse",
    "pt": "o a os as e é um uma do da dos das em que não se por com para no na ao mais foi são mora vem",
    "nl": "de het een en van is niet dat op te zijn voor met aan ook maar wordt naar wonen dit ze bij kwam",
    "sv": "och är att det som en ett på av för med inte den till jag vi han hon har om var från kom åt",
    "da": "og er at det en et på af for med ikke den til jeg vi han hun har om var fra kom igen se",
    "nb": "og er at det en et på av for med ikke den til jeg vi han hun har om var fra kom sover feirer",
    "fi": "ja on ei se että hän oli ovat mutta kun niin myös tai joka tämä alkaa silloin syntyi kaunis",
    "is": "og er að það ekki sem til við hann hún var með fyrir frá eru",
    "pl": "i w na z nie się jest to do że o po są był przez jako dnia lub ale tak był mieszkają przy przyszedł",
    "cs": "a je na se v že s do to jsou byl byla ale jako pro který dne od přišli má narodil",
    "sk": "a je na sa v že s do to sú bol bola ale ako pre ktorý dňa od vzniklo",
    "sl": "in je na se v da z do so bil bila ali kot za ki dne od",
    "hr": "i je na se u da s do su bio bila ali kao za koji dana od nije ima živi",
    "hu": "a az és egy nem hogy is van volt meg de ez ha csak lakik mint",
    "ro": "și în la nu este un o de cu pe care din sunt au să mai are",
    "tr": "ve bir bu da de için çok ile ne gibi daha var ama oturuyor geldiler satılır bitti",
    "et": "ja on ei see et oli ta kui ka mis aga",
    "lv": "un ir nav ar no uz par kas bet lija dzima",
    "lt": "ir yra ne su iš į kad bet kaip gražus",
    "ca": "el la els les i és un una del amb que no per han són a en",
    "vi": "và là của có không được cho người một những",
    "id": "dan di yang itu ini tidak dengan untuk dari ke adalah tinggal sangat",
    "ru": "и в не на он она что это как с по из был за от но они его у там до я мы живёт стоит",
    "uk": "і в не на він вона що це як з по із був за від але вони його у там до я ми живе",
    "bg": "и в не на той тя че това как с по от беше за но те се да е са през живее",
    "sr": "и у не на он она да је се са за од али су живи у",
}


class Lists(NamedTuple):
    never: Mapping[str, frozenset[str]]  # abbreviation → its languages
    maybe: Mapping[str, frozenset[str]]
    words: frozenset[str]
    numbered: frozenset[str]
    starters: frozenset[str]
    english_starters: frozenset[str]
    months: frozenset[str]


@cache
def lists() -> Lists:
    """Return the lists, built on first use: a film without narration needs none of them."""
    tables: tuple[dict[str, set[str]], dict[str, set[str]]] = ({}, {})
    for language, forms in _SHORT.items():
        for table, words in zip(tables, forms, strict=True):
            for word in words.split():
                table.setdefault(word, set()).add(language)
    never, maybe = ({word: frozenset(found) for word, found in table.items()} for table in tables)
    plain = (frozenset(text.split()) for text in (_ALSO_WORDS, _NUMBERED, _STARTERS, _ENGLISH_STARTERS, _MONTHS))
    return Lists(never, maybe, *plain)


def languages(text: str) -> frozenset[str]:
    """Return the languages with most function words at the beginning of a text; none without any."""
    words = re.findall(r"[^\W\d_]+", text[:4000].lower())
    scores = {name: sum(word in small for word in words) for name, small in _small_words().items()}
    most = max(scores.values())
    return frozenset(name for name, score in scores.items() if score == most > 0)


@cache
def _small_words() -> Mapping[str, frozenset[str]]:
    return {name: frozenset(text.split()) for name, text in _SMALL_WORDS.items()}
