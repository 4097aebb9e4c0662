import type { ConversationSummary } from "../../ipc/types";

export type GroupName = "today" | "yesterday" | "earlier";

export type Group = { readonly name: GroupName; readonly items: readonly ConversationSummary[] };

/** Midnight before `now`, shifted by whole calendar days (a day is not always 24 hours). */
function midnight(now: Date, days: number): number {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + days).getTime();
}

export function groupByDay(list: readonly ConversationSummary[], now: Date): Group[] {
  const today = midnight(now, 0);
  const yesterday = midnight(now, -1);
  const nameOf = (at: number): GroupName => (at >= today ? "today" : at >= yesterday ? "yesterday" : "earlier");
  return (["today", "yesterday", "earlier"] as const)
    .map((name) => ({ name, items: list.filter((item) => nameOf(item.updated_at) === name) }))
    .filter((group) => group.items.length > 0);
}
