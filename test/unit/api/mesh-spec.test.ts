import assert from 'node:assert/strict';
import { parseMeshSpec } from '../../../src/api/mesh.ts';

describe('the spec of a Mesh', () => {
  it('has a default for everything an administrator need not decide', () => {
    for (const absent of [undefined, null, {}]) {
      assert.deepEqual(parseMeshSpec(absent).spec, {
        trustDomain: 'cluster.local',
        mtls: { mode: 'Permissive' },
        enrolment: { existingConnections: { policy: 'End', graceSeconds: 30 }, podOptOut: 'Allowed' },
        authority: { leafTtlSeconds: 86_400, rootTtlSeconds: 315_360_000 },
        control: { replicas: 2, logLevel: 'info' },
        node: {
          engine: 'Tulle',
          drainSeconds: 30,
          logLevel: 'info',
          cniBinDir: '/opt/cni/bin',
          cniConfDir: '/etc/cni/net.d',
          startupTaint: 'Auto',
        },
        waypoint: { replicas: 2 },
        telemetry: { accessLog: 'All', plaintextMetricsFrom: [] },
      });
    }
  });

  it('keeps what is set, beside the defaults', () => {
    const { spec } = parseMeshSpec({
      version: '0.1.0',
      mtls: { mode: 'Strict' },
      control: { replicas: 1, resources: { limits: { cpu: '500m', memory: 134217728 } } },
    });
    assert.equal(spec?.version, '0.1.0');
    assert.equal(spec.mtls.mode, 'Strict');
    assert.deepEqual(spec.control, {
      replicas: 1,
      logLevel: 'info',
      resources: { limits: { cpu: '500m', memory: 134217728 } },
    });
  });

  for (const [field, spec] of [
    ['spec.trustDomain', { trustDomain: 'Cluster.Local' }],
    ['spec.trustDomain', { trustDomain: '' }],
    ['spec.trustDomain', { trustDomain: 'a'.repeat(256) }],
    ['spec.trustDomain', { trustDomain: 'a/b' }],
    ['spec.version', { version: 'latest' }],
    ['spec.mtls.mode', { mtls: { mode: 'strict' } }],
    ['spec.enrolment.existingConnections.graceSeconds', { enrolment: { existingConnections: { graceSeconds: -1 } } }],
    ['spec.enrolment.podOptOut', { enrolment: { podOptOut: 'Never' } }],
    ['spec.authority.leafTtlSeconds', { authority: { leafTtlSeconds: 599 } }],
    ['spec.authority.rootTtlSeconds', { authority: { leafTtlSeconds: 86_400, rootTtlSeconds: 172_800 } }],
    ['spec.control.replicas', { control: { replicas: 0 } }],
    ['spec.control.replicas', { control: { replicas: 1.5 } }],
    ['spec.control.resources.limits.cpu', { control: { resources: { limits: { cpu: 'much' } } } }],
    ['spec.node.engine', { node: { engine: 'Envoy' } }],
    ['spec.node.startupTaint', { node: { startupTaint: 'Always' } }],
    ['spec.node.cniConfDir', { node: { cniConfDir: 'etc/cni' } }],
    ['spec.node.cniConfDir', { node: { cniConfDir: '/etc/../root' } }],
    ['spec.node.cniConfDir', { node: { cniConfDir: '/' } }],
    ['spec.telemetry.plaintextMetricsFrom.0', { telemetry: { plaintextMetricsFrom: ['Monitoring'] } }],
    ['spec.telemetry.plaintextMetricsFrom.1', { telemetry: { plaintextMetricsFrom: ['monitoring', '*'] } }],
    ['spec.telemetry.plaintextMetricsFrom.0', { telemetry: { plaintextMetricsFrom: ['a'.repeat(64)] } }],
    ['spec.telemetry.plaintextMetricsFrom', { telemetry: { plaintextMetricsFrom: Array(17).fill('monitoring') } }],
    ['spec', 'a text'],
  ] as const) {
    it(`names ${field} when it is wrong: ${JSON.stringify(spec).slice(0, 70)}`, () => {
      const { problems } = parseMeshSpec(spec);
      assert.deepEqual([...new Set(problems?.map((problem) => problem.field))], [field]);
    });
  }

  it('names every wrong field at once', () => {
    const { problems } = parseMeshSpec({
      trustDomain: 'A',
      node: { drainSeconds: -1 },
      telemetry: { accessLog: 'Some' },
    });
    assert.deepEqual(problems?.map((problem) => problem.field).sort(), [
      'spec.node.drainSeconds',
      'spec.telemetry.accessLog',
      'spec.trustDomain',
    ]);
  });
});
