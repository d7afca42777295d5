import { apiGroup, apiVersionName, components } from '../api/names.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import { KubeOperator, type OperatorOptions } from '../kube/controller/operator.ts';
import { EventRecorder } from '../kube/events.ts';
import { concernsWriters } from '../kube/status.ts';
import type { ObjectName } from '../render/known-objects.ts';
import type { Release } from '../render/release.ts';
import { createCaches } from './caches.ts';
import type { OperatorContext } from './context.ts';
import { enrolmentSources, reconcileEnrolment } from './enrolment/enrolment.ts';
import { meshSources, onMesh } from './mesh/mesh.ts';
import { reconcileServerFeatures, serverFeatureSources, serverFeatures } from './mesh/server-features.ts';
import { namespaceSources, reconcileNamespace } from './namespaces/namespace.ts';
import { createMeshNode, meshNodeSources, newMeshNodeSources, onMeshNode } from './nodes/mesh-node.ts';
import { nodeSources, reconcileNode } from './nodes/node.ts';

export interface MeshOperatorOptions extends OperatorOptions {
  release: Release;
  /** This replica, for example its pod's name: the reporting instance of Events. */
  instance: string;
  clock?: Clock;
  /** The API server offers other kinds than when the operator started, which has to start anew for them. */
  onOtherServer?: () => void;
  /** What earlier versions rendered; for tests. */
  retired?: readonly ObjectName[];
}

/** The operator: our own kinds are watched resources, and what it does about others is a controller each. */
export class MeshOperator extends KubeOperator {
  readonly #options: MeshOperatorOptions;

  constructor(options: MeshOperatorOptions) {
    super(options);
    this.#options = options;
  }

  protected override async init(): Promise<void> {
    const { client, log } = this;
    const { onOtherServer, retired } = this.#options;
    const features = await this.ask('what it serves', serverFeatures);
    log.info({ ...features }, 'the API server was asked what it serves');
    const caches = createCaches(this, features, retired);
    const context: OperatorContext = { ...this.#context(), caches, features };
    const mesh = { sources: meshSources(caches), concerns: concernsWriters };
    await this.watchResource(apiGroup, apiVersionName, 'meshes', onMesh(context), undefined, mesh);
    const meshNode = { sources: meshNodeSources(caches), workers: 4 };
    await this.watchResource(apiGroup, apiVersionName, 'meshnodes', onMeshNode(context), undefined, meshNode);
    const workers = 4;
    this.control({
      name: 'new-meshnodes',
      sources: newMeshNodeSources(caches),
      reconcile: createMeshNode(context),
      workers,
    });
    this.control({ name: 'nodes', sources: nodeSources(caches), reconcile: reconcileNode(context), workers });
    this.control({
      name: 'namespaces',
      sources: namespaceSources(caches),
      reconcile: reconcileNamespace(context),
      workers,
    });
    this.control({ name: 'enrolment', sources: enrolmentSources(caches), reconcile: reconcileEnrolment(context) });
    const onOthers = (found: typeof features) => {
      log.info({ ...found, before: features }, 'the API server offers other kinds than when the operator started');
      onOtherServer?.();
    };
    this.control({
      name: 'server-features',
      sources: serverFeatureSources,
      reconcile: reconcileServerFeatures(client, features, onOthers),
    });
  }

  #context() {
    const { client, log } = this;
    const { release, instance, clock = systemClock } = this.#options;
    const controller = `${apiGroup}/${components.operator}`;
    return {
      client,
      release,
      clock,
      log,
      events: new EventRecorder({ client, controller, instance, log, clock }),
      handleResourceFinalizer: this.handleResourceFinalizer.bind(this),
      setResourceStatus: this.setResourceStatus.bind(this),
    };
  }
}
