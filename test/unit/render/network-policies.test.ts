import assert from 'node:assert/strict';
import { type MeshSpecInput, parseMeshSpec } from '../../../src/api/mesh.ts';
import { stableJson } from '../../../src/kube/client/server-side-apply.ts';
import type { Manifest } from '../../../src/kube/objects.ts';
import { renderMesh } from '../../../src/render/mesh-objects.ts';

const release = { version: '0.1.0', image: 'tulle.dev/tulle:0.1.0', nodeImage: 'tulle.dev/tulle-node:0.1.0' };
const surroundings = { release, features: { mutatingAdmission: 'v1' }, controlAddresses: ['10.96.0.7'] } as const;
const plain = 15014;

function render(...plaintextMetricsFrom: string[]): Manifest[] {
  const input: MeshSpecInput = { telemetry: { plaintextMetricsFrom } };
  const { spec, problems } = parseMeshSpec(input);
  assert.ok(spec, JSON.stringify(problems));
  return renderMesh(spec, surroundings, 'default');
}

interface Workload {
  spec: {
    template: {
      metadata: { labels: Record<string, string> };
      spec: { containers: { env: { name: string; value?: string }[]; ports: { containerPort: number }[] }[] };
    };
  };
}

interface Policy {
  metadata: { name: string; namespace: string };
  spec: {
    podSelector: { matchLabels: Record<string, string> };
    policyTypes: string[];
    ingress: { from?: object[]; ports: { port: number; protocol: string }[] }[];
  };
}

function found<T>(objects: Manifest[], kind: string, name: string): T {
  const object = objects.find((each) => each.kind === kind && each.metadata.name === name);
  assert.ok(object, `${kind} ${name}`);
  return JSON.parse(JSON.stringify(object));
}

for (const [name, kind] of [
  ['tulle-control', 'Deployment'],
  ['tulle-proxy', 'DaemonSet'],
] as const) {
  describe(`R20 metrics of ${name} without TLS`, () => {
    const policy = (...from: string[]) => found<Policy>(render(...from), 'NetworkPolicy', name);
    const workload = (...from: string[]) => found<Workload>(render(...from), kind, name);
    const container = (...from: string[]) => {
      const [only] = workload(...from).spec.template.spec.containers;
      assert.ok(only);
      return only;
    };
    const portsOf = (...from: string[]) => container(...from).ports.map(({ containerPort }) => containerPort);

    it('are served where the Mesh names who reads them, and only there', () => {
      const told = (...from: string[]) => container(...from).env.filter((each) => each.name.includes('PLAINTEXT'));
      assert.deepEqual(told(), []);
      assert.ok(!portsOf().includes(plain));
      assert.deepEqual(told('monitoring'), [{ name: 'TULLE_PLAINTEXT_METRICS_PORT', value: String(plain) }]);
      assert.ok(portsOf('monitoring').includes(plain));
    });

    it('reach pods of the namespaces that the Mesh names', () => {
      const [, rule, ...more] = policy('monitoring', 'audit').spec.ingress;
      const names = { key: 'kubernetes.io/metadata.name', operator: 'In', values: ['monitoring', 'audit'] };
      assert.deepEqual(rule, {
        from: [{ namespaceSelector: { matchExpressions: [names] } }],
        ports: [{ port: plain, protocol: 'TCP' }],
      });
      assert.deepEqual(more, []);
    });

    it('reach nobody where it names none: the policy is there before the port and after it', () => {
      assert.deepEqual(
        policy().spec.ingress.flatMap(({ ports }) => ports.filter(({ port }) => port === plain)),
        [],
      );
      for (const from of [[], ['monitoring']]) {
        const kinds = render(...from).filter(({ metadata }) => metadata.name === name);
        const order = kinds.map((object) => object.kind).filter((each) => each === 'NetworkPolicy' || each === kind);
        assert.deepEqual(order, ['NetworkPolicy', kind]);
      }
    });

    it('leave every other port open to everybody', () => {
      for (const from of [[], ['monitoring']]) {
        const [everybody] = policy(...from).spec.ingress;
        assert.ok(everybody);
        assert.equal(everybody.from, undefined);
        assert.deepEqual(
          everybody.ports,
          portsOf().map((port) => ({ port, protocol: 'TCP' })),
        );
      }
    });

    it('have a policy that selects these pods', () => {
      const { metadata, spec } = policy();
      assert.equal(metadata.namespace, 'tulle-system');
      assert.deepEqual(spec.policyTypes, ['Ingress']);
      const { labels } = workload().spec.template.metadata;
      const selected = Object.entries(spec.podSelector.matchLabels);
      assert.ok(selected.length > 0 && selected.every(([key, value]) => labels[key] === value));
    });

    it('go to other namespaces without replacing a pod', () => {
      assert.equal(stableJson(workload('monitoring')), stableJson(workload('audit', 'monitoring')));
    });
  });
}
