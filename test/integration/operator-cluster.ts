import { KubeConfig } from '@kubernetes/client-node';
import { ApiError, KubeClient } from '../../src/kube/client/client.ts';
import { type KubeObject, objectKey } from '../../src/kube/objects.ts';
import { MeshOperator } from '../../src/operator/operator.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import type { ApiServer } from '../fixtures/apiserver.ts';

export const release = { version: '0.1.0', image: 'tulle.dev/tulle:0.1.0', nodeImage: 'tulle.dev/tulle-node:0.1.0' };

/** What the API server of the fixture offers, and where the Service of control is once there is one. */
export const surroundings = { release, features: { mutatingAdmission: 'v1' }, controlAddresses: [] } as const;

/** A KubeConfig for the API server of a fixture, with a bearer token. */
export function kubeConfigFor(api: ApiServer, token: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'test', server: api.url, caFile: api.caFile }],
    users: [{ name: 'test', token }],
    contexts: [{ name: 'test', cluster: 'test', user: 'test' }],
    currentContext: 'test',
  });
  return config;
}

/** Kinds, namespace, and the operator's own rights, as `kubectl apply -k config/` installs them. */
export async function installConfig(api: ApiServer): Promise<void> {
  await api.apply(await api.kubectl('kustomize', 'config'));
  await api.kubectl('wait', '--for=condition=Established', 'crd/meshes.mesh.tulle.dev', 'crd/meshnodes.mesh.tulle.dev');
}

/** A token of the service account the operator runs as. */
export async function operatorToken(api: ApiServer): Promise<string> {
  return (await api.kubectl('-n', 'tulle-system', 'create', 'token', 'tulle-operator')).trim();
}

/** What an earlier version rendered, as far as these tests go. */
const retired = [{ kind: 'ServiceAccount', name: 'tulle-retired' }];

/** An operator in this process that may what the installed operator may, and no more. */
export async function startOperator(api: ApiServer, instance = 'operator-1'): Promise<MeshOperator> {
  const operator = new MeshOperator({
    kubeConfig: kubeConfigFor(api, await operatorToken(api)),
    log: process.env.TULLE_TEST_LOG === undefined ? silentLog : console,
    fieldManager: 'tulle-operator',
    election: { namespace: 'tulle-system', name: 'tulle-operator', identity: instance },
    telemetryPort: 0,
    release,
    instance,
    retired,
  });
  await operator.start();
  return operator;
}

/** A client with all rights. */
export function adminClient(api: ApiServer): KubeClient {
  return new KubeClient(kubeConfigFor(api, api.adminToken));
}

/** The object at `path` once `holds` for it, by watching its collection; undefined stands for an object that is not there. */
export async function eventually<T extends KubeObject>(
  client: KubeClient,
  path: string,
  holds: (object: T | undefined) => boolean,
  limitMs = 20_000,
): Promise<T | undefined> {
  const [collection, name] = [path.slice(0, path.lastIndexOf('/')), path.slice(path.lastIndexOf('/') + 1)];
  const query = { fieldSelector: `metadata.name=${name}` };
  const list = await client.list<T>(collection, query);
  let last = list.items[0];
  if (holds(last)) return last;
  const limit = AbortSignal.timeout(limitMs);
  const watch = client.watch<T>(collection, { ...query, resourceVersion: list.metadata.resourceVersion }, limit);
  try {
    for await (const { type, object } of watch) {
      if (type === 'BOOKMARK') continue;
      last = type === 'DELETED' ? undefined : object;
      if (holds(last)) return last;
    }
  } catch (error) {
    if (!limit.aborted) throw error;
  }
  throw new Error(`${path}: not so within ${limitMs} ms; it is ${JSON.stringify(last, undefined, 1)}`);
}

/** Everything the operator may have written, by path and version: equal maps mean that nothing was written in between. */
export async function versionsOf(client: KubeClient): Promise<Map<string, string>> {
  const versions = new Map<string, string>();
  for (const collection of writtenCollections) {
    for (const object of await client.listAll(collection)) {
      versions.set(`${collection}/${objectKey(object)}`, object.metadata.resourceVersion ?? '');
    }
  }
  return versions;
}

/** What an admission policy answers to `request`; empty when it lets it pass. */
export async function refusal(request: Promise<unknown>): Promise<string> {
  try {
    await request;
    return '';
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return error.message;
    throw error;
  }
}

export const writtenCollections = [
  '/apis/mesh.tulle.dev/v1alpha1/meshes',
  '/apis/mesh.tulle.dev/v1alpha1/meshnodes',
  '/api/v1/namespaces/tulle-system/serviceaccounts',
  '/api/v1/namespaces/tulle-system/services',
  '/api/v1/namespaces/tulle-system/secrets',
  '/api/v1/configmaps',
  '/apis/apps/v1/namespaces/tulle-system/deployments',
  '/apis/apps/v1/namespaces/tulle-system/daemonsets',
  '/apis/networking.k8s.io/v1/namespaces/tulle-system/networkpolicies',
  '/apis/policy/v1/namespaces/tulle-system/poddisruptionbudgets',
  '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies',
  '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings',
  '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies',
  '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings',
  '/api/v1/nodes',
  '/apis/events.k8s.io/v1/events',
];

export interface RecordedEvent extends KubeObject {
  reason?: string;
  type?: string;
  note?: string;
}

/** The Event with this reason in `namespace`, once there is one. */
export async function eventuallyEvent(admin: KubeClient, namespace: string, reason: string): Promise<RecordedEvent> {
  const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
  const list = await admin.list<RecordedEvent>(path);
  const found = list.items.find((event) => event.reason === reason);
  if (found !== undefined) return found;
  const { resourceVersion } = list.metadata;
  for await (const { object } of admin.watch<RecordedEvent>(path, { resourceVersion }, AbortSignal.timeout(20_000))) {
    if (object.reason === reason) return object;
  }
  throw new Error(`no event ${reason}`);
}

/** Nodes as kubelets register them, as one manifest. */
export function nodes(...names: string[]): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: names.map((name) => node(name, 'linux')),
  });
}

export function node(name: string, os: string) {
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/os': os } } };
}

/** What control publishes. */
export function trustBundle(pem: string) {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'tulle-trust-bundle', namespace: 'tulle-system' },
    data: { 'root-cert.pem': pem },
  };
}
