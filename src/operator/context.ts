import type { KubeClient } from '../kube/client/client.ts';
import type { Clock } from '../kube/clock.ts';
import { type KubeObject, objectKey } from '../kube/objects.ts';
import type { Release } from '../render/release.ts';
import type { ServerFeatures } from '../render/server-features.ts';
import type { Log } from '../telemetry/log.ts';
import type { Caches } from './caches.ts';

/** What every controller is given. */
export interface MeshContext {
  client: KubeClient;
  caches: Caches;
  release: Release;
  features: ServerFeatures;
  clock: Clock;
  log: Log;
}

/** Deletes this very object; one that is gone, or has been replaced by another, is none of our business any more. */
export async function deleteObject(
  { client, log }: Pick<MeshContext, 'client' | 'log'>,
  object: KubeObject,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const { apiVersion = '', kind = '', metadata } = object;
  if (metadata.deletionTimestamp !== undefined) return;
  const path = await client.pathOf({ ...object, apiVersion, kind });
  const preconditions = metadata.uid === undefined ? {} : { preconditions: { uid: metadata.uid } };
  await client.deleteIfThere(path, { ...preconditions, propagationPolicy: 'Background' });
  log.info({ kind, object: objectKey(object) }, 'deleted');
}
