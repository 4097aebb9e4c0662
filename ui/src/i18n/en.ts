import type { ErrorSentences, Facts } from "./errors";
import { plural } from "./plural";

const n = (value: number): string => new Intl.NumberFormat("en-IN").format(value);
const count = (value: number, one: string, other: string): string => `${n(value)} ${plural("en", value, { one, other })}`;
const because = (reason: string | undefined): string => (reason ? ` (${reason})` : "");

const fact = (value: string | undefined): string => n(Number(value));

function tooLong(d: Facts): string {
  if (d.characters && d.character_limit) {
    return `This message has ${fact(d.characters)} characters; at most ${fact(d.character_limit)} can be sent. Shorten it and send again.`;
  }
  if (d.tokens && d.token_limit) {
    return `This message is ${fact(d.tokens)} tokens long; the model can read at most ${fact(d.token_limit)}. Shorten it and send again.`;
  }
  return "This message is too long for the model. Shorten it and send again.";
}

function noMemory(d: Facts): string {
  if (!d.needed_bytes) return "There is not enough memory for this. Close other programs and try again.";
  const free = d.available_bytes ? `, ${megabytes(d.available_bytes)} are free` : "";
  return `There is not enough memory: ${megabytes(d.needed_bytes)} are needed${free}. Close other programs and try again.`;
}

function corruptHistory(d: Facts): string {
  const kept = d.kept_at ? ` The damaged file is kept at ${d.kept_at}.` : "";
  const now = d.restored_from ? ` Chimera went back to the backup ${d.restored_from}.` : " Chimera started a new, empty history.";
  return `The conversation history was damaged.${kept}${now}`;
}

const errors: ErrorSentences = {
  empty_message: () => "There is nothing to send yet. Write a message first.",
  message_too_long: tooLong,
  invalid_text: (d) =>
    `This text contains a character that can't be stored${d.at ? `, at position ${fact(d.at)}` : ""}. Remove it and send again.`,
  invalid_id: () => "This conversation's identity is not valid or is taken. Start a new chat and send again.",
  not_found: () => "This is no longer there. The conversation may have been deleted.",
  busy: () => "An answer is still being written in this conversation. Stop it or wait for its end.",
  model_loading: () => "The model is still loading. Try again in a moment.",
  model_missing: (d) => `The model file is missing${d.path ? `: ${d.path}` : ""}. Install Chimera again to bring it back.`,
  model_invalid: (d) => `The model file is damaged and was not loaded${because(d.reason)}. Install Chimera again to replace it.`,
  model_unsupported: (d) => `Chimera can't run this model file${because(d.reason)}.`,
  out_of_memory: noMemory,
  engine_failed: (d) => `The model stopped unexpectedly${because(d.reason)}. What was written is kept; you can ask again.`,
  history_locked: () => "The conversation history is in use by another Chimera. Close the other window, then start this one again.",
  history_corrupt: corruptHistory,
  history_newer: () => "The conversation history was written by a newer Chimera. Update Chimera to read it; nothing in it was changed.",
  disk_full: () => "The disk is full, so this could not be saved. Free some space and try again.",
  disk_failed: (d) => `The disk could not be read or written${because(d.reason)}.`,
  link_refused: () => "This link was not opened: only web and mail addresses are allowed.",
  internal: (d) => `Something went wrong inside Chimera${because(d.reason)}. Your conversations are safe.`,
};

