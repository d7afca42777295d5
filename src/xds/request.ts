import type { DeltaDiscoveryRequest } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import type { SubscriptionRequest } from './subscription.ts';

/** What a DeltaDiscoveryRequest says. */
export interface DiscoveryRequest extends SubscriptionRequest {
  readonly type: string;
  /** The node's id, told on the first request of a stream only. */
  readonly client: string;
  /** Of the response that this answers; empty on a request that answers none. */
  readonly nonce: string;
  /** Why that response was refused. */
  readonly refusal: string | undefined;
}

/** What a client says of itself or of a refusal goes into the log: not more than this. */
const maxTextLength = 1024;

export function discoveryRequest(message: DeltaDiscoveryRequest): DiscoveryRequest {
  return {
    type: message.typeUrl,
    client: (message.node?.id ?? '').slice(0, maxTextLength),
    subscribe: message.resourceNamesSubscribe,
    unsubscribe: message.resourceNamesUnsubscribe,
    initialVersions: new Map(Object.entries(message.initialResourceVersions)),
    nonce: message.responseNonce,
    refusal: message.errorDetail?.message.slice(0, maxTextLength),
  };
}
