// Made by `cargo test -p chimera-chat export_bindings`. Do not edit.
export type { AppStatus } from "./AppStatus";
export type { ChatEvent } from "./ChatEvent";
export type { Conversation } from "./Conversation";
export type { ConversationSummary } from "./ConversationSummary";
export type { ErrorCode } from "./ErrorCode";
export type { Message } from "./Message";
export type { MessageStats } from "./MessageStats";
export type { MessageStatus } from "./MessageStatus";
export type { ModelStatus } from "./ModelStatus";
export type { RegenerateRequest } from "./RegenerateRequest";
export type { SendAccepted } from "./SendAccepted";
export type { SendRequest } from "./SendRequest";
export type { Settings } from "./Settings";
export type { WireError } from "./WireError";
export type { WireRole } from "./WireRole";
