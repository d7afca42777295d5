import assert from 'node:assert/strict';
import type { AuthorityReport } from '../../../src/ca/authority/authority.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { MemoryCluster, type MemoryRequest } from '../../fixtures/ca/memory-stores.ts';
import { bundleOf, encoded, reportOf, storedRoot } from '../../fixtures/ca/stored-authorities.ts';

describe('one authority, ever', () => {
  const a = storedRoot();
  const b = storedRoot();
  let cluster: MemoryCluster;

  beforeEach(() => {
    cluster = new MemoryCluster();
  });

  const traces: readonly (readonly [string, Partial<MemoryCluster>])[] = [
    ['the status of the Mesh', { recorded: reportOf(a) }],
    ['a node that verifies peers', { recorded: { reported: undefined, acknowledged: [bundleOf(a).sha256] } }],
    ['the bundle', { published: { pem: 'damaged', sha256: 'of what it was' } }],
  ];
  for (const [where, trace] of traces) {
    it(`R15 no second one is made while ${where} tells of a first; its Secret, restored, is served and published`, async () => {
      Object.assign(cluster, trace);
      const reports: AuthorityReport[] = [];
      const authority = replica({ cluster, onReport: (report) => reports.push(report) });
      assert.equal(await authority.reconcile(), false);
      assert.equal(await authority.reconcile(), false);
      assert.deepEqual([cluster.creations, cluster.publications], [0, 0]);
      assert.deepEqual(
        reports.map((report) => [report.issuing, report.problem?.code]),
        [[false, 'AuthorityLost']],
      );
      cluster.edit(encoded(a));
      assert.equal(await authority.reconcile(), true);
      assert.equal(authority.report().issuing, true);
      assert.deepEqual(cluster.published, bundleOf(a));
    });
  }

  it('R15 no second one is made when nobody can be asked whether there was a first', async () => {
    cluster.before = (request) => {
      if (request === 'read evidence') throw new Error('connect ECONNREFUSED');
    };
    assert.equal(await replica({ cluster }).reconcile(), false);
    assert.equal(cluster.creations, 0);
  });

  for (const moment of ['read bundle', 'read evidence', 'read secret'] as const) {
    it(`R09 a replica is not misled by another that stores, publishes and reports just before it does "${moment}"`, async () => {
      const problems: (string | undefined)[] = [];
      const authority = replica({ cluster, onReport: ({ problem }) => problems.push(problem?.code) });
      cluster.before = (request: MemoryRequest) => {
        if (request !== moment || cluster.secret !== undefined) return;
        cluster.edit(encoded(a));
        cluster.published = bundleOf(a);
        cluster.recorded = reportOf(a);
      };
      assert.equal(await authority.reconcile(), true);
      assert.deepEqual(problems, [undefined], 'the Secret never seemed lost');
      assert.equal(cluster.creations, 0);
    });
  }

  const strangers: readonly (readonly [string, Partial<MemoryCluster>])[] = [
    ['the Mesh has reported another', { recorded: reportOf(b) }],
    [
      'the Mesh has reported that it signs no more',
      { recorded: reportOf({ ...a, state: 'retiring' }, { ...b, state: 'active' }) },
    ],
    ['the bundle trusts another', { published: bundleOf(b) }],
    ['all nodes trust another', { recorded: { reported: undefined, acknowledged: ['ab', 'cd'] } }],
  ];
  for (const [when, trace] of strangers) {
    it(`R15 a replica that starts does not take the Secret for that of this mesh when ${when}`, async () => {
      cluster.edit(encoded(a));
      Object.assign(cluster, trace);
      const before = cluster.published;
      const authority = replica({ cluster });
      assert.equal(await authority.reconcile(), false);
      assert.equal(authority.report().problem?.code, 'AuthoritySwapped');
      assert.deepEqual(cluster.published, before, 'the bundle is left alone');
    });
  }

  it('goes by what the Mesh has reported where an older bundle was restored, and publishes the right one', async () => {
    cluster.edit(encoded(a));
    cluster.published = bundleOf(b);
    cluster.recorded = reportOf(a);
    assert.equal(await replica({ cluster }).reconcile(), true);
    assert.deepEqual(cluster.published, bundleOf(a));
  });
});
