import { components, systemNamespace } from '../api/names.ts';
import { boundPod } from '../ca/issuance/bound-pod.ts';
import type { Caller, CallerVerifier } from '../ca/issuance/caller.ts';
import type { PodLookup, PodRecord } from '../ca/issuance/pod-lookup.ts';
import { explain, isTulleError, TulleError } from '../errors/tulle-error.ts';
import type { IncomingCall } from '../grpc/call.ts';
import type { DiscoveryClient } from '../xds/service.ts';

/**
 * Who may hear of the mesh: node proxies, by a token that is bound to a pod which is there now. Streams of one node count
 * together, so that a compromised node cannot take what others need.
 */
export function admitNodeProxies(callers: CallerVerifier, pods: PodLookup) {
  return async (call: IncomingCall): Promise<DiscoveryClient> => {
    const caller = await callers.verify(call);
    if (caller.namespace !== systemNamespace || caller.serviceAccount !== components.proxy) {
      throw new TulleError(
        'CallerNotPermitted',
        `${caller.namespace}/${caller.serviceAccount} may not hear of the mesh: only ${systemNamespace}/${components.proxy} may.`,
      );
    }
    const { node, uid } = await livePod(caller, pods);
    return { name: node ?? uid };
  };
}

async function livePod(caller: Caller, pods: PodLookup): Promise<PodRecord> {
  try {
    return await boundPod(caller, pods);
  } catch (error) {
    if (isTulleError(error)) throw error;
    const why = `The pod of the caller cannot be looked up now: ${explain(error)}`;
    throw new TulleError('CallerReviewUnavailable', why, { cause: error });
  }
}
