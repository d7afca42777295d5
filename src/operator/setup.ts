import { apiGroup, components } from '../api/names.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import type { MeshOperator } from '../kube/controller/mesh-operator.ts';
import { EventRecorder } from '../kube/events.ts';
import type { ObjectName } from '../render/known-objects.ts';
import type { Release } from '../render/release.ts';
import { createCaches } from './caches.ts';
import { enrolmentSources, reconcileEnrolment } from './enrolment/enrolment.ts';
import { meshSources, reconcileMesh } from './mesh/mesh.ts';
import { reconcileServerFeatures, serverFeatureSources, serverFeatures } from './mesh/server-features.ts';
import { namespaceSources, reconcileNamespace } from './namespaces/namespace.ts';
import { meshNodeSources, reconcileMeshNode } from './nodes/mesh-node.ts';
import { nodeSources, reconcileNode } from './nodes/node.ts';

export interface ControllersOptions {
  release: Release;
  /** This replica, for example its pod's name: the reporting instance of Events. */
  instance: string;
  clock?: Clock;
  /** The API server offers other kinds than when the operator started, which has to start anew for them. */
  onOtherServer?: () => void;
  /** What earlier versions rendered; for tests. */
  retired?: readonly ObjectName[];
}

/** Registers everything the operator watches and does, once the API server has said what it offers. */
export async function setupControllers(operator: MeshOperator, options: ControllersOptions): Promise<void> {
  const { client, log } = operator;
  const { release, instance, clock = systemClock, onOtherServer, retired } = options;
  const features = await operator.ask('what it serves', serverFeatures);
  log.info({ ...features }, 'the API server was asked what it serves');
  const caches = createCaches(operator, features, retired);
  const controller = `${apiGroup}/${components.operator}`;
  const events = new EventRecorder({ client, controller, instance, log, clock });
  const context = { client, caches, release, features, clock, log, events };
  operator.control({ name: 'mesh', sources: meshSources(caches), reconcile: reconcileMesh(context) });
  operator.control({
    name: 'mesh-node',
    sources: meshNodeSources(caches),
    reconcile: reconcileMeshNode(context),
    workers: 4,
  });
  operator.control({ name: 'node', sources: nodeSources(caches), reconcile: reconcileNode(context), workers: 4 });
  operator.control({
    name: 'namespace',
    sources: namespaceSources(caches),
    reconcile: reconcileNamespace(context),
    workers: 4,
  });
  operator.control({ name: 'enrolment', sources: enrolmentSources(caches), reconcile: reconcileEnrolment(context) });
  const onOthers = (found: typeof features) => {
    log.info({ ...found, before: features }, 'the API server offers other kinds than when the operator started');
    onOtherServer?.();
  };
  operator.control({
    name: 'server-features',
    sources: serverFeatureSources,
    reconcile: reconcileServerFeatures(client, features, onOthers),
  });
}
