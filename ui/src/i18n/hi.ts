import type { Dictionary } from "./dictionary";
import type { ErrorSentences, Facts } from "./errors";
import { plural } from "./plural";

const n = (value: number, digits = 0): string =>
  new Intl.NumberFormat("hi-IN", { maximumFractionDigits: digits }).format(value);
const count = (value: number, one: string, other: string): string => `${n(value)} ${plural("hi", value, { one, other })}`;
const because = (reason: string | undefined): string => (reason ? ` (${reason})` : "");

const fact = (value: string | undefined): string => n(Number(value));
const megabytes = (bytes: number | string): string => `${n(Number(bytes) / 1e6, 1)} MB`;

function tooLong(d: Facts): string {
  if (d.characters && d.character_limit) {
    return `इस संदेश में ${fact(d.characters)} अक्षर हैं; अधिकतम ${fact(d.character_limit)} भेजे जा सकते हैं। इसे छोटा करके फिर भेजिए।`;
  }
  if (d.tokens && d.token_limit) {
    return `यह संदेश ${fact(d.tokens)} टोकन लंबा है; मॉडल अधिकतम ${fact(d.token_limit)} पढ़ सकता है। इसे छोटा करके फिर भेजिए।`;
  }
  return "यह संदेश मॉडल के लिए बहुत लंबा है। इसे छोटा करके फिर भेजिए।";
}

function noMemory(d: Facts): string {
  if (!d.needed_bytes) return "इसके लिए पर्याप्त मेमोरी नहीं है। दूसरे प्रोग्राम बंद करके फिर कोशिश कीजिए।";
  const free = d.available_bytes ? `, ${megabytes(d.available_bytes)} ख़ाली है` : "";
  return `पर्याप्त मेमोरी नहीं है: ${megabytes(d.needed_bytes)} चाहिए${free}। दूसरे प्रोग्राम बंद करके फिर कोशिश कीजिए।`;
}

function corruptHistory(d: Facts): string {
  const kept = d.kept_at ? ` ख़राब फ़ाइल यहाँ रखी है: ${d.kept_at}।` : "";
  const now = d.restored_from ? ` Chimera ने यह बैकअप लौटाया है: ${d.restored_from}।` : " Chimera ने नया, ख़ाली इतिहास शुरू किया है।";
  return `बातचीत का इतिहास ख़राब हो गया था।${kept}${now}`;
}

const errors: ErrorSentences = {
  empty_message: () => "भेजने के लिए अभी कुछ नहीं है। पहले संदेश लिखिए।",
  message_too_long: tooLong,
  invalid_text: (d) =>
    `इस पाठ में ऐसा अक्षर है जो सहेजा नहीं जा सकता${d.at ? `, स्थान ${fact(d.at)} पर` : ""}। उसे हटाकर फिर भेजिए।`,
  invalid_id: () => "इस बातचीत की पहचान सही नहीं है या पहले से ली जा चुकी है। नई बातचीत शुरू करके फिर भेजिए।",
  not_found: () => "यह अब यहाँ नहीं है। हो सकता है बातचीत हटा दी गई हो।",
  busy: () => "इस बातचीत में एक उत्तर अभी लिखा जा रहा है। उसे रोकिए या पूरा होने दीजिए।",
  model_loading: () => "मॉडल अभी लोड हो रहा है। थोड़ी देर में फिर कोशिश कीजिए।",
  model_missing: (d) => `मॉडल की फ़ाइल नहीं मिली${d.path ? `: ${d.path}` : ""}। उसे वापस लाने के लिए Chimera फिर से इंस्टॉल कीजिए।`,
  model_invalid: (d) => `मॉडल की फ़ाइल ख़राब है, इसलिए लोड नहीं की गई${because(d.reason)}। उसे बदलने के लिए Chimera फिर से इंस्टॉल कीजिए।`,
  model_unsupported: (d) => `Chimera यह मॉडल फ़ाइल नहीं चला सकता${because(d.reason)}।`,
  out_of_memory: noMemory,
  engine_failed: (d) => `मॉडल अचानक रुक गया${because(d.reason)}। जो लिखा जा चुका है वह सुरक्षित है; आप फिर पूछ सकते हैं।`,
  history_locked: () => "बातचीत का इतिहास किसी दूसरे Chimera में खुला है। दूसरी विंडो बंद करके इसे फिर शुरू कीजिए।",
  history_corrupt: corruptHistory,
  history_newer: () => "बातचीत का इतिहास किसी नए Chimera ने लिखा है। उसे पढ़ने के लिए Chimera अपडेट कीजिए; उसमें कुछ बदला नहीं गया।",
  disk_full: () => "डिस्क भर गई है, इसलिए यह सहेजा नहीं जा सका। कुछ जगह ख़ाली करके फिर कोशिश कीजिए।",
  disk_failed: (d) => `डिस्क को पढ़ा या लिखा नहीं जा सका${because(d.reason)}।`,
  link_refused: () => "यह लिंक नहीं खोला गया: केवल वेब और मेल के पते खोले जाते हैं।",
  internal: (d) => `Chimera के भीतर कुछ गड़बड़ हो गई${because(d.reason)}। आपकी बातचीत सुरक्षित है।`,
};

