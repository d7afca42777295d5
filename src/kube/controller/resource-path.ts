import { type ResourceMeta, ResourceMetaImpl } from '@dot-i/k8s-operator';
import type { KubeObject } from '../objects.ts';

/** The API path of a collection; `group` is '' for the core group. */
export function resourcePath(group: string, version: string, plural: string, namespace?: string): string {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return namespace === undefined ? `${root}/${plural}` : `${root}/namespaces/${namespace}/${plural}`;
}

/** The API path of the collection that an object of the library's is in. */
export function collectionOf({ id, apiVersion, namespace }: ResourceMeta): string {
  const [plural = ''] = id.split('.', 1);
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/', 2) : ['', apiVersion];
  return resourcePath(group ?? '', version ?? '', plural, namespace);
}

/** Throws for an object without name, version and kind. */
export function metaOf(id: string, object: KubeObject): ResourceMeta {
  return ResourceMetaImpl.createWithId(id, mutable(object));
}

/** The base library's objects have mutable lists. */
export function mutable({ apiVersion, kind, metadata }: KubeObject) {
  const { name, namespace, uid, resourceVersion, generation, labels, annotations, finalizers } = metadata;
  return {
    ...(apiVersion === undefined ? {} : { apiVersion }),
    ...(kind === undefined ? {} : { kind }),
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(generation === undefined ? {} : { generation }),
      ...(metadata.deletionTimestamp === undefined ? {} : { deletionTimestamp: new Date(metadata.deletionTimestamp) }),
      labels: { ...labels },
      annotations: { ...annotations },
      finalizers: [...(finalizers ?? [])],
    },
  };
}
