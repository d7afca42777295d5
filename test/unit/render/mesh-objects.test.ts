import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { type MeshSpec, type MeshSpecInput, parseMeshSpec } from '../../../src/api/mesh.ts';
import { stableJson } from '../../../src/kube/client/server-side-apply.ts';
import { type KubeObject, type Manifest, objectKey } from '../../../src/kube/objects.ts';
import { ownedKinds, renderMesh } from '../../../src/render/mesh-objects.ts';
import type { ServerFeatures } from '../../../src/render/server-features.ts';

const root = join(import.meta.dirname, '../../..');
const features = { mutatingAdmission: 'v1' } as const;
const controlAddresses = ['10.96.0.7', 'fd00::7'];
const release = { version: '0.1.0', image: 'tulle.dev/tulle:0.1.0', nodeImage: 'tulle.dev/tulle-node:0.1.0' };

interface PodSpec {
  serviceAccountName: string;
  automountServiceAccountToken?: boolean;
  hostNetwork?: boolean;
  hostPID?: boolean;
  terminationGracePeriodSeconds: number;
  tolerations?: object[];
  hostAliases?: object[];
  priorityClassName: string;
  containers: {
    image: string;
    env: { name: string; value?: string }[];
    resources: object;
    readinessProbe?: object;
    securityContext: {
      runAsNonRoot?: boolean;
      runAsUser: number;
      privileged?: boolean;
      readOnlyRootFilesystem: boolean;
      allowPrivilegeEscalation?: boolean;
      capabilities: { drop: string[]; add?: string[] };
      seccompProfile: { type: string };
    };
    volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
  }[];
  volumes?: { name: string; hostPath?: { path: string }; configMap?: { optional?: boolean }; projected?: object }[];
}

interface Workload extends KubeObject {
  spec: { replicas?: number; updateStrategy?: object; strategy?: object; template: { spec: PodSpec } };
}

function specOf(input: MeshSpecInput = {}): MeshSpec {
  const { spec, problems } = parseMeshSpec(input);
  assert.ok(spec, JSON.stringify(problems));
  return spec;
}

function render(input: MeshSpecInput = {}, offered: ServerFeatures = features): Manifest[] {
  return renderMesh(specOf(input), { release, features: offered, controlAddresses }, 'default');
}

function workload(name: string, input: MeshSpecInput = {}): Workload {
  const found = render(input).find(({ kind, metadata }) => /Deployment|DaemonSet/.test(kind) && metadata.name === name);
  assert.ok(found, name);
  return JSON.parse(JSON.stringify(found));
}

function container(name: string, input: MeshSpecInput = {}) {
  const [only] = workload(name, input).spec.template.spec.containers;
  assert.ok(only);
  return only;
}

const env = (name: string, input: MeshSpecInput = {}) =>
  Object.fromEntries(container(name, input).env.map((variable) => [variable.name, variable.value]));

