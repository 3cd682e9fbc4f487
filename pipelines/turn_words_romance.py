"""The words of French, Spanish, Italian and Portuguese that tell whether a sentence is over."""

from pipelines.turn_lexicon import Lexicon, phrases, words

FRENCH = Lexicon(
    hangs=words(
        "le la les un une des du de d' l' mon ma mes ton ta tes son sa ses notre nos votre vos",
        "leur leurs ce cet cette ces et ou mais que qu' si quand comme donc car puis à au aux",
        "dans en sur sous pour par chez sans entre vers pendant depuis qui dont je j' on ne n' me",
        "m' te t' se s' c' lorsque lorsqu' puisque quel quelle quels quelles très parce soit",
        "quelque quelques chaque plusieurs",
    ),
    leans=words(
        "est sont suis a ai as ont était étais il elle tu nous vous avec alors aussi où comment",
        "pourquoi juste même prochain prochaine premier première autre deux trois ni",
    ),
    opens=phrases(
        "je voudrais,j' aimerais,je veux,est ce que,est ce qu',est ce que tu peux,pouvez vous,"
        "peux tu,tu peux,vous pouvez,pourriez vous,il faut,j' ai besoin,je cherche,il y a,"
        "par exemple,c' est à dire,à quelle heure,et puis,et alors,attends,attendez,un instant,"
        "une seconde,un moment,voyons,laisse moi réfléchir,laissez moi réfléchir,je veux dire,"
        "j' ai,j' aurais,tu sais,vous savez,en fait,du coup,c' est à"
    ),
    fillers=words("euh heu hum hm ben bah hein mh"),
    answers=phrases(
        "oui,non,si,ouais,d' accord,ok,okay,bien,très bien,merci,bonjour,salut,au revoir,stop,rien,"
        "peut être,bien sûr,voilà,exactement,pourquoi,qui,quoi,où,quand,comment,ah bon,oui merci,"
        "non merci,c' est tout,c' est bon,ça va,pas du tout,moi aussi,je sais,allez y,vas y,"
        "s' il te plaît,s' il vous plaît,je ne sais pas,je sais pas,oui s' il vous plaît,c' est ça"
    ),
    closes=words(
        "plaît merci pas demain hier maintenant aujourd' hui soir matin ici là ça tout bien aussi",
        "heures personnes moi toi",
    ),
    questions=words(
        "quel quelle quels quelles qui que quoi où quand comment pourquoi combien qu'",
    ),
    inversions=words("est peux pouvez tu vous as avez"),
    subordinators=words("si quand parce comme lorsque lorsqu' puisque alors s'"),
    digits=words("zéro un deux trois quatre cinq six sept huit neuf"),
    numbers=words(
        "dix onze douze treize quatorze quinze seize vingt trente quarante cinquante soixante",
        "cent",
    ),
    dictations={"numéro": 7, "téléphone": 7, "carte": 12, "postal": 5, "code": 4, "compte": 6},
    at=words("arobase @ at"),
    dot=words("point"),
    stranded=words("où comment pourquoi qui quand"),
    subjects=words("je j' tu il elle on nous vous ils elles c' ça"),
    elides=True,
    starters=words("alors et mais euh bon ben oui non donc ah oh"),
)

SPANISH = Lexicon(
    hangs=words(
        "el la los las un una unos unas de del al a en con por para sin sobre entre hasta desde",
        "mi tu su mis tus sus nuestro nuestra nuestros nuestras y e o u pero porque que si cuando",
        "donde como lo se me te le les nos muy aunque mientras pues entonces sino ni yo este esta",
        "estos estas ese esa cada algún alguna quien cuyo según contra hacia",
    ),
    leans=words(
        "es son está están fue era ha he han hay más también solo primero próximo próxima otro",
        "otra qué cómo dónde cuándo quién dos tres soy estoy estaba",
    ),
    opens=phrases(
        "quiero,quisiera,me gustaría,necesito,me puedes,puedes,podrías,podría,puede,me podría,"
        "tengo que,voy a,es que,lo que,por ejemplo,o sea,es decir,espera,espere,un momento,"
        "un segundo,a ver,déjame pensar,déjame ver,a qué hora,busco,estoy buscando,quería,"
        "el problema es,quiero decir,me dices,la verdad"
    ),
    fillers=words("eh em mmm hm este hum mm ehm"),
    answers=phrases(
        "sí,si,no,vale,ok,okay,bien,muy bien,gracias,hola,adiós,nada,claro,exacto,perfecto,quizás,"
        "por qué,quién,qué,dónde,cuándo,cómo,de acuerdo,por supuesto,sí por favor,si por favor,"
        "no gracias,eso es todo,ya está,yo también,no sé,no lo sé,por favor,para,stop,tal vez,"
        "muchas gracias,de nada,eso es,así es"
    ),
    closes=words(
        "favor gracias hoy mañana ayer ahora luego aquí allí también bien noche todo nada",
        "personas",
    ),
    questions=words(
        "qué que cómo como dónde cuándo quién cuánto cuánta cuántos cuál cuáles por",
    ),
    inversions=words("puedes puede tienes tiene hay vienes quieres sabes"),
    subordinators=words("si cuando porque aunque mientras como"),
    digits=words("cero uno un dos tres cuatro cinco seis siete ocho nueve"),
    numbers=words(
        "diez once doce veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien",
    ),
    dictations={
        **{"número": 7, "teléfono": 7, "tarjeta": 12, "postal": 5, "código": 4, "cuenta": 6},
    },
    at=words("arroba @"),
    dot=words("punto"),
    starters=words("pues y pero bueno eh sí no entonces ah oh"),
)