export const hi: Dictionary = {
  appName: "Chimera",
  sidebar: "बातचीत",
  openSidebar: "बातचीत की सूची दिखाएँ",
  closeSidebar: "बातचीत की सूची छिपाएँ",
  newChat: "नई बातचीत",
  untitled: "नई बातचीत",
  noConversations: "आपकी बातचीत यहाँ दिखेगी।",
  groups: { today: "आज", yesterday: "कल", earlier: "पहले की" },
  rename: "नाम बदलें",
  renameTitle: (title) => `“${title}” का नाम बदलें`,
  renameField: "बातचीत का नाम",
  delete: "हटाएँ",
  deleteTitle: (title) => `“${title}” हटाएँ`,
  deleteAsk: "यह बातचीत हटाएँ?",
  deleteBody: (title) => `“${title}” इस कंप्यूटर से मिटा दी जाएगी। इसे वापस नहीं लाया जा सकता।`,
  cancel: "रहने दें",
  close: "बंद करें",
  dismiss: "बंद करें",
  messages: "संदेश",
  you: "आप",
  assistant: "Chimera",
  composer: "Chimera को संदेश",
  composerPlaceholder: "हिन्दी, अंग्रेज़ी या Hinglish में पूछिए…",
  composerHint: "भेजने के लिए Enter · नई पंक्ति के लिए Shift + Enter",
  characters: (value) => count(value, "अक्षर", "अक्षर"),
  privacyHint: "इसी कंप्यूटर पर, बिना इंटरनेट चलता है। उत्तर ग़लत हो सकते हैं।",
  send: "भेजें",
  stop: "रोकें",
  sending: "भेजा जा रहा है…",
  waitingForModel: "मॉडल लोड होने का इंतज़ार…",
  regenerate: "फिर से उत्तर दें",
  copyAnswer: "उत्तर कॉपी करें",
  copyCode: "कोड कॉपी करें",
  copyMessage: "संदेश कॉपी करें",
  copied: "कॉपी हो गया",
  copyFailed: "कॉपी नहीं हो सका",
  continueAnswer: "जारी रखें",
  continuePrompt: "आगे लिखिए।",
  versionOf: (index, total) => `${n(total)} में से रूप ${n(index)}`,
  previousVersion: "पिछला रूप",
  nextVersion: "अगला रूप",
  showAll: "पूरा दिखाएँ",
  showLess: "कम दिखाएँ",
  showEarlier: "पहले के संदेश दिखाएँ",
  jumpToLatest: "नए संदेश पर जाएँ",
  reading: "पढ़ रहा है",
  readingPercent: (percent) => `पढ़ रहा है ${n(percent)}%`,
  thinking: "सोच रहा है…",
  thoughts: "विचार",
  answering: "Chimera उत्तर लिख रहा है",
  answered: "उत्तर पूरा हुआ",
  droppedTurns: (value) =>
    `बातचीत इतनी लंबी है कि मॉडल एक बार में नहीं पढ़ सकता: सबसे पुरानी ${count(value, "बारी छोड़ी गई", "बारियाँ छोड़ी गईं")}।`,
  status: {
    stopped: "रोका गया",
    interrupted: "अधूरा: इसे लिखते समय Chimera बंद हो गया।",
    length: "कटा हुआ: उत्तर अपनी अधिकतम लंबाई तक पहुँच गया।",
    failed: "यह उत्तर पूरा नहीं हो सका।",
  },
  model: {
    loading: "मॉडल लोड हो रहा है…",
    ready: "मॉडल तैयार है",
    failed: "मॉडल उपलब्ध नहीं",
  },
  speed: (tokensPerSecond) => `${n(tokensPerSecond, 1)} टोकन/से`,
  statsDetail: (seconds, tokens) => `पहला शब्द ${n(seconds, 2)} सेकंड में · ${count(tokens, "टोकन", "टोकन")}`,
  settings: "सेटिंग",
  language: "भाषा",
  theme: "रूप-रंग",
  system: "सिस्टम",
  light: "उजला",
  dark: "गहरा",
  hindi: "हिन्दी",
  english: "English",
  switchLanguage: "Switch to English",
  switchTheme: (current) => `रूप-रंग: ${current}। बदलें`,
  about: "परिचय",
  aboutModel: "मॉडल",
  aboutParameters: "पैरामीटर",
  aboutFile: "फ़ाइल",
  aboutContext: "संदर्भ",
  aboutProcessor: "प्रोसेसर",
  aboutVersion: "संस्करण",
  tokens: (value) => count(value, "टोकन", "टोकन"),
  threads: (value) => count(value, "थ्रेड", "थ्रेड"),
  parameters: (value) => (value >= 1e7 ? `${n(value / 1e7, 1)} करोड़` : `${n(value / 1e5, 1)} लाख`),
  megabytes: (bytes) => megabytes(bytes),
  privacy: "बातचीत इसी कंप्यूटर पर रहती है। Chimera कहीं कुछ नहीं भेजता।",
  keyboard: "कीबोर्ड",
  keys: { newChat: "नई बातचीत", stop: "उत्तर रोकें", sidebar: "बातचीत की सूची दिखाएँ या छिपाएँ", rename: "चुनी हुई बातचीत का नाम बदलें" },
  blockedImage: "चित्र नहीं लाया गया",
  linkTitle: "यह लिंक खोलें?",
  linkBody: "यह Chimera के बाहर, आपके ब्राउज़र में खुलेगा।",
  linkHidden: "इस पते के छिपे हुए अक्षर कोष्ठक में दिखाए गए हैं।",
  openLink: "खोलें",
  copyLink: "पता कॉपी करें",
  refusedLink: "पता नहीं खोला जाता",
  greeting: "नमस्ते! आज क्या जानना चाहेंगे?",
  greetingNote: "हिन्दी, अंग्रेज़ी या दोनों मिलाकर लिखिए।",
  suggestions: "सुझाव",
  details: "विवरण",
  retry: "फिर कोशिश करें",
  notSent: "भेजा नहीं गया। आपका लिखा बॉक्स में लौट आया है।",
  errors,
};
