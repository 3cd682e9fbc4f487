"""The words of English, German and Dutch that tell whether a sentence is over."""

from pipelines.turn_lexicon import Lexicon, phrases, words

ENGLISH = Lexicon(
    hangs=words(
        "a an the my your our their its and or but because if whether than although though unless",
        "i we he they i'm i'd i'll i've we're we'll you're it's he's she's they're there's that's",
        "what's who's where's how's gonna wanna gotta let's very into onto upon toward every each",
        "such like as until since while which who whose where when why so then could would should",
        "been being some of",
    ),
    leans=words(
        "is are was were am be has had have will can she his her that this these those also just",
        "maybe actually basically really how what more first next other another two three",
    ),
    opens=phrases(
        "can you,could you,would you,can i,could i,may i,can we,tell me,can you tell me,i want,"
        "what i mean is,i need,i would like,give me,show me,send me,do you have,how about,"
        "what about,i was,"
        "kind of,sort of,you know,i mean,the thing is,for example,such as,there is,there are,"
        "let me think,let me see,hold on,one moment,one second,just a second,hang on,wait,"
        "give me a second,first of all,so that,the one,a lot of,as well as,what time,how much"
    ),
    fillers=words("um uh uhm erm er hmm hm mm ah well"),
    answers=phrases(
        "yes,yeah,yep,no,nope,okay,ok,sure,right,exactly,great,fine,thanks,thank you,hello,hi,hey,"
        "bye,goodbye,stop,cancel,nothing,maybe,never mind,of course,not really,i see,why,who,what,"
        "where,when,how,really,go on,next,yes please,no thanks,no thank you,that's it,i do,it is,"
        "i am,sorry,pardon,got it,so what,me too,continue,next one,mm hmm,uh huh,i think so"
    ),
    closes=words(
        "please thanks thank okay ok now today tomorrow tonight yesterday later again too anyway",
        "though right here there it them me him you one ones time home",
    ),
    questions=words(
        "what who where when why how which whose what's who's where's how's when's",
    ),
    inversions=words(
        "do does did is are was were can could would will should have has am may don't isn't",
        "aren't can't won't",
    ),
    subordinators=words(
        "if when because although while unless since before after as once until",
    ),
    digits=words(
        "zero oh one two three four five six seven eight nine double triple",
    ),
    numbers=words(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty",
        "thirty forty fifty sixty seventy eighty ninety hundred",
    ),
    dictations={"phone": 7, "card": 12, "number": 6, "zip": 5, "code": 4, "pin": 4, "account": 6},
    at=words("at @"),
    dot=words("dot"),
    stranded=words("to from for with at about by"),
    particles=words("in on over"),
    particle_verbs=(
        *("turn", "switch", "put", "come", "log", "going", "get", "plug", "sign", "check", "hold"),
        *("fill", "join", "start", "mov", "bring", "carry", "what"),
    ),
    subjects=words(
        "i you he she it we they there i'm i'd i'll you're it's he's she's we're let's",
    ),
    starters=words("so well and but okay ok um uh like yeah yes no oh"),
)

