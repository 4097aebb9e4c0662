import type { Conversation, Message } from "../../ipc/types";

const RAINBOW = `A **rainbow** is sunlight taken apart by drops of water.

1. Light enters a drop and *slows down*, so it bends.
2. It is reflected once at the back of the drop.
3. It bends again on its way out, each colour by a slightly different angle.

| colour | angle | wavelength |
|:--|--:|--:|
| red | 42.4° | 700 nm |
| green | 41.5° | 530 nm |
| violet | 40.6° | 400 nm |

> You always see it with the sun behind you.

A small program that prints the colours:

\`\`\`python
colours = ["red", "orange", "yellow", "green", "blue", "indigo", "violet"]

def angle(name: str) -> float:
    """Degrees from the point opposite the sun."""
    return 42.4 - 0.3 * colours.index(name)  # a straight line is close enough

for name in colours:
    print(f"{name:>8}: {angle(name):.1f}°")
\`\`\`

More in [this article](https://en.wikipedia.org/wiki/Rainbow).`;

const INDRADHANUSH = `**इन्द्रधनुष** सूर्य के प्रकाश का वह रूप है जो पानी की बूँदों से होकर गुज़रने पर सात रंगों में बँट जाता है।

## यह कैसे बनता है?

1. प्रकाश बूँद के भीतर जाता है और मुड़ता है — इसे **अपवर्तन** कहते हैं।
2. बूँद की पिछली सतह से टकराकर वह लौटता है — यह **परावर्तन** है।
3. बाहर निकलते समय वह फिर मुड़ता है, और हर रंग थोड़े अलग कोण पर जाता है।

> इन्द्रधनुष हमेशा सूर्य की उलटी दिशा में दिखता है, इसलिए उसे देखते समय सूर्य आपकी पीठ की ओर होता है।

रंग इस क्रम में होते हैं: लाल, नारंगी, पीला, हरा, आसमानी, नीला और बैंगनी। क्षेत्र, ज्ञान, श्री, द्वन्द्व और ट्रैक्टर जैसे संयुक्ताक्षर भी यहाँ ठीक दिखने चाहिए।`;

const WHO = "मैं **Chimera** हूँ — एक छोटा भाषा-मॉडल जो इसी कंप्यूटर पर चलता है। मैं हिन्दी और अंग्रेज़ी में बात कर सकता हूँ। पूछिए, क्या जानना चाहते हैं?";

const CHAI = `Bilkul! *Adrak wali chai* ke liye:

- 1 cup paani aur ½ cup doodh
- 1 chhota tukda adrak, kuta hua
- 1½ chammach chai patti
- cheeni swaad ke anusaar

Paani mein adrak **3 minute** ubaalein, phir patti aur doodh daalein. Dheemi aanch par 2 minute pakne dein, chhaan lein. ☕`;

/** A made-up answer that fits the question's language well enough to look at. */
export function sampleAnswer(text: string, version: number): string {
  const answers = /chai/i.test(text) ? [CHAI] : /\p{Script=Devanagari}/u.test(text) ? [/इन्द्र/.test(text) ? INDRADHANUSH : WHO, INDRADHANUSH] : [RAINBOW];
  return answers[version % answers.length]!;
}

const HOUR = 3_600_000;

function pair(index: number, question: string, answer: string, at: number, change: Partial<Message> = {}): Message[] {
  const base = { thinking: "", status: "complete", created_at: at, version: 0 } as const;
  const user = `00000000-0000-7000-8000-${String(index * 2).padStart(12, "0")}`;
  const reply = `00000000-0000-7000-8000-${String(index * 2 + 1).padStart(12, "0")}`;
  const stats = { prompt_tokens: 40, reused_tokens: 0, completion_tokens: 214, first_token_ms: 312, tokens_per_second: 87.4, model: "chimera-starter" };
  return [
    { ...base, id: user, role: "user", text: question, stats: null, versions: [user] },
    { ...base, id: reply, role: "assistant", text: answer, stats, versions: [reply], ...change },
  ];
}

function conversation(index: number, title: string, hoursAgo: number, now: number, messages: Message[]): Conversation {
  const at = now - hoursAgo * HOUR;
  const id = `00000000-0000-7000-9000-${String(index).padStart(12, "0")}`;
  return { summary: { id, title, created_at: at, updated_at: at }, messages };
}

export function sampleConversations(now: number): Conversation[] {
  const at = (hours: number): number => now - hours * HOUR;
  return [
    conversation(1, "What is a rainbow?", 0.2, now, pair(1, "What is a rainbow?", RAINBOW, at(0.2))),
    conversation(2, "इन्द्रधनुष कैसे बनता है?", 0.5, now, [
      ...pair(2, "नमस्ते, तुम कौन हो?", WHO, at(0.6)),
      ...pair(3, "इन्द्रधनुष कैसे बनता है? आसान शब्दों में समझाइए।", INDRADHANUSH, at(0.5)),
    ]),
    conversation(3, "Chai kaise banate hain?", 1, now, pair(4, "Yaar, adrak wali chai kaise banate hain?", CHAI, at(1))),
    conversation(4, "कबीर के पाँच दोहे और उनका अर्थ सरल हिन्दी में", 26, now, pair(5, "कबीर के दोहे सुनाओ", WHO, at(26), { status: "interrupted" })),
    conversation(5, "Plan a weekend in Jaipur", 28, now, pair(6, "Plan a weekend in Jaipur", RAINBOW, at(28), { status: "length" })),
    conversation(6, "Python list comprehension", 90, now, pair(7, "Explain list comprehensions", RAINBOW, at(90), { status: "stopped" })),
    conversation(7, "दिल्ली का इतिहास", 200, now, pair(8, "दिल्ली का इतिहास बताइए", INDRADHANUSH, at(200))),
    conversation(8, "Letter to the school principal", 500, now, pair(9, "Write a leave letter", CHAI, at(500))),
  ];
}
