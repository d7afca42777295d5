import type { KubeClient } from './client/client.ts';
import type { KubeObject } from './objects.ts';

/**
 * Writes the finalizers of the object at `path`, provided it is still the version `object` is: the API server answers
 * 409 (an ApiError, see isConflict) when anybody has changed it, so nobody's finalizer is lost. Writes nothing when
 * nothing changes.
 */
export async function setFinalizers(
  client: Pick<KubeClient, 'patch'>,
  path: string,
  object: KubeObject,
  finalizers: readonly string[],
  fieldManager: string,
): Promise<void> {
  const before = object.metadata.finalizers ?? [];
  if (before.length === finalizers.length && before.every((name, index) => name === finalizers[index])) return;
  const { resourceVersion, uid } = object.metadata;
  await client.patch(path, { metadata: { uid, resourceVersion, finalizers } }, { fieldManager });
}

export function withoutFinalizer(object: KubeObject, finalizer: string): string[] {
  return (object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
}
