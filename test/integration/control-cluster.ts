import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { components, meshName, systemNamespace, trustBundle } from '../../src/api/names.ts';
import { ControlReplica } from '../../src/control/replica.ts';
import type { ControlSettings } from '../../src/control/settings.ts';
import { KubeClient } from '../../src/kube/client/client.ts';
import type { ConfigMap, KubeObject, Pod } from '../../src/kube/objects.ts';
import { renderAccess } from '../../src/render/access.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';

interface Created {
  readonly metadata: { readonly uid: string };
}

interface RecordedEvent extends KubeObject {
  readonly note: string;
  readonly regarding?: { readonly kind?: string; readonly name?: string };
}

interface Token {
  readonly status: { readonly token: string };
}

export interface PodSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly ip?: string;
  readonly node?: string;
  readonly serviceAccount?: string;
  readonly labels?: Record<string, string>;
  readonly hostNetwork?: boolean;
}

/** A real API server with Tulle's kinds and rights on it, and control replicas that use those rights and no others. */
export class ControlCluster {
  readonly api: ApiServer;
  readonly admin: KubeClient;
  readonly #folder = mkdtempSync(join(tmpdir(), 'tulle-control-'));
  readonly #replicas: { replica: ControlReplica; client: KubeClient }[] = [];

  private constructor(api: ApiServer) {
    this.api = api;
    this.admin = KubeClient.fromFile(api.kubeconfig);
  }

