"""English words and phrases for camera, motion, sound and habits in prompts. Data for `lint`; pure.

Word lists know no grammar: "crash" may be a noun. So they contain words that are rarely anything else; ambiguous words
count in one form only ("waves" is the sea, "waving" a motion), or after a pronoun ("he ties").
"""

from __future__ import annotations

import re
from functools import cached_property


def listed(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


class Phrases:
    """Patterns, one a line, as whole words in any case. Compiled on first use: most plans need none of them."""

    def __init__(self, lines: str) -> None:
        self.lines = lines

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        patterns = filter(None, map(str.strip, self.lines.splitlines()))
        return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)

    def search(self, text: str) -> re.Match[str] | None:
        return self.pattern.search(text)

    def sub(self, other: str, text: str) -> str:
        return self.pattern.sub(other, text)


def forms(verbs: str, wanted: str = "base s ing") -> frozenset[str]:
    """Return the forms of verbs (+ where "-ing" doubles a letter): spin+ → spin spins spinning."""
    found: set[str] = set()
    for marked in verbs.split():
        verb = marked.rstrip("+")
        stem = verb + verb[-1] if marked != verb else re.sub(r"(?<=[^eoy])e$", "", verb)
        stem = verb[:-2] + "y" if verb.endswith("ie") else stem
        third = verb + ("es" if re.search(r"(?:s|x|z|ch|sh|[^aeo]o)$", verb) else "s")
        third = verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else third
        by_name = {"base": verb, "s": third, "ing": stem + "ing"}
        found |= {by_name[form] for form in wanted.split()}
    return frozenset(found)


# Motion