export const en = {
  appName: "Chimera",
  sidebar: "Conversations",
  openSidebar: "Show conversations",
  closeSidebar: "Hide conversations",
  newChat: "New chat",
  untitled: "New conversation",
  noConversations: "Your conversations will appear here.",
  groups: { today: "Today", yesterday: "Yesterday", earlier: "Earlier" },
  rename: "Rename",
  renameTitle: (title: string) => `Rename “${title}”`,
  renameField: "Conversation name",
  delete: "Delete",
  deleteTitle: (title: string) => `Delete “${title}”`,
  deleteAsk: "Delete this conversation?",
  deleteBody: (title: string) => `“${title}” will be erased from this computer. This can't be undone.`,
  cancel: "Cancel",
  close: "Close",
  dismiss: "Dismiss",
  messages: "Messages",
  you: "You",
  assistant: "Chimera",
  composer: "Message Chimera",
  composerPlaceholder: "Ask in Hindi, English or Hinglish…",
  composerHint: "Enter to send · Shift + Enter for a new line",
  characters: (value: number) => count(value, "character", "characters"),
  privacyHint: "Runs on this computer, without the internet. Answers can be wrong.",
  send: "Send",
  stop: "Stop",
  sending: "Sending…",
  waitingForModel: "Waiting for the model to load…",
  regenerate: "Answer again",
  copyAnswer: "Copy answer",
  copyCode: "Copy code",
  copyMessage: "Copy message",
  copied: "Copied",
  copyFailed: "Could not copy",
  continueAnswer: "Continue",
  continuePrompt: "Continue.",
  versionOf: (index: number, total: number) => `Version ${n(index)} of ${n(total)}`,
  previousVersion: "Previous version",
  nextVersion: "Next version",
  showAll: "Show all",
  showLess: "Show less",
  showEarlier: "Show earlier messages",
  jumpToLatest: "Jump to latest",
  reading: "Reading",
  readingPercent: (percent: number) => `Reading ${n(percent)}%`,
  thinking: "Thinking…",
  thoughts: "Thoughts",
  answering: "Chimera is answering",
  answered: "Answer complete",
  droppedTurns: (value: number) =>
    `The conversation is longer than the model can read at once: the oldest ${count(value, "turn was", "turns were")} left out.`,
  status: {
    stopped: "Stopped",
    interrupted: "Interrupted: Chimera was closed while writing this.",
    length: "Cut off: the answer reached its longest allowed length.",
    failed: "This answer failed.",
  },
  model: {
    loading: "Loading the model…",
    ready: "Model ready",
    failed: "Model unavailable",
  },
  speed: (tokensPerSecond: number) => `${formatNumber("en-IN", tokensPerSecond, 1)} tokens/s`,
  statsDetail: (seconds: number, tokens: number) =>
    `First word after ${formatNumber("en-IN", seconds, 2)} s · ${count(tokens, "token", "tokens")}`,
  settings: "Settings",
  language: "Language",
  theme: "Appearance",
  system: "System",
  light: "Light",
  dark: "Dark",
  hindi: "हिन्दी",
  english: "English",
  switchLanguage: "हिन्दी में बदलें",
  switchTheme: (current: string) => `Appearance: ${current}. Change`,
  about: "About",
  aboutModel: "Model",
  aboutParameters: "Parameters",
  aboutFile: "File",
  aboutContext: "Context",
  aboutProcessor: "Processor",
  aboutVersion: "Version",
  tokens: (value: number) => count(value, "token", "tokens"),
  threads: (value: number) => count(value, "thread", "threads"),
  parameters: (value: number) => `${formatNumber("en-IN", value / 1e6, 1)} million`,
  megabytes: (bytes: number) => megabytes(bytes),
  privacy: "Conversations stay on this computer. Chimera sends nothing anywhere.",
  keyboard: "Keyboard",
  keys: { newChat: "New chat", stop: "Stop the answer", sidebar: "Show or hide conversations", rename: "Rename the selected conversation" },
  blockedImage: "Image not loaded",
  linkTitle: "Open this link?",
  linkBody: "It opens in your browser, outside Chimera.",
  linkHidden: "Hidden characters in this address are shown in brackets.",
  openLink: "Open",
  copyLink: "Copy address",
  refusedLink: "Address not opened",
  greeting: "Hello! What would you like to know?",
  greetingNote: "Write in Hindi, English, or a mix of both.",
  suggestions: "Suggestions",
  details: "Details",
  retry: "Try again",
  notSent: "Not sent. Your text is back in the box.",
  errors,
};

function formatNumber(locale: string, value: number, digits: number): string {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value);
}

function megabytes(bytes: number | string): string {
  return `${formatNumber("en-IN", Number(bytes) / 1e6, 1)} MB`;
}
