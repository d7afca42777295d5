import { components, neverEnrolledNamespaces, systemNamespace } from '../../api/names.ts';
import { TulleError } from '../../errors/tulle-error.ts';
import {
  parseSpiffeId,
  parseWorkloadIdentity,
  type SpiffeId,
  type TrustDomain,
  workloadSpiffeId,
} from '../x509/spiffe-id.ts';
import { boundPod } from './bound-pod.ts';
import type { Caller } from './caller.ts';
import { isLive, type PodLookup, type PodRecord } from './pod-lookup.ts';

/** An identity a caller may have, and on what grounds. */
export interface Entitlement {
  readonly id: SpiffeId;
  /** The caller's own node, undefined while its pod is not bound to one. */
  readonly node: string | undefined;
}

/**
 * Which identity a caller gets a certificate for.
 *
 *   none, or its own           its own pod's, while that pod exists with the token's UID and has not ended
 *   another                    that one, if the caller is a node proxy, its pod exists with the token's UID on the token's node, and
 *                              a pod with that identity is on the same node now, has not ended, and can be enrolled at all
 *
 * Nothing here is remembered between calls.
 * @param requested the SPIFFE ID asked for, undefined for the caller's own
 * @throws TulleError CallerNotPermitted, CallerUnauthenticated, SpiffeIdInvalid
 */
export async function entitle(
  caller: Caller,
  requested: string | undefined,
  trustDomain: TrustDomain,
  pods: PodLookup,
): Promise<Entitlement> {
  const own = ownIdentity(caller, trustDomain);
  const id = requested === undefined ? own : parseSpiffeId(requested);
  const pod = await boundPod(caller, pods);
  return id === own ? { id: own, node: pod.node } : impersonate(caller, id, trustDomain, pod, pods);
}

function ownIdentity(caller: Caller, trustDomain: TrustDomain): SpiffeId {
  return workloadSpiffeId({ trustDomain, namespace: caller.namespace, serviceAccount: caller.serviceAccount });
}

async function impersonate(
  caller: Caller,
  id: SpiffeId,
  trustDomain: TrustDomain,
  pod: PodRecord,
  pods: PodLookup,
): Promise<Entitlement> {
  const denied = (why: string) => denial(caller, id, why);
  if (caller.namespace !== systemNamespace || caller.serviceAccount !== components.proxy) {
    throw denied(`only ${systemNamespace}/${components.proxy} may ask for an identity other than its own`);
  }
  const node = pod.node;
  if (node === undefined) throw denied('the calling pod is not on a node');
  const wanted = parseWorkloadIdentity(id);
  if (wanted.trustDomain !== trustDomain) throw denied(`this mesh is the trust domain ${trustDomain}`);
  if (neverEnrolledNamespaces.includes(wanted.namespace)) {
    throw denied(`pods of namespace ${wanted.namespace} are never in the mesh`);
  }
  const has = (candidates: readonly PodRecord[]) =>
    candidates.some(
      (candidate) =>
        candidate.node === node &&
        candidate.namespace === wanted.namespace &&
        candidate.serviceAccount === wanted.serviceAccount &&
        isLive(candidate) &&
        !candidate.hostNetwork,
    );
  if (!has(await pods.podsOnNode(node)) && !has(await pods.podsOnNode(node, { fresh: true }))) {
    throw denied(`no pod with this identity runs on node ${node} now`);
  }
  return { id, node };
}

function denial(caller: Caller, id: SpiffeId, why: string): TulleError {
  const who = `${caller.namespace}/${caller.pod.name}`;
  return new TulleError('CallerNotPermitted', `${who} asked for ${id} and may not have it: ${why}.`);
}
