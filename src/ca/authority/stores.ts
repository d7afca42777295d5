/** What the authority keeps outside itself; `kubernetes.ts` and `kubernetes-evidence.ts` have the real ones. */
import type { MeshStatus } from '../../api/mesh.ts';

/** The one Secret that holds the authority's state. */
export interface SecretStore {
  /** What is stored, undefined when there is no Secret. */
  read(): Promise<StoredSecret | undefined>;
  /** Makes the Secret unless there is one: of any number of callers one gets `created`. */
  create(state: string): Promise<'created' | 'exists'>;
}

export interface StoredSecret {
  /** Empty when the Secret is there and its content is not. */
  readonly state: string;
}

/** The ConfigMap every proxy gets its roots from. */
export interface BundleStore {
  read(): Promise<StoredBundle | undefined>;
  /**
   * Makes the ConfigMap hold exactly this, unless it is another than the one that was read.
   * @param over its version when it was read, undefined when there was none
   */
  publish(bundle: PublishedBundle, over: string | undefined): Promise<'published' | 'conflict'>;
}

export interface PublishedBundle {
  /** The roots, PEM; empty when the key is missing. */
  readonly pem: string;
  /** What the annotation says the SHA-256 of `pem` is; undefined without the annotation. */
  readonly sha256: string | undefined;
}

export interface StoredBundle extends PublishedBundle {
  /** The ConfigMap's resourceVersion. */
  readonly version: string;
}

/** What tells of an authority this mesh had, beside its Secret and its bundle. Everything here is written after the Secret. */
export interface Evidence {
  /** `Mesh.status.authority`: what the replica that led last said it signs with. */
  readonly reported: MeshStatus['authority'];
  /** The trust bundles node proxies verify peers with, by SHA-256; empty where something was reported. */
  readonly acknowledged: readonly string[];
}

export interface EvidenceStore {
  /** Never from a cache: an old one would look like a cluster that never had an authority. */
  read(): Promise<Evidence>;
}
