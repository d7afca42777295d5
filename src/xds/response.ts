import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Resource, TypeUrl } from './resource.ts';

/** What a client does not know yet of one type. */
export interface News {
  readonly type: TypeUrl;
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
}

export interface Response extends News {
  readonly nonce: string;
}

/** An envoy.service.discovery.v3.DeltaDiscoveryResponse: resources 2, type_url 4, nonce 5, removed_resources 6. */
export function encodeResponse({ type, nonce, resources, removed }: Response): Buffer {
  const tail = new BinaryWriter();
  tail.tag(4, WireType.LengthDelimited).string(type);
  tail.tag(5, WireType.LengthDelimited).string(nonce);
  for (const name of removed) tail.tag(6, WireType.LengthDelimited).string(name);
  return Buffer.concat([...resources.map(({ frame }) => frame), tail.finish()]);
}
