import type { Mesh } from '../api/mesh.ts';
import type { MeshNode } from '../api/mesh-node.ts';
import { meshesPath, meshNodesPath, trustBundle } from '../api/names.ts';
import type { Reflector } from '../kube/cache/reflector.ts';
import type { KubeOperator } from '../kube/controller/operator.ts';
import { type ConfigMap, type KubeObject, type Namespace, type Node, objectKey } from '../kube/objects.ts';
import { knownObjects, nameOf, type ObjectName } from '../render/known-objects.ts';
import { type OwnedKind, ownedKinds } from '../render/mesh-objects.ts';
import { meshLabel } from '../render/ownership.ts';
import type { ServerFeatures } from '../render/server-features.ts';
import { EnrolmentIndex } from './enrolment/pod-index.ts';
import { leanMeshNode, leanNode } from './lean-objects.ts';

/** Local copies of everything the operator's controllers read. */
export interface Caches {
  meshes: Reflector<Mesh>;
  /** Both as `lean-objects.ts` leaves them. */
  meshNodes: Reflector<MeshNode>;
  nodes: Reflector<Node>;
  namespaces: Reflector<Namespace>;
  /** Every ConfigMap named tulle-trust-bundle: control's, and our copies. */
  bundles: Reflector<ConfigMap>;
  owned: OwnedObjects;
  /** What the MeshNodes say of each namespace; up to date before any controller hears of a change. */
  enrolment: EnrolmentIndex;
}

/** The objects rendered from a Mesh, by kind, as they are now. */
export class OwnedObjects {
  readonly reflectors: readonly { kind: OwnedKind; reflector: Reflector<KubeObject> }[];

  readonly #known: ReadonlySet<string>;

  constructor(
    features: ServerFeatures,
    reflect: (path: string, labelSelector: string) => Reflector<KubeObject>,
    retired?: readonly ObjectName[],
  ) {
    this.#known = knownObjects(features, retired);
    this.reflectors = ownedKinds(features).map((kind) => ({ kind, reflector: reflect(kind.path, meshLabel) }));
  }

  find(object: KubeObject): KubeObject | undefined {
    return this.#of(object.kind)?.store.get(objectKey(object));
  }

  get<T extends KubeObject>(kind: string, key: string): (T | KubeObject) | undefined {
    return this.#of(kind)?.store.get(key);
  }

  /** Everything rendered from this Mesh, by this version or an earlier one. Whatever else carries its label is not ours. */
  of(mesh: string): KubeObject[] {
    return this.reflectors
      .flatMap(({ reflector }) => reflector.store.list())
      .filter(({ kind = '', metadata }) => {
        return metadata.labels?.[meshLabel] === mesh && this.#known.has(nameOf({ kind, name: metadata.name }));
      });
  }

  #of(kind: string | undefined): Reflector<KubeObject> | undefined {
    return this.reflectors.find((owned) => owned.kind.kind === kind)?.reflector;
  }
}

/**
 * These end one by one, as watch events. While a list without any is a mistake, Nodes would be opened and MeshNodes let go; it
 * must last so long, ms.
 */
const emptyMustLastMs = 5 * 60_000;

/** Registers the reflectors with the operator. */
export function createCaches(
  operator: Pick<KubeOperator, 'reflect'>,
  features: ServerFeatures,
  retired?: readonly ObjectName[],
): Caches {
  const enrolment = new EnrolmentIndex();
  const meshNodes = operator.reflect<MeshNode>({ path: meshNodesPath, transform: leanMeshNode, emptyMustLastMs });
  meshNodes.onEvent((event) => {
    const pods = event.type === 'deleted' ? [] : (event.object.status?.pods ?? []);
    enrolment.set(event.object.metadata.name, pods);
  });
  return {
    meshes: operator.reflect<Mesh>({ path: meshesPath, emptyMustLastMs }),
    meshNodes,
    nodes: operator.reflect<Node>({ path: '/api/v1/nodes', transform: leanNode, emptyMustLastMs }),
    namespaces: operator.reflect<Namespace>({ path: '/api/v1/namespaces' }),
    bundles: operator.reflect<ConfigMap>({
      path: '/api/v1/configmaps',
      query: { fieldSelector: `metadata.name=${trustBundle.configMapName}` },
    }),
    owned: new OwnedObjects(
      features,
      (path, labelSelector) => operator.reflect<KubeObject>({ path, query: { labelSelector } }),
      retired,
    ),
    enrolment,
  };
}