GERMAN = Lexicon(
    hangs=words(
        "der die den dem des ein eine einen einem einer eines kein keine keinen mein meine meinen",
        "meinem meiner dein deine deinen deinem deiner sein seine seinen seinem seiner ihre ihren",
        "ihrem ihrer unser unsere unseren unserem unserer euer eure und oder aber weil dass daß",
        "ob wenn als denn sondern obwohl bevor nachdem damit falls von für ohne gegen nach bei",
        "durch seit zwischen über unter neben hinter wegen während bis im am zum zur vom beim ins",
        "ans ich wer wo wann warum wieso welche welcher welches welchen dieser diese diesen",
        "diesem entweder weder sehr jede jeden jeder",
    ),
    leans=words(
        "das ist sind war waren bin hat habe haben wir er sie es wie was noch auch nur schon",
        "eigentlich vielleicht also dann so nächste nächsten erste ersten letzte letzten andere",
        "anderen ganz gestern um zwei drei ihr",
    ),
    opens=phrases(
        "ich möchte,ich möchte gern,ich möchte gerne,ich hätte gern,ich hätte gerne,ich würde gern,"
        "ich würde gerne,kannst du,kannst du mir,können sie,können sie mir,könnten sie,könntest du,"
        "ich brauche,ich will,ich suche,gibt es,zum beispiel,das heißt,und dann,moment,moment mal,"
        "einen moment,warte,warte mal,mal sehen,lass mich überlegen,und zwar,das heißt,ich wollte,"
        "weißt du,wissen sie,ich meine,das problem ist"
    ),
    fillers=words("äh ähm öh hm hmm mh em eh tja naja"),
    answers=phrases(
        "ja,nein,nee,doch,okay,ok,gut,genau,klar,alles klar,danke,vielen dank,bitte,hallo,tschüss,"
        "stopp,stop,nichts,vielleicht,natürlich,richtig,super,warum,wer,was,wo,wann,wie,wieso,weiter,"
        "ja gerne,ja gern,ja bitte,nein danke,ach so,verstehe,echt,wie bitte,gerne,gern,das war's,"
        "mm hm,ich auch,stimmt,auf wiedersehen,das war es,weiß ich nicht"
    ),
    closes=words(
        "bitte danke heute morgen später wieder nicht hier da jetzt okay oder gerne los egal",
        "wiederholen ja mal",
    ),
    questions=words(
        "was wer wo wann warum wieso wie welche welcher welches wohin woher wem wen",
    ),
    inversions=words(
        "ist sind hast hat haben kannst kann können könnten könntest willst wollen darf musst",
        "gibt kommst kommt gehst weißt wohnst bist",
    ),
    subordinators=words(
        "wenn weil als obwohl bevor nachdem damit falls während da sobald dass",
    ),
    digits=words(
        "null eins ein zwei zwo drei vier fünf sechs sieben acht neun doppel",
    ),
    numbers=words(
        "zehn elf zwölf zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert",
    ),
    dictations={
        **{"telefonnummer": 7, "handynummer": 7, "nummer": 6, "kartennummer": 12},
        **{"postleitzahl": 5, "kundennummer": 5, "kontonummer": 6, "pin": 4, "code": 4, "iban": 16},
    },
    at=words("at ät @ klammeraffe"),
    dot=words("punkt"),
    particles=words("an auf aus mit zu vor in ab ein um nach bei"),
    particle_verbs=(
        *("ruf", "mach", "komm", "schalt", "geh", "nimm", "nehm", "fang", "fäng", "hör", "schau"),
        *("sieh", "seh", "zieh", "zieht", "lies", "les", "stell", "steh", "bring", "pass", "denk"),
        *(
            "gib",
            "geb",
            "stimm",
            "schlag",
            "leg",
            "schließ",
            "leih",
            "fall",
            "fäll",
            "biet",
            "meld",
        ),
        *("lad", "bereit", "wach", "räum", "hol", "sag", "fahr", "fähr", "spiel", "tausch"),
    ),
    subjects=words("ich du er sie es wir ihr man das"),
    modals=words(
        "kann kannst können könnt könnte könntest könnten muss musst müssen müsste soll sollen",
        "sollte sollten darf dürfen würde würden",
    ),
    infinitives=("en", "ern", "eln", "tun", "sein", "los", "weg", "hin", "raus", "rein", "nicht"),
    starters=words("also und aber ja nein okay äh ähm naja gut na oh"),
)

DUTCH = Lexicon(
    hangs=words(
        "de een mijn jouw zijn haar onze ons hun en of maar omdat want als toen hoewel voordat",
        "nadat zodat van naar voor bij door om te tot tegen zonder tussen tijdens sinds ik wij we",
        "wie waar wanneer waarom welke deze die elke heel zeer dus ten ter wiens",
    ),
    leans=words(
        "het is was dat heb heeft ben er hoe wat ook nog alleen eerst volgende andere me",
    ),
    opens=phrases(
        "ik wil,ik wil graag,ik zou graag,ik zou,kun je,kun je me,kan je,kunt u,kan ik,mag ik,"
        "ik heb,ik zoek,ik wilde,ik moet,bijvoorbeeld,dat wil zeggen,wacht,wacht even,momentje,"
        "even kijken,even denken,een moment,en toen,hoe laat,het probleem is"
    ),
    fillers=words("eh ehm uh uhm hm mmm nou"),
    answers=phrases(
        "ja,nee,oké,ok,okay,goed,prima,dank je,dank u,bedankt,hallo,hoi,doei,niets,natuurlijk,"
        "precies,klopt,misschien,waarom,wie,wat,waar,wanneer,hoe,ja graag,nee dank je,nee bedankt,"
        "dat was het,stop,ik ook,weet ik niet,alsjeblieft,ja hoor,graag gedaan,tot ziens"
    ),
    closes=words(
        "alsjeblieft alstublieft graag bedankt vandaag morgen gisteren nu hier daar niet uur gaan",
    ),
    questions=words("wat wie waar wanneer waarom hoe welke"),
    inversions=words("kun kan is heb heeft ben mag wil ga"),
    subordinators=words("als omdat toen hoewel voordat nadat zodat terwijl"),
    digits=words("nul een één twee drie vier vijf zes zeven acht negen"),
    numbers=words(
        "tien elf twaalf twintig dertig veertig vijftig zestig zeventig tachtig negentig honderd",
    ),
    dictations={"nummer": 7, "telefoonnummer": 7, "postcode": 4, "rekeningnummer": 8, "code": 4},
    at=words("apenstaartje @ at"),
    dot=words("punt"),
    particles=words("in op aan uit mee af over met"),
    particle_verbs=(
        *("doe", "zet", "bel", "kom", "ga", "neem", "sta", "maak", "trek", "houd", "hou", "val"),
        *("geef", "roep", "leg", "schakel", "log"),
    ),
    subjects=words("ik je jij hij ze zij we wij het u men"),
    starters=words("dus en maar ja nee nou eh oké"),
)