describe('what a Mesh is rendered into', () => {
  it('is the same each time, and names nothing twice', () => {
    assert.equal(stableJson(render()), stableJson(render()));
    const names = render().map((object) => `${object.kind} ${objectKey(object)}`);
    assert.equal(new Set(names).size, names.length);
  });

  it('is of kinds the operator watches, in tulle-system where namespaced, marked with its Mesh', () => {
    for (const { apiVersion, kind, metadata } of render()) {
      const owned = ownedKinds(features).find(
        (candidate) => candidate.apiVersion === apiVersion && candidate.kind === kind,
      );
      assert.ok(owned, `${kind} is rendered but not watched, so it would never be pruned`);
      assert.equal(metadata.namespace, owned.path.includes('/namespaces/') ? 'tulle-system' : undefined, kind);
      assert.equal(metadata.labels?.['mesh.tulle.dev/mesh'], 'default');
      assert.equal(metadata.labels?.['app.kubernetes.io/managed-by'], 'tulle');
    }
  });

  it("runs each part as its own service account, with the release's images", () => {
    for (const name of ['tulle-control', 'tulle-agent', 'tulle-proxy']) {
      assert.equal(workload(name).spec.template.spec.serviceAccountName, name);
    }
    assert.equal(container('tulle-control').image, release.image);
    assert.equal(container('tulle-agent').image, release.nodeImage);
    assert.equal(container('tulle-proxy').image, release.nodeImage);
  });

  it('gives every container a read-only root, the default seccomp profile, named capabilities and no privilege', () => {
    for (const name of ['tulle-control', 'tulle-agent', 'tulle-proxy']) {
      const { securityContext } = container(name);
      assert.equal(securityContext.readOnlyRootFilesystem, true, name);
      assert.equal(securityContext.seccompProfile.type, 'RuntimeDefault', name);
      assert.deepEqual(securityContext.capabilities.drop, ['ALL'], name);
      assert.equal(securityContext.privileged, undefined, name);
    }
  });

  it('runs control without root and without a capability', () => {
    const { securityContext } = container('tulle-control');
    assert.equal(securityContext.runAsNonRoot, true);
    assert.equal(securityContext.allowPrivilegeEscalation, false);
    assert.equal(securityContext.capabilities.add, undefined);
    assert.equal(workload('tulle-control').spec.template.spec.volumes, undefined);
  });

  it('gives the proxy what it needs to open sockets in pods, and no right to the API', () => {
    assert.deepEqual(container('tulle-proxy').securityContext.capabilities.add, [
      'SYS_ADMIN',
      'NET_ADMIN',
      'SETUID',
      'SETGID',
      'CHOWN',
    ]);
    const pod = workload('tulle-proxy').spec.template.spec;
    assert.equal(pod.automountServiceAccountToken, false);
    assert.equal(pod.hostNetwork ?? false, false);
    assert.equal(pod.hostPID ?? false, false);
  });

  it("gives the agent the host's network and processes, and the node's CNI folders where the Mesh says they are", () => {
    const input = { node: { cniConfDir: '/var/cni/conf', cniBinDir: '/var/cni/bin' } };
    const pod = workload('tulle-agent', input).spec.template.spec;
    assert.deepEqual([pod.hostNetwork, pod.hostPID], [true, true]);
    const paths = pod.volumes?.map(({ hostPath }) => hostPath?.path);
    assert.deepEqual(paths, ['/run/tulle', '/var/cni/conf', '/var/cni/bin']);
    assert.deepEqual(container('tulle-agent').securityContext.capabilities.add, [
      'SYS_ADMIN',
      'NET_ADMIN',
      'SYS_PTRACE',
      'NET_RAW',
      'DAC_OVERRIDE',
    ]);
  });

  it('gives the agent longer to stop than it waits for proxies at the end', () => {
    const source = readFileSync(join(root, 'dataplane/agent/src/main.rs'), 'utf8');
    const waits = Number(/FAREWELL: Duration = Duration::from_secs\((\d+)\)/.exec(source)?.[1]);
    assert.ok(workload('tulle-agent').spec.template.spec.terminationGracePeriodSeconds > waits);
  });

  it('runs agent and proxy on every node, whatever its taints, ahead of other pods', () => {
    for (const name of ['tulle-agent', 'tulle-proxy']) {
      const pod = workload(name).spec.template.spec;
      assert.deepEqual(pod.tolerations, [{ operator: 'Exists' }]);
      assert.equal(pod.priorityClassName, 'system-node-critical');
    }
  });

  it('R36 taints nodes as they are created, in the version that the API server has, where it has one', () => {
    const versions = (offered: ServerFeatures['mutatingAdmission'], input: MeshSpecInput = {}) =>
      render(input, { mutatingAdmission: offered })
        .filter(({ kind }) => kind.startsWith('MutatingAdmissionPolicy'))
        .map(({ apiVersion, kind }) => `${apiVersion} ${kind}`);
    for (const version of ['v1', 'v1beta1'] as const) {
      assert.deepEqual(versions(version), [
        `admissionregistration.k8s.io/${version} MutatingAdmissionPolicy`,
        `admissionregistration.k8s.io/${version} MutatingAdmissionPolicyBinding`,
      ]);
    }
    assert.deepEqual(versions(undefined), []);
    assert.deepEqual(versions('v1', { node: { startupTaint: 'Off' } }), []);
    assert.equal(ownedKinds({ mutatingAdmission: undefined }).length, ownedKinds(features).length - 2);
  });

  it('R40 denies opting out where the Mesh says so, and only there', () => {
    const policies = (input: MeshSpecInput) =>
      render(input)
        .filter(({ metadata }) => metadata.name === 'pod-opt-out.mesh.tulle.dev')
        .map(({ kind }) => kind);
    assert.deepEqual(policies({}), []);
    assert.deepEqual(policies({ enrolment: { podOptOut: 'Denied' } }), [
      'ValidatingAdmissionPolicy',
      'ValidatingAdmissionPolicyBinding',
    ]);
  });

  it('R36 starts on a cluster of new nodes only: nothing it needs there waits for the taint to go', () => {
    const [operator] = parseAllDocuments(readFileSync(join(root, 'config/operator/deployment.yaml'), 'utf8'));
    const toleration = { key: 'mesh.tulle.dev/not-ready', operator: 'Exists', effect: 'NoSchedule' };
    assert.deepEqual(operator?.toJS().spec.template.spec.tolerations, [toleration]);
    assert.deepEqual(workload('tulle-control').spec.template.spec.tolerations, [toleration]);
    const hostnames = ['tulle-control.tulle-system.svc'];
    assert.deepEqual(
      workload('tulle-proxy').spec.template.spec.hostAliases,
      controlAddresses.map((ip) => ({ ip, hostnames })),
    );
    assert.equal(new URL(env('tulle-proxy').TULLE_CONTROL_ADDRESS ?? '').hostname, hostnames[0]);
  });

  it('replaces a proxy only when the new one is ready, and gives the old one time to drain', () => {
    const { updateStrategy, template } = workload('tulle-proxy', { node: { drainSeconds: 300 } }).spec;
    assert.deepEqual(updateStrategy, { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } });
    assert.ok(template.spec.terminationGracePeriodSeconds > 300);
    assert.equal(env('tulle-proxy', { node: { drainSeconds: 300 } }).TULLE_DRAIN_SECONDS, '300');
    const probe = { path: '/healthz/ready', port: 15021 };
    assert.deepEqual(container('tulle-proxy').readinessProbe, {
      httpGet: probe,
      periodSeconds: 2,
      failureThreshold: 3,
      timeoutSeconds: 2,
    });
  });

  it('holds the proxy back until there is a trust bundle, and gives it a token for the certificate service only', () => {
    const volumes = workload('tulle-proxy').spec.template.spec.volumes ?? [];
    const bundle = volumes.find(({ configMap }) => configMap !== undefined);
    assert.equal(bundle?.configMap?.optional ?? false, false);
    const token = volumes.find(({ projected }) => projected !== undefined);
    const source = { serviceAccountToken: { path: 'token', audience: 'tulle-ca', expirationSeconds: 3600 } };
    assert.deepEqual(token?.projected, { sources: [source] });
    const mounts = container('tulle-proxy')
      .volumeMounts?.filter(({ readOnly }) => readOnly)
      .map(({ mountPath }) => mountPath);
    assert.deepEqual(mounts, ['/etc/tulle/trust', '/var/run/secrets/tulle']);
  });

  it('follows the spec', () => {
    const input: MeshSpecInput = {
      trustDomain: 'mesh.example.org',
      control: { replicas: 5, logLevel: 'debug', resources: { requests: { cpu: 1, memory: '1Gi' } } },
      node: { logLevel: 'warn' },
      telemetry: { accessLog: 'Errors' },
    };
    assert.equal(workload('tulle-control', input).spec.replicas, 5);
    assert.deepEqual(container('tulle-control', input).resources, { requests: { cpu: '1', memory: '1Gi' } });
    assert.equal(env('tulle-control', input).TULLE_LOG, 'debug');
    assert.equal(env('tulle-proxy', input).TULLE_LOG, 'warn');
    assert.equal(env('tulle-agent', input).TULLE_LOG, 'warn');
    assert.equal(env('tulle-proxy', input).TULLE_ACCESS_LOG, 'Errors');
    assert.equal(env('tulle-proxy', input).TULLE_TRUST_DOMAIN, 'mesh.example.org');
    assert.equal(env('tulle-control', input).TULLE_TRUST_DOMAIN, 'mesh.example.org');
  });

  it('asks for little: a laptop with two cores has room for it twice', () => {
    const cpu = ['tulle-control', 'tulle-control', 'tulle-agent', 'tulle-proxy'].map((name) => {
      const { requests }: { requests?: { cpu?: string } } = container(name).resources;
      return Number(requests?.cpu?.replace(/m$/, ''));
    });
    assert.ok(cpu.reduce((sum, milli) => sum + milli, 0) <= 200, `${cpu} m`);
  });
});
