import { create } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import {
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
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

/** The resources are encoded already: they are given as what protobuf-es writes as it is, the fields it does not know. */
export function discoveryResponse({ type, nonce, resources, removed }: Response): DeltaDiscoveryResponse {
  const response = create(DeltaDiscoveryResponseSchema, { typeUrl: type, nonce, removedResources: [...removed] });
  const no = resourcesField;
  response.$unknown = resources.map(({ encoded }) => ({ no, wireType: WireType.LengthDelimited, data: encoded }));
  return response;
}
