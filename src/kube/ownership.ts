import type { KubeObject } from './objects.ts';

/** Whether `owner` is an owner of the object. One that was deleted and made again under its name is another one. */
export function isOwnedBy({ metadata }: KubeObject, owner: KubeObject | undefined): boolean {
  const uid = owner?.metadata.uid;
  return uid !== undefined && (metadata.ownerReferences?.some((reference) => reference.uid === uid) ?? false);
}
