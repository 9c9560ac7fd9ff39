"""Whether a text is in English, as far as its letters and commonest words tell (NLP-9).

The scorers know English only; elsewhere they must abstain. No model: scripts, diacritics, and function words
of the languages most written in the Latin script. It errs to English on texts of a few words that are on no
list.
"""

import unicodedata
from functools import cache

from nlp.wording import analyser, emoji_names, words

WORDS_READ = 40

_ENGLISH = """
a about after again all also always am an and any anyone are as at away back be because been before
being best better but by can can't cant could day did didn't didnt do does doesn't doesnt doing don't
dont down dude even ever every everyone everything feel for from get gets getting go going gonna gotta
got guys had happy has have haven't having he he's her here hey hi him his how i i'd i'll i'm i've if
idk im imo in into is isn't it it's its just keep kinda know last let let's lets life like lmao lol look
looks lot love made make makes many maybe me mean more morning most much must my need never new next
night nice not nothing now of off oh ok okay old omg on one only or other our out over people pls please
really right said say see she she's should shouldn't so some someone something soon still stop sure take
than thank thanks that that's thats the their them then there there's these they they're thing things
think this those though through thx time to today tomorrow tonight too true u until up ur us very wait
wanna want wants was wasn't watch watching way we we're week well went were what what's when where which
while who whole why will wish with without won't work world would wouldn't wow wtf y'all yay yeah year
years yep yes yesterday you you'll you're you've your yours
"""
_OTHERS = {
    "Spanish": """
        el los las una unos que de por para con pero como está esta este estoy eres soy son muy más mas
        también cuando donde porque qué cómo sí yo tú nosotros ellos hola gracias buenos buenas noches
        días mi mis su sus le lo al del ya todo todos nada bien siempre hoy mañana ayer feliz amigo
        quiero tengo tiene hay fue ser hacer vamos esto eso nunca mucho mucha muchas
    """,
    "Portuguese": """
        os uma umas que de por para com mas como está este esta estou muito mais também quando onde
        porque não sim eu você vocês nós eles olá obrigado obrigada bom boa dia noite meu minha seu sua
        ao dos das já tudo nada bem sempre hoje amanhã ontem feliz quero tenho tem foi ser fazer vamos
        isso isto pra tá ele ela gente saudade
    """,
    "French": """
        le les une des que qui de du pour avec mais comme est sont était suis es très plus aussi quand
        où parce pas ne oui non je tu il elle nous vous ils elles bonjour merci bonne nuit mon ma mes
        ton ta son sa ses au aux ce cette ça déjà tout tous rien bien toujours aujourd'hui demain hier
        veux j'ai c'est qu'il n'est ai avoir être fait sur dans chez salut moi toi
    """,
    "German": """
        der das den dem des ein eine einen einem einer und oder aber wie ist sind bin bist sehr mehr
        auch wenn wo weil nicht kein keine ja nein ich du er sie es wir ihr hallo danke guten gute nacht
        mein meine dein deine sein seine im auf für mit von zu zum zur schon alles nichts gut immer
        heute morgen gestern habe hat haben hatte wird werden kann geht noch nur mal dich mich mir dir
    """,
    "Italian": """
        il gli una che di da per con ma come è sono sei molto più anche quando dove perché non sì io tu
        lui lei noi voi loro ciao grazie buongiorno buona notte mio mia tuo tua suo sua nel nella del
        della dei delle al alla già tutto tutti niente bene sempre oggi domani ieri voglio ho hai ha
        abbiamo fatto questo questa quello cosa
    """,
    "Dutch": """
        het een en maar als zijn ben bent heel meer ook wanneer waar omdat niet geen ja nee ik jij je
        hij zij wij jullie hallo dank bedankt goed goede nacht mijn jouw zijn van voor met naar bij uit
        al alles niets altijd vandaag morgen gisteren heb heeft hebben wordt worden kan gaat nog dat dit
        deze wel zo lekker leuk
    """,
    "Turkish": """
        bir ve ama gibi çok daha için ile bu şu ne neden nerede değil evet ben sen biz siz onlar merhaba
        teşekkürler teşekkür iyi geceler benim senin var yok her şey hep bugün dün istiyorum güzel mi da
        ki
    """,
    "Polish": """
        jest są jestem nie tak się na do dla ale jak bardzo więcej też kiedy gdzie dlaczego ja ty ona
        oni cześć dziękuję dzień dobry dobranoc mój moja już wszystko nic dobrze zawsze dziś jutro
        wczoraj chcę mam ma było być co czy że to w z
    """,
    "Indonesian": """
        yang dan di ke dari untuk dengan tapi tetapi seperti adalah sangat lebih juga kapan dimana
        karena tidak nggak gak bukan ya saya aku kamu dia kita kami mereka halo terima kasih selamat
        pagi malam ini itu sudah semua baik selalu hari besok kemarin mau ada bisa banget lagi
    """,
    "Swedish": """
        och men som är var jag du han hon vi ni de mycket mer också när där eftersom inte ingen ja nej
        hej tack god natt min mitt din ditt på för med från till redan allt inget bra alltid idag
        imorgon igår har hade blir kan att det den ett
    """,
    "Tagalog": """
        ang ng mga sa ko mo ka ako ikaw siya kami tayo sila hindi oo po naman lang pero kasi salamat
        magandang umaga gabi mahal kita ito iyan ano bakit wala meron na talaga
    """,
}


@cache
def _english() -> frozenset[str]:
    return frozenset(_ENGLISH.split())


@cache
def _others() -> dict[str, tuple[str, ...]]:
    """Return for each word the languages that it speaks for; words that English has too speak for none."""
    found: dict[str, tuple[str, ...]] = {}
    for language, said in _OTHERS.items():
        for word in set(said.split()) - _english():
            found[word] = (*found.get(word, ()), language)
    return found


def is_english(text: str) -> bool | None:
    """Return whether the text is English; None if it has no words.

    What is held against it: other scripts, function words of another language, letters that English has not.
    For it: English function words and words of VADER's lexicon.
    """
    said = words(text)[:WORDS_READ]
    if not said:
        return None
    if not text.isascii() and _mostly_other_script(said):
        return False
    english, others, lexicon = _english(), _others(), analyser().lexicon
    plainly = sum(word in english for word in said)
    felt = sum(word in lexicon for word in said)
    votes: dict[str, int] = {}
    for word in said:
        for language in others.get(word, ()):
            votes[language] = votes.get(language, 0) + 1
    against = max(votes.values(), default=0) + sum(not word.isascii() for word in said)
    if against:
        return plainly + felt / 2 > against
    return plainly + felt > 0 or len(said) < 5


def _mostly_other_script(said: list[str]) -> bool:
    letters = [letter for word in said for letter in word if letter.isalpha()]
    other = sum(not letter.isascii() and "LATIN" not in unicodedata.name(letter, "") for letter in letters)
    return other * 4 > len(letters)


def has_emoji(text: str) -> bool:
    """Return whether one of the emoji that VADER can name is there."""
    names = emoji_names()
    return not text.isascii() and any(letter in names for letter in text)