ITALIAN = Lexicon(
    hangs=words(
        "il lo la i gli le l' un uno una un' di d' del dell' della dello dei degli delle a al",
        "all' alla allo ai agli alle da dal dalla dall' in nel nella nell' con su sul sulla per",
        "tra fra e ed o oppure ma perché che se quando come mio mia miei mie tuo tua suo sua",
        "nostro nostra mi ti si non molto io questo questa quel quella ogni qualche quindi c'",
        "dove",
    ),
    leans=words(
        "è ho ha hai abbiamo era anche poi solo più prossimo prossima primo altro due",
    ),
    opens=phrases(
        "vorrei,mi puoi,mi puoi dire,puoi,può,potresti,potrebbe,mi può dire,devo,voglio,"
        "ho bisogno,sto cercando,per esempio,cioè,aspetta,aspetti,un attimo,un momento,vediamo,"
        "fammi pensare,a che ora,il problema è,volevo"
    ),
    fillers=words("ehm eh uhm mmm hm allora"),
    answers=phrases(
        "sì,si,no,ok,okay,va bene,bene,grazie,ciao,niente,certo,esatto,perfetto,forse,perché,chi,"
        "cosa,dove,quando,come,d' accordo,sì grazie,no grazie,basta,è tutto,anche io,non lo so,"
        "non so,per favore,stop,arrivederci,prego,sì per favore"
    ),
    closes=words(
        "favore grazie oggi domani ieri adesso ora qui bene così tutto niente due",
    ),
    questions=words(
        "che cosa chi dove quando come perché quanto quanta quanti quale quali",
    ),
    inversions=words("puoi può hai sei vuoi"),
    subordinators=words("se quando perché siccome mentre"),
    digits=words("zero uno due tre quattro cinque sei sette otto nove"),
    numbers=words(
        "dieci venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento",
    ),
    dictations={"numero": 7, "telefono": 7, "carta": 12, "postale": 5, "codice": 4, "conto": 6},
    at=words("chiocciola @"),
    dot=words("punto"),
    elides=True,
    starters=words("allora e ma beh sì no eh ehm quindi"),
)

PORTUGUESE = Lexicon(
    hangs=words(
        "o a os as um uma uns umas de do da dos das em no na nos nas com por pelo pela para pra",
        "pro ao à aos às sem sobre entre até desde e ou mas porque que se quando como onde meu",
        "minha meus minhas seu sua seus suas nosso nossa muito eu me te lhe então este esta esse",
        "essa cada algum alguma nem embora enquanto",
    ),
    leans=words(
        "é são está estou foi era há tem tenho também só mais próximo próxima outro ele",
    ),
    opens=phrases(
        "eu queria,queria,quero,eu quero,gostaria,você pode,você pode me,pode,poderia,preciso,"
        "eu preciso,estou procurando,por exemplo,quer dizer,ou seja,espera,um momento,"
        "deixa eu ver,deixa eu pensar,a que horas,tenho que,o problema é"
    ),
    fillers=words("é-hum hum hm ahn eh mmm hã"),
    answers=phrases(
        "sim,não,ok,okay,tá,tá bom,bom,obrigado,obrigada,olá,oi,tchau,nada,claro,certo,exato,"
        "perfeito,talvez,por quê,quem,onde,quando,como,sim por favor,não obrigado,não obrigada,"
        "isso,é isso,só isso,eu também,não sei,por favor,para,muito obrigado,muito obrigada"
    ),
    closes=words(
        "favor obrigado obrigada hoje amanhã ontem agora aqui bem tudo nada também",
    ),
    questions=words(
        "que o qual quais quem onde quando como quanto quanta quantos por",
    ),
    inversions=words("você pode tem quer"),
    subordinators=words("se quando porque embora enquanto como"),
    digits=words(
        "zero um uma dois duas três quatro cinco seis meia sete oito nove",
    ),
    numbers=words(
        "dez vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cem",
    ),
    dictations={
        **{"número": 7, "telefone": 7, "cartão": 12, "cep": 8, "código": 4, "conta": 5},
    },
    at=words("arroba @"),
    dot=words("ponto"),
    starters=words("então e mas bom é sim não eh hum"),
)