# Verbs of motion: those that count in any form; those whose base form is often an adjective or a noun ("an open
# vault", "the lower half"); those that only "-ing" distinguishes from a noun ("waves", "locks", "streams of light").
# Verbs that describe a state ("glowing", "shining") are left out.
_ALWAYS = """
    accelerate advance amble ascend assemble awaken billow blink bob+ boil bounce brandish breathe bubble budge
    careen cascade cavort chase chew clamber climb coalesce collapse collide converge crawl creep cringe crisscross
    crouch crumble crumple cuddle curtsy dangle dart deflate descend detach dip+ disappear dismount disperse
    dissipate dissolve dive douse drag+ drench drift drip+ droop eject emerge encircle engulf enter erupt evaporate
    exhale expand explode extend fade fidget flail flap+ flatten flee flex flicker flinch fling flip+ flit+ float
    flow flutter fly follow fumble gallop gather gesticulate glide glitch gnaw grab+ grapple grow gyrate heave
    hesitate hiccup hobble hop+ hover hurl hurry hurtle ignite inch inflate inhale insert jitter jolt jostle juggle
    jump knead kneel launch lean leap lope lumber lunge lurch maneuver manoeuvre meander melt mend merge migrate
    morph move nestle nibble nod+ nosedive nudge nuzzle ooze orbit oscillate overflow paddle pedal peel peer
    pirouette pivot plod+ plummet plunge pounce pour prance preen pucker pull pulsate push quake radiate raise
    rearrange recede recoil refill retrace retract retreat reveal revolve ripple rise roam rotate rumple run+ rush
    saunter scamper scatter scoot scramble scribble scrub+ scurry scuttle seep separate settle shake shatter shimmy
    shiver shrink shrivel shudder shuffle sidle sift skid+ skim+ skitter slam+ slink slither slosh smash snatch
    sneak snuggle soar somersault spatter spill spin+ sprinkle sprint sputter squash squeeze squirm squirt squish
    stagger steer stomp straddle stride stroll strut stumble submerge surge swagger swat+ sway sweep swerve swim+
    swirl swivel swoop thaw thrash throb+ throw thrust tilt tinker tiptoe toddle topple totter tousle trample travel
    traverse tremble trickle trot+ trudge tuck tug tumble turn tweeze twirl twist uncoil uncork uncover uncurl
    undulate unfasten unfold unfurl unleash unlock unpack unravel unroll unscrew untangle unveil unwind unwrap+
    unzip+ upend vanish veer vibrate waddle wade walk wander waver weave whirl whisk wiggle wilt wince wobble
    wrestle wriggle writhe yank zigzag+ zoom
"""
_OFTEN = """
    approach arrive bend bloom break brighten bump burn burst carry carve catch chop+ circle close cook crash cross
    dab+ dance darken deepen dim+ dodge draw drive drum drum+ fall fill flare flash flick flood flop+ freeze frown
    gesture glance graze grimace grin+ gush hide hoist hug+ intensify jab+ jerk kick kiss lap+ lift lower march
    narrow nose open overtake pass pick pierce pinch plop+ pop+ practice practise press prowl puff pulse race reach
    ride roll rub+ scan+ scatter scrape scroll sew shift shimmer shoot shove shrug+ shut+ sing sink sip+ skip+ slide
    slip+ slow slump smear smile smirk smooth snap+ sniff spit+ splash split spray+ spread squat+ squint stir+
    stitch strain stretch strike stumble swallow swap+ swarm sweep swell swing swipe tackle tap+ tear thrash tie
    tighten toss trace trot twitch waft wag+ weave whip+ widen wink wipe work wrap+ write yawn
"""
_RARELY = """
    arc back bat beam beat bite blossom bow buckle burrow clap coil crack crane curl drag drop+ duck dust edge fan+
    fold form fuse hammer hurdle ice land lap leave lick line lock loop mount nose pant parade part perch point puff
    pump quiver rear rock rocket sail scale scoop shovel skate sketch slice snake spark spiral spray spring sprout
    stack stalk stamp steam step+ streak stream stroke strum+ sweat tap-dance tease touch track trail type usher
    vault wash wave wind wrinkle
"""
_PACE = """
    slowly quickly rapidly gradually steadily smoothly swiftly suddenly timelapse time-lapse hyperlapse
    upward downward
"""
_HURRY = """
    bolt careen chase crash dart dash erupt explode gallop hurtle lunge plummet race run+ rush scramble
    shatter sprint swoop tumble
"""
MOVES = forms(_ALWAYS) | forms(_OFTEN, "s ing") | forms(_RARELY, "ing") | listed(_PACE)
MOVES_AFTER_TO = forms(_OFTEN + _RARELY, "base")  # "begins to swing"; and after a plural, "the lights slide by"
MOVES_BEFORE_WAY = forms(_RARELY, "s") - {"leaves"}  # "rain streaks down"
WAYS = listed("across along around away back down into off out over past through toward towards under up")
FAST = forms(_HURRY) | listed("fast quickly rapidly frantically speeding high-speed")
# Words in -ing that are not motions: things, qualities, and verbs of state. Any other is a motion.
_NO_MOTION = """
    air-conditioning amazing anything appearing awning beginning being belonging belongings boring breathtaking
    building buildings casing ceiling ceilings charming clothing conditioning covering crossing curling decking
    dining drawing drawings dressing during earring earrings engraving engravings evening evenings everything
    exciting existing facing fascinating feeling fencing fishing flooring following footing framing gleaming
    glistening glittering glowing hanging heating holding housing including interesting inviting king landing
    leading leaning lettering lighting living longing looking lying marking markings missing molding morning
    mornings moulding nothing offspring opening outstanding overlooking painting paintings paneling panelling
    parking paving piping plumbing railing railings reading relaxing remaining resembling resting ring rings roofing
    rowing scaffolding seating seeming setting sewing shimmering shining siding sitting sky-king sling something
    sparkling spring standing staying stocking stockings striking string strings stunning surrounding surroundings
    swimming-pool swing thing things trending trimming underlying upholstering washing wearing wedding wing wings
    winning wiring working writing
"""
VERBS = forms(_ALWAYS, "s")  # rarely anything else
NO_MOTION = listed(_NO_MOTION)  # sounds are excluded separately
# Verbs that are not motions after a pronoun. Any other is a motion.
_STATES = """
    is was has does stands sits lies hangs rests remains stays looks seems appears wears holds shows contains covers
    surrounds glows shines faces reads feels knows thinks hopes wants wishes loves likes hates fears means needs costs
    belongs resembles consists features depicts captures includes
"""
ACTS = re.compile(
    rf"\b(?:he|she|it|who|camera)\s+(?:\w+ly\s+)?(?!(?:{'|'.join(_STATES.split())})\b)[a-z]{{2,}}s\b"
    rf"|\b(?:they|we|i)\s+(?:\w+ly\s+)?(?!are\b|were\b|have\b|look\b|seem\b|stand\b|sit\b|lie\b|feel\b)[a-z]{{3,}}\b",
    re.IGNORECASE,
)
STILL = Phrases(r"""
    motionless|immobile|unmoving|static|stationary
    nothing moves|no (?:camera )?(?:movement|motion|moves?)|(?:not|never) mov(?:e|es|ing)|without moving
    frozen in (?:time|place)|freeze[- ]frame
    (?:stands?|sits?|lies|remains?|stays?|perfectly|completely|absolutely|totally) still
    still (?:image|frame|photo|photograph|picture|shot|life)
""")

