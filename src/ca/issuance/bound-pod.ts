import { TulleError } from '../../errors/tulle-error.ts';
import type { Caller } from './caller.ts';
import { isLive, type PodLookup, type PodRecord } from './pod-lookup.ts';

/**
 * The pod a caller's token is bound to, looked up now: it must exist with the token's UID, service account and node, and must not
 * have ended. A token outlives its pod by up to its expiry wherever it was copied to; this is what ends its use.
 * @throws TulleError CallerUnauthenticated
 */
export async function boundPod(caller: Caller, pods: PodLookup): Promise<PodRecord> {
  const { name, uid } = caller.pod;
  const isBound = (pod: PodRecord | undefined): pod is PodRecord => pod?.uid === uid;
  const cached = await pods.podByName(caller.namespace, name);
  const pod = isBound(cached) ? cached : await pods.podByName(caller.namespace, name, { fresh: true });
  const gone = (why: string) =>
    new TulleError('CallerUnauthenticated', `The token's pod ${caller.namespace}/${name} with UID ${uid} ${why}.`);
  if (!isBound(pod)) throw gone('does not exist');
  if (!isLive(pod)) throw gone(`has ended (${pod.phase})`);
  if (pod.serviceAccount !== caller.serviceAccount) throw gone(`is not of service account ${caller.serviceAccount}`);
  if (caller.node !== undefined && pod.node !== caller.node) throw gone(`is not on the token's node ${caller.node}`);
  return pod;
}
