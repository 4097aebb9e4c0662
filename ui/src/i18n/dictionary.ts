import type { en } from "./en";

// Every language has exactly the keys of English, with functions of the same arguments.
type Shape<T> = T extends (...args: infer A) => string ? (...args: A) => string : T extends string ? string : { [K in keyof T]: Shape<T[K]> };

export type Dictionary = Shape<typeof en>;