  static async start(): Promise<ControlCluster> {
    const cluster = new ControlCluster(await startApiServer());
    await cluster.#install();
    return cluster;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#replicas.map(({ replica }) => replica.stop()));
    await Promise.all(this.#replicas.map(({ client }) => client.close()));
    await this.admin.close();
    await this.api.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A control replica with the service account of tulle-control, on free ports. Not started yet. */
  async replica(
    instance = 'control-0',
    connect: (kubeconfig: string) => KubeClient = (file) => KubeClient.fromFile(file),
    told: Partial<ControlSettings> = {},
  ): Promise<ControlReplica> {
    const kubeconfig = join(this.#folder, `${instance}.json`);
    const token = await this.token(systemNamespace, components.control, {});
    writeFileSync(kubeconfig, this.#kubeconfig(token));
    const client = connect(kubeconfig);
    const settings = {
      trustDomain: 'cluster.local',
      version: '0.1.0',
      instance,
      grpcPort: 0,
      httpPort: 0,
      metricsPort: 0,
      plaintextMetricsPort: undefined,
      leaveMs: 0,
      ...told,
    };
    const log = pino({ level: process.env.TULLE_LOG ?? 'silent' });
    const replica = new ControlReplica({ client, settings, log });
    this.#replicas.push({ replica, client });
    return replica;
  }

  /** The published trust bundle, PEM. */
  async roots(): Promise<string> {
    const path = `/api/v1/namespaces/${systemNamespace}/configmaps/${trustBundle.configMapName}`;
    return (await this.admin.get<ConfigMap>(path)).data?.[trustBundle.key] ?? '';
  }

  /** A token for the audience of tulle-control. */
  async proxyToken(pod = 'proxy-node-1', serviceAccount: string = components.proxy, namespace = systemNamespace) {
    return this.token(namespace, serviceAccount, {
      audiences: ['tulle-ca'],
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod },
    });
  }

  async token(namespace: string, serviceAccount: string, spec: object): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`;
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec };
    return (await this.admin.create<Token>(path, request)).status.token;
  }

  /** A namespace with these service accounts. */
  async namespace(name: string, ...serviceAccounts: string[]): Promise<void> {
    await this.admin.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }, { fieldManager: 'test' });
    for (const account of serviceAccounts) {
      const metadata = { name: account, namespace: name };
      await this.admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata }, { fieldManager: 'test' });
    }
  }

  /** A pod that runs and is ready, as a kubelet would report it. @returns its UID */
  async pod({ namespace = 'shop', node = 'node-1', ...spec }: PodSpec): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const created = await this.admin.create<Created>(path, {
      metadata: { name: spec.name, labels: spec.labels ?? {} },
      spec: {
        nodeName: node,
        serviceAccountName: spec.serviceAccount ?? 'default',
        hostNetwork: spec.hostNetwork === true,
        containers: [{ name: 'main', image: 'none' }],
      },
    });
    if (spec.ip !== undefined) await this.podStatus(namespace, spec.name, spec.ip);
    return created.metadata.uid;
  }

  async podStatus(namespace: string, name: string, podIP: string, ready = true): Promise<void> {
    const conditions = [{ type: 'Ready', status: ready ? 'True' : 'False' }];
    const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }], conditions };
    await this.admin.patch<Pod>(`/api/v1/namespaces/${namespace}/pods/${name}/status`, { status });
  }

  async podUid(namespace: string, name: string): Promise<string> {
    return (await this.admin.get<Created>(`/api/v1/namespaces/${namespace}/pods/${name}`)).metadata.uid;
  }

  /** The first Event about this cluster-scoped object, once there is one. */
  async event(kind: string, name: string): Promise<RecordedEvent> {
    const path = '/apis/events.k8s.io/v1/namespaces/default/events';
    const isAbout = ({ regarding }: RecordedEvent) => regarding?.kind === kind && regarding.name === name;
    const { items, metadata } = await this.admin.list<RecordedEvent>(path);
    const found = items.find(isAbout);
    if (found !== undefined) return found;
    const { resourceVersion } = metadata;
    const limit = AbortSignal.timeout(20_000);
    for await (const { object } of this.admin.watch<RecordedEvent>(path, { resourceVersion }, limit)) {
      if (isAbout(object)) return object;
    }
    throw new Error(`no Event about ${kind} ${name}`);
  }

  /** At once: there is no kubelet that would confirm the end. */
  async removePod(namespace: string, name: string): Promise<void> {
    await this.admin.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, { gracePeriodSeconds: 0 });
  }

  /** What the agent of a node would report: these pods, by UID, captured or not. */
  async report(node: string, pods: Readonly<Record<string, boolean>>): Promise<void> {
    const entries = Object.entries(pods).map(([uid, captured]) => ({
      uid,
      namespace: 'shop',
      name: uid,
      serviceAccount: 'default',
      captured,
      state: captured ? 'Secured' : 'Pending',
      since: '2026-01-01T00:00:00Z',
    }));
    const apiVersion = 'mesh.tulle.dev/v1alpha1';
    await this.admin.applyStatus(
      { apiVersion, kind: 'MeshNode', metadata: { name: node }, status: { pods: entries } },
      { fieldManager: 'tulle-agent', force: true },
    );
  }

  async mesh(spec: object): Promise<void> {
    const mesh = { apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'Mesh', metadata: { name: meshName }, spec };
    await this.admin.apply(mesh, { fieldManager: 'test' });
  }

  async #install(): Promise<void> {
    await this.api.apply(['mesh', 'meshnode'].map((kind) => readFileSync(`crds/${kind}.yaml`, 'utf8')).join('\n---\n'));
    await this.api.kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=20s');
    for (const name of [systemNamespace, 'shop']) {
      await this.admin.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    }
    await this.api.apply(readFileSync('config/rbac/control-authority.yaml', 'utf8'));
    for (const manifest of renderAccess(meshName)) await this.admin.apply(manifest, { fieldManager: 'test' });
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'shop' } };
    await this.admin.apply(account, { fieldManager: 'test' });
    for (const node of ['node-1', 'node-2']) {
      const labels = { 'topology.kubernetes.io/zone': `zone-of-${node}`, 'kubernetes.io/os': 'linux' };
      await this.admin.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: node, labels } });
      await this.admin.apply(
        { apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'MeshNode', metadata: { name: node } },
        { fieldManager: 'test' },
      );
      await this.pod({
        name: `proxy-${node}`,
        namespace: systemNamespace,
        node,
        serviceAccount: components.proxy,
        ip: `10.255.0.${node.at(-1)}`,
      });
    }
  }

  /** JSON is YAML. */
  #kubeconfig(token: string): string {
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server: this.api.url, 'certificate-authority': this.api.caFile } }],
      users: [{ name: 'control', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'control' } }],
      'current-context': 'test',
    });
  }
}
