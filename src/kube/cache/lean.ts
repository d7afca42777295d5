import type { ObjectMeta } from '../objects.ts';

/** For transforms of reflectors, which keep of an object what is read of it. */

type Named = Pick<
  ObjectMeta,
  'name' | 'namespace' | 'uid' | 'resourceVersion' | 'creationTimestamp' | 'deletionTimestamp'
>;

/** Who an object is, and since and until when. */
export function leanMetadata(metadata: Readonly<Named>) {
  const { name, namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp } = metadata;
  return { name, ...present({ namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp }) };
}

/** The labels of these names that are there. */
export function pick(
  labels: Readonly<Record<string, string>> | undefined,
  names: readonly string[],
): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, labels?.[name]]).filter(isLabel));
}

function isLabel(entry: (string | undefined)[]): entry is [string, string] {
  return entry[1] !== undefined;
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that are there: an absent field and one that is undefined are not the same to everybody. */
export function present<T extends object>(fields: T): Present<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  const result: Present<T> = {};
  return Object.assign(result, Object.fromEntries(entries));
}