# Sound

_HEARD = """
    bark babble beep bellow bleat boom buzz cackle caw chant chatter cheer chime chirp chuckle clack clang clank
    clap+ clatter click clink cluck cough crackle creak croak croon crunch ding echo exclaim fizz gasp giggle groan
    growl grunt gulp gurgle hiss honk hoot howl hum+ jangle jingle knock laugh meow moan mumble murmur mutter
    narrate neigh patter ping plop+ pop+ purr quack rasp rattle resonate reverberate roar rumble rustle scream
    screech shout shriek sigh sing sizzle snarl sneeze snore snort sob+ speak splash squawk squeak squeal strum+
    swish swoosh talk thrum+ thud+ thump thunder tick tinkle toll trill twang wail wheeze whimper whine whinny whir+
    whirr whisper whistle whoop whoosh yell yelp
"""
_HEARD_RARELY = """
    bang beat crack crash drone drum+ hammer hear listen play pound ring say slam+ smash snap+ tap+ toot grind lap+
    slap+ call breathe
"""
_HEARD_OFTEN = """
    answer ask bang cry crash drone knock mention reply say shatter slam+ smash snap+ shush scrape scratch grind
    lap+ slap+
"""
_SOUND = """
    accordion acoustic alarm ambience ambiance applause audible audio bagpipes banjo bass bassline bell bells
    birdsong busker cellist cello choir chord chords clarinet conversation conversations cymbals dialog dialogue
    didgeridoo dj drumbeat drumbeats drummer drums fiddle fife flute flutist footfalls footstep footsteps foghorn
    gong gramophone guitar guitarist gunfire gunshot gunshots harmonica harp harpsichord hears heard heartbeat
    heartbeats hoofbeats hushed jazz jukebox laughter lullaby lute mandolin marimba melody music musical musician
    narration narrator noise noises oboe opera orchestra orchestral organ percussion pianist piano quartet ragtime
    radio sang sax saxophone saxophonist sfx silence silent silently singer siren sirens sitar snare sonar song
    songs soprano sound sounds soundscape soundtrack speech spoken synth synths synthesizer synthesiser synthwave
    tambourine timpani trombone trumpet trumpets tuba tune ukulele viola violin violinist violins vocals voice
    voiced voiceover voice-over voices xylophone fanfare breathing ovation whispering prayer prayers hymn anthem
    vocal vocalise beatbox beatboxing bugle bugles hoofbeat clarinets cornet glockenspiel vibraphone celesta lyre
    zither
"""
ONLY_SOUNDS = forms(_HEARD) | listed(_SOUND)
SOUNDS = ONLY_SOUNDS | forms(_HEARD_RARELY, "ing") | forms(_HEARD_OFTEN, "s")
SOUND_PHRASES = Phrases(r"""
    waves? (?:break|crash|lap|pound|beat|slap)\w*
    (?:break|crash|smash|slam|burst)\w* (?:on|onto|into|against|through|over)
    (?:swell|surge|shimmer|pluck|bed|wash) of (?:strings|brass|horns|synths?)
    strings (?:play|rise|swell|soar|hum|shimmer|pulse)\w*
    (?:low|deep|soft|faint|steady|dark|distant|ambient|synth|bass) (?:drone|pad|horn|rhythm)
    horns (?:blare|play|sound|swell)\w*
    (?:drum|electronic|steady|fast|slow|driving|heavy|techno|hip-hop|bass|80s|disco) beats?|beat drops?
    beats? per minute
    (?:music|radio|band|record|song|orchestra|instrument|flute|tune) plays?
    plays? (?:softly|quietly|loudly|a (?:song|tune|melody))
    (?:single|soft|high|low|long|last|final|first|piano|gentle|deep|clear) (?:note|notes|tone|tones)
    notes? (?:ring|fade|echo|hang)s?
    (?:breathes?|breathing|panting) (?:hard|heavily|loudly|fast)|heavy breathing|out of breath
    (?:cries|calls?|shouts|sings|speaks|yells) (?:out|over|to|into|back|in)|thunder(?:clap|s)?
    gusts? (?:howl|whistle|moan)\w*
    in (?:complete |total |near |utter )?(?:silence|quiet)|without a sound|no (?:sound|music|dialogue)|dead quiet
    clock strikes|(?:bell|phone|telephone|alarm|doorbell)s? rings?|(?:tone|volume) of voice|drops? (?:drum|patter)\w*
    (?:rain|hail|fingers|hooves|hoofs|fists|feet|woodpecker|hearts?) (?:drum|pound|beat|hammer|tap|lash)\w*
    (?:heart|pulse) beats
    (?:car|ship|train|air|far|distant|truck|bus|boat|hunting)'?s? horns?|horns?,? (?:blare|honk|shouts?|sound)\w*
    (?:bell|phone|chisel|hammer|anvil|voice|laughter|blade|tone|chord|shot)s? (?:\w+ )?rings?
    rings (?:out|in the|through)
    (?:calls?|shouts?|cries|whispers?) (?:a|her|his|their|the) (?:name|order)s?
    (?:loon|owl|crow|bird|gull|frog)s? calls?
    (?:cicadas?|whistles?|voices?|flutes?) shrills?|a hush|slaps? the (?:water|table|drum|planks?|deck)
    [a-z]+(?:,| and| or) (?:shouts|a bell|bells|voices|laughter|footsteps|sirens)
    [a-z]+s (?:bang|beat|call|clash|crack|crash|drone|drum|grind|lap|pound|ring|shout|slam|slap|smack|snap|tap)
    it rings
    (?:bells?|clocks?|phones?|telephones?|alarms?) (?:\w+ )?(?:rings?|strikes?|tolls?|counts?)
    (?:a|her|his|their) breath|breath,
    with an? (?:\w+ )?(?:bang|bump|clap|crack|crash|boom|slap|smack|snap|slam|shot|cry)
""")

