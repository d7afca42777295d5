import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { addressType, type Resource } from '../../../src/xds/resource.ts';
import { encodeResponse, type News } from '../../../src/xds/response.ts';

export type Request = MessageInitShape<typeof DeltaDiscoveryRequestSchema>;

export interface Answer {
  readonly nonce: string;
  readonly type: string;
  /** Name → version. */
  readonly resources: Record<string, string>;
  readonly removed: readonly string[];
}

export function requestOf(request: Request): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, { typeUrl: addressType, ...request });
}

/** A response as a client reads it. */
export function readAnswer(bytes: Uint8Array): Answer {
  return answerOf(fromBinary(DeltaDiscoveryResponseSchema, bytes));
}

export function answerOf(response: DeltaDiscoveryResponse): Answer {
  return {
    nonce: response.nonce,
    type: response.typeUrl,
    resources: Object.fromEntries(response.resources.map(({ name, version }) => [name, version])),
    removed: response.removedResources,
  };
}

/** What is told, as it looks after the transport. */
export function seen(news: News): Answer {
  return readAnswer(Buffer.concat(encodeResponse({ ...news, nonce: '' })));
}

/** What a proxy keeps: what it was sent and not told is gone. */
export class ProxyCache {
  readonly versions = new Map<string, string>();

  take({ resources, removed }: Answer): void {
    for (const name of removed) this.versions.delete(name);
    for (const [name, version] of Object.entries(resources)) this.versions.set(name, version);
  }
}

/** A resource whose content is its version. */
export function resource(
  name: string,
  version = '1',
  more: { aliases?: readonly string[]; memberOf?: readonly string[] } = {},
): Resource {
  const { aliases = [], memberOf = [] } = more;
  const bytes = toBinary(ResourceSchema, create(ResourceSchema, { name, version, aliases: [...aliases] }));
  return { name, version, encoded: new BinaryWriter().bytes(bytes).finish(), aliases, memberOf };
}
