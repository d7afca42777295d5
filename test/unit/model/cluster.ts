import type { MeshNode } from '../../../src/api/mesh-node.ts';
import { type EndpointSlice, type Node, objectKey, type Pod, type Service } from '../../../src/kube/objects.ts';
import type { MeshSettings } from '../../../src/model/mesh.ts';
import { MeshModel } from '../../../src/model/mesh-model.ts';
import { nodeFacts, nodeReport } from '../../../src/model/node-facts.ts';
import { podFacts } from '../../../src/model/pod-facts.ts';
import { serviceFacts } from '../../../src/model/service-facts.ts';
import { sliceFacts } from '../../../src/model/slice-facts.ts';

/** A change of the cluster: an object as it is now, or the name of one that is gone. */
export type Change =
  | { readonly pod: Pod }
  | { readonly noPod: string }
  | { readonly service: Service }
  | { readonly noService: string }
  | { readonly slice: EndpointSlice }
  | { readonly noSlice: string }
  | { readonly node: Node }
  | { readonly noNode: string }
  | { readonly meshNode: MeshNode }
  | { readonly noMeshNode: string }
  | { readonly namespace: string; readonly isMember: boolean }
  | { readonly settings: MeshSettings };

export const permissive: MeshSettings = { trustDomain: 'cluster.local', strictMtls: false };

export function apply(model: MeshModel, change: Change): void {
  if ('pod' in change) model.setPod(objectKey(change.pod), podFacts(change.pod));
  else if ('noPod' in change) model.setPod(change.noPod, undefined);
  else if ('service' in change) model.setService(objectKey(change.service), serviceFacts(change.service));
  else if ('noService' in change) model.setService(change.noService, undefined);
  else if ('slice' in change) model.setSlice(objectKey(change.slice), sliceFacts(change.slice));
  else if ('noSlice' in change) model.setSlice(change.noSlice, undefined);
  else if ('node' in change) model.setNode(change.node.metadata.name, nodeFacts(change.node));
  else if ('noNode' in change) model.setNode(change.noNode, undefined);
  else if ('meshNode' in change) model.setNodeReport(change.meshNode.metadata.name, nodeReport(change.meshNode));
  else if ('noMeshNode' in change) model.setNodeReport(change.noMeshNode, undefined);
  else if ('namespace' in change) model.setNamespace(change.namespace, change.isMember);
  else model.setSettings(change.settings);
}

/** A model of these objects, committed. */
export function modelOf(...changes: readonly Change[]): MeshModel {
  const model = new MeshModel(permissive);
  for (const change of changes) apply(model, change);
  model.commit();
  return model;
}