# Camera

CAMERA = Phrases(r"""
    camera(?:s|work)?|cameraman|dashcam|bodycam|helmet[- ]cam|gopro|cctv|webcam|security footage|home video
    found footage
    doll(?:y|ies|ying)|truck(?:s|ing)? (?:left|right|sideways|in|out|shot)|tracking|crane[sd]? (?:up|down)|craning
    parallax
    pans|panning|pan (?:across|left|right|over|up|down|to)|(?:slow|whip|lateral|parallax|smooth|gentle) pan
    tilts? (?:up|down)|tilting (?:up|down)|tripod|microscope|over (?:his|her|their|its) shoulder
    (?!(?:gun|arrow|bullet|big|hot|single|the|a|one) )[a-z]+(?:-[a-z]+)* shot
    zooms?|zooming|orbiting|walk-in
    (?:tracking|crane|jib|aerial|drone|wide|long|medium|close|full|establishing|overhead|insert|beauty|hero|top) shot
    (?:static|tripod|dutch|point-of-view|over-the-shoulder|two|macro|push-in|handheld|steadicam|group|single) shot
    close-?up|extreme close|(?:extreme )?macro|microscop\w* view|selfie(?:-style)?|time-?lapse of
    (?:wide|close|tight|medium) (?:on|from|in|of|at)|(?:fixed|locked|high and|low and) wide|close view|locked frame
    (?:side|front|head)-on|(?:top|side|rear|front|overhead) view|from (?:above|below|overhead)
    (?:eye|knee|waist|chest|shoulder|hip|ground|floor|water|bench|counter|table|street|roof|head)[- ](?:level|height)
    (?:eye|knee|waist|chest|shoulder|hip|ground|floor|water|bench|counter|table|street|roof|head)[- ](?:high|up)
    hand-?held|steadicam|gimbal|locked[- ](?:off|down|frame)
    pov|point[- ]of[- ]view|first[- ]person|viewpoint|viewer|bird'?s[- ]eye|top-down|aerial view|drone footage
    (?:low|high|eye-level|wide|dutch|camera|three-quarter|worm's-eye) angle|over[- ]the[- ]shoulder
    (?:seen|filmed|viewed|shown|shot|watched|captured) (?:from|through|in|at|inside|over|up close|that)
    we (?:\w+ly )?(?:watch|follow|sink|glide|rise|drift|fly|move|circle|track|look|pass|float)
    (?:the|our|a|wide|side|top|rear|front) view (?:is|from|of|through|stays|remains)
    the (?:shot|frame|picture|view|image|perspective) (?:\w+ly )?(?:holds|rises|swings|sweeps)
    the (?:shot|frame|picture|view|image|perspective) (?:\w+ly )?(?:pans|moves|drifts|glides|sinks)
    the (?:shot|frame|picture|view|image|perspective) (?:\w+ly )?(?:widens|tightens|follows|tracks)
    the (?:shot|frame|picture|view|image|perspective) (?:\w+ly )?(?:turns|rotates|tilts|opens)
    the (?:shot|frame|picture|view|image|perspective) (?:\w+ly )?(?:pulls|pushes|closes|backs)
    the (?:shot|frame|picture|view|image|perspective) (?:\w+ly )?(?:settles|circles|creeps|scrolls)
    (?:slow|smooth|gentle|slight|steady|fast|lateral|sideways) (?:\w+ )?(?:slide|push|pull|orbit|drift)
    (?:slow|smooth|gentle|slight|steady|fast|lateral|sideways) (?:\w+ )?(?:glide|zoom|track|arc|sway)
    lens|telephoto|fisheye|anamorphic|depth of field|shallow focus
    rack(?:s|ing)? focus|(?:the )?focus (?:shifts|pulls|racks|follows|moves|settles)
    push(?:es|ing)?[- ]in|pull(?:s|ing)?[- ](?:back|out)
    orbits? around
    shot on|framed|framing|foreground|(?:out of|into|in|fills?|leaves?|enters?) (?:the )?(?:frame|screen)
""")
CAMERA_LORA = re.compile(r"camera|dolly|jib|orbit|zoom|static", re.IGNORECASE)
CAMERA_MOVES = Phrases(r"""
    camera\b[^.;]*\b(?:mov|push|pull|pan|tilt|doll|track|orbit|crane|glid|drift|ris|descend|arc|circl|follow)\w*
    camera\b[^.;]*\b(?:zoom|sweep|travel|lower|climb|slid|float|swing|rotat|turn|back|advanc|eas|creep|reveal)\w*
    camera\b[^.;]*\b(?:tip|lift|sink|retreat)\w*
    doll(?:y|ies|ying)|tracking shot|push-in|pans|panning|zooms|crane shot
""")
LOCKED = Phrases(r"""
    static (?:camera|shot|frame)
    locked[- ](?:off|down)|tripod|fixed camera
    camera (?:is|stays|remains|holds) (?:still|static|fixed|locked|steady)
""")
CLOSE = Phrases("close-?up|macro")
_GOES = (
    "pans|tilts|doll(?:y|ies)|tracks|trucks|pushes|pulls|orbits|circles|zooms|cranes|glides|moves|travels|"
    "rises|descends|arcs|drifts|floats|flies|sweeps|swings|rushes|races"
)
# A camera that is fixed and moves, or moves two opposite ways.
AT_ODDS = Phrases(rf"""
    (?:static|fixed|motionless|stationary|locked[- ](?:off|down)) camera (?:\w+ly )?(?:{_GOES})
    (?:static|fixed|locked[- ](?:off|down))(?: (?:camera|shot|frame))*[,.]? (?:(?:smooth|slow|a|the) )*tracking shot
    (?:locked[- ](?:off|down)|static|tripod)(?: (?:camera|tripod))* shot\. the camera (?:\w+ly )?(?:{_GOES})
    zooms? in and (?:zooms? )?out|zooms? out and (?:zooms? )?in|pans? left and (?:pans? )?right
    pans? right and (?:pans? )?left
    tilts? up and (?:tilts? )?down|tilts? down and (?:tilts? )?up|push(?:es)? in and pulls? (?:back|out)
    dolly in and (?:dolly )?out
    moves? forward and backward|moves? up and down and (?:left|right)
""")

