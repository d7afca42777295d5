import { createHash } from 'node:crypto';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** Types of resources, as the wire names them. */
export const addressType = 'type.googleapis.com/istio.workload.Address';
export const authorizationType = 'type.googleapis.com/istio.security.Authorization';
export type TypeUrl = typeof addressType | typeof authorizationType;

/** The last part of a type URL, short enough for a label: `istio.workload.Address`. */
export function typeLabel(type: TypeUrl): string {
  return type.slice(type.indexOf('/') + 1);
}

/** A resource as proxies receive it: encoded once, the same bytes go to every stream. Immutable. */
export interface Resource {
  readonly name: string;
  /**
   * A hash of the content: replicas agree on it, so that a proxy that comes back to another replica is sent only what
   * differs, and it stays the same over a restart.
   */
  readonly version: string;
  /** An envoy.service.discovery.v3.Resource behind its length: the field `resources` of a response, without the tag. */
  readonly encoded: Uint8Array;
  /** Further names it can be asked for by. */
  readonly aliases: readonly string[];
  /** Names of resources with which it is sent along: of the services a workload backs. */
  readonly memberOf: readonly string[];
}

/** What a resource is made of; `value` is the encoded message of the type. */
export interface Content {
  readonly name: string;
  readonly value: Uint8Array;
  readonly aliases: readonly string[];
  readonly memberOf: readonly string[];
}

/** Number of the field `resources` in a DeltaDiscoveryResponse. */
export const resourcesField = 2;

/** 128 bits: nobody finds two contents of one version by trying. */
const versionBytes = 16;

export function encodeResource(type: TypeUrl, { name, value, aliases, memberOf }: Content): Resource {
  const version = createHash('sha256').update(value).digest().subarray(0, versionBytes).toString('base64url');
  // Fields of envoy.service.discovery.v3.Resource: version 1, resource 2 (an Any: type_url 1, value 2), name 3, aliases 4.
  const writer = new BinaryWriter().fork();
  writer.tag(1, WireType.LengthDelimited).string(version);
  writer.tag(2, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(type);
  writer.tag(2, WireType.LengthDelimited).bytes(value);
  writer.join();
  writer.tag(3, WireType.LengthDelimited).string(name);
  for (const alias of aliases) writer.tag(4, WireType.LengthDelimited).string(alias);
  return { name, version, encoded: writer.join().finish(), aliases, memberOf };
}
