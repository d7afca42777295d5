import type { ResourceEvent, ResourceMeta } from '@dot-i/k8s-operator';
import type { KubeClient } from '../kube/client/client.ts';
import type { Clock } from '../kube/clock.ts';
import type { EventRecorder } from '../kube/events.ts';
import { type KubeObject, objectKey } from '../kube/objects.ts';
import type { StatusPart, WithStatus } from '../kube/status.ts';
import type { Release } from '../render/release.ts';
import type { ServerFeatures } from '../render/server-features.ts';
import type { Log } from '../telemetry/log.ts';
import type { Caches } from './caches.ts';

/** What every controller is given. */
export interface OperatorContext {
  client: KubeClient;
  caches: Caches;
  release: Release;
  features: ServerFeatures;
  clock: Clock;
  log: Log;
  events: Pick<EventRecorder, 'record'>;
  /** The library's own. An action that throws, a `Requeue` for one, leaves the finalizer where it is. */
  handleResourceFinalizer(
    event: ResourceEvent,
    finalizer: string,
    deleteAction: (event: ResourceEvent) => Promise<void>,
  ): Promise<boolean>;
  /** The library's own, for a part of a status: see KubeOperator. */
  setResourceStatus(meta: ResourceMeta, part: StatusPart<WithStatus>, writer?: string): Promise<ResourceMeta | null>;
}

/** Deletes this very object; one that is gone, or has been replaced by another, is none of our business any more. */
export async function deleteObject(
  { client, log }: Pick<OperatorContext, 'client' | 'log'>,
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