# Habits

CUTS = Phrases(r"""
    (?:cuts?|cutting) to:? (?:an?|the|another|his|her|their|black|close|wide)|(?:jump|smash|match|hard|quick) cuts?
    (?:fades?|dissolves?) to (?:black|white)|crossfades? to
    next (?:scene|shot)|montage|split[- ]screen
    [0-9]{1,2}:[0-5][0-9]
    (?:at|after|from|until) (?:second )?[0-9]+(?:\.[0-9]+)? ?(?:s|secs?|seconds?)
    (?:at|after|from|until|by) second [0-9]+|(?:in|during) seconds? [0-9]+
    (?:first|last|next) (?:[0-9]+|two|three|four|five) seconds
""")
TALK = Phrases(r"""
    (?:the|this) (?:scene|video|clip|footage|film|shot|animation) (?:opens|begins|starts|ends)(?= with)
    (?:the|this) (?:scene|video|clip|footage|film|shot|animation) (?:shows|depicts|features|captures)
    (?:opening|closing) (?:scene|shot) (?:of|shows)
    we (?:can )?see
    (?:create|generate|make) (?:a|an) (?:video|clip|animation)
""")
_WHO = r"(?:he|she|they|it|who|man|woman|girl|boy|child|person|and) (?:is |are )?"
_SOMEBODY = r"(?:the|an?|his|her|their|my|old|young) (?:\w+ )?\w+"
_WHAT = r"(?:that|it|he|she|his|her|they|the|to|about|how|what)"
INNER = Phrases(rf"""
    {_WHO}(?:feels?|feeling|thinks?|thinking|knows?|believes?|hopes?|hoping|wishes|wishing|wants?|wanting)
    {_WHO}(?:remembers?|remembering|reali[sz]es?|wonders?|wondering|understands?|regrets?|fears?|loves?|hates?)
    {_WHO}(?:worries|imagines?|decides?)
    {_SOMEBODY} (?:knows|thinks|believes|remembers|reali[sz]es|understands|regrets|decides) {_WHAT}
    {_SOMEBODY} (?:wonders|worries) (?:if|whether|what|why|how|about|who|where)
    lost in thought
    feels? (?:sad|happy|lonely|anxious|nervous|guilty|proud|confused|relieved|determined|afraid|angry|hopeful)
    (?:is|looks?|seems?) (?:confused|determined to|conflicted|torn between)
""")

# Words that distinguish two motions although all other words are equal: directions, and camera moves.
DIRECTIONS = forms("""
    open close rise fall descend ascend push pull lock unlock appear vanish grow shrink enter leave
    pan+ tilt dolly zoom track truck orbit circle crane glide follow hold sweep arc swing rotate turn
""") | listed("""
    left right up down upward upwards downward downwards in out into inward inwards outward outwards
    forward forwards backward backwards back toward towards away above below under over clockwise
    counterclockwise anticlockwise around across inside outside leftward leftwards rightward rightwards
    static still locked handheld close wide medium macro aerial
    first second third fourth last one two three four five six seven eight nine ten
""")

# Languages

ENGLISH = listed("""
    a an the of and in with to on is are from as at into its it by for over through that while toward
    towards his her their across under above behind between then this like out up
""")
OTHER_LANGUAGES = listed("""
    der die das und ein eine einen einem einer eines dem den des mit ist auf von zu im am aus durch wird
    sich le la les un une et du dans est sur avec qui vers au aux pour par el los las una unos y con en
    que por hacia del se su al para mientras il lo gli della nel che verso mentre o os um uma com em da
    do na no enquanto de het een met van op naar terwijl uit och att det som med av til og er
""")
