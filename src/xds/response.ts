import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { DeltaDiscoveryResponseSchema } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { type Resource, resourcesField, type TypeUrl } from './resource.ts';

/** What a client does not know yet of one type. */
export interface News {
  readonly type: TypeUrl;
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
}

export interface Response extends News {
  readonly nonce: string;
}

const resourcesTag = new BinaryWriter().tag(resourcesField, WireType.LengthDelimited).finish();

/** A DeltaDiscoveryResponse, in parts: its resources are encoded already, and the same bytes go to every stream. */
export function encodeResponse({ type, nonce, resources, removed }: Response): Uint8Array[] {
  const rest = create(DeltaDiscoveryResponseSchema, { typeUrl: type, nonce, removedResources: [...removed] });
  const parts: Uint8Array[] = [toBinary(DeltaDiscoveryResponseSchema, rest)];
  for (const { encoded } of resources) parts.push(resourcesTag, encoded);
  return parts;
}

/** What a response holds while it is on its way, bytes: its resources may be known to nobody else any more. */
export function sizeOf({ resources, removed }: News): number {
  const held = resources.reduce((sum, { encoded }) => sum + encoded.length, 0);
  return removed.reduce((sum, name) => sum + name.length, held);
}
