import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import type { Mesh } from '../../../src/api/mesh.ts';
import type { MeshNode, MeshNodePod } from '../../../src/api/mesh-node.ts';
import { failureText } from '../../../src/cli/failure.ts';
import { age, statusReport, statusText } from '../../../src/cli/status-report.ts';
import { table } from '../../../src/cli/table.ts';
import { TulleError } from '../../../src/errors/tulle-error.ts';
import { ApiError } from '../../../src/kube/client/api-error.ts';

const now = Date.parse('2026-01-01T01:00:00Z');

const mesh: Mesh = {
  apiVersion: 'mesh.tulle.dev/v1alpha1',
  kind: 'Mesh',
  metadata: { name: 'default' },
  spec: { mtls: { mode: 'Strict' } },
  status: {
    conditions: [
      { type: 'Ready', status: 'True', reason: 'Ready', message: '', lastTransitionTime: '' },
      { type: 'Enrolled', status: 'False', reason: 'PodsFailed', message: '1 pod is outside', lastTransitionTime: '' },
    ],
  },
};

function pod(namespace: string, name: string, more: Partial<MeshNodePod> = {}): MeshNodePod {
  const since = '2026-01-01T00:30:00Z';
  const quiet = { reason: '', message: '', existingConnections: 0, since, ips: [], serviceAccount: 'default' };
  return { uid: name, namespace, name, captured: true, state: 'Secured', ...quiet, ...more };
}

function node(name: string, status: MeshNode['status']): MeshNode {
  const quiet = { apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'MeshNode', metadata: { name } } as const;
  return status === undefined ? quiet : { ...quiet, status };
}

const agent = { version: '0.1.0' };
const proxy = { version: '0.1.0', ready: true, trustBundleSha256: '' };
const cni = { installed: true, configurationFile: '', message: '' };

describe('tulle status', () => {
  const failed = pod('shop', 'host', {
    state: 'Failed',
    reason: 'HostNetwork',
    message: 'uses the network of its node',
  });
  const nodes = [
    node('node-2', { agent, proxy, cni, pods: [failed] }),
    node('node-1', { agent, proxy, cni, pods: [pod('shop', 'web'), pod('bank', 'ledger')] }),
  ];

  it('shows every pod with its state, and says why one is not secured', () => {
    const text = statusText(statusReport(mesh, nodes), now);
    match(text, /^Mesh default: trust domain cluster.local, mTLS Strict, Ready=True, Enrolled=False \(PodsFailed\)$/m);
    match(text, /^ {2}Enrolled: 1 pod is outside$/m);
    match(text, /^shop +web +node-1 +Secured +30m$/m);
    match(text, /^shop +host +node-2 +Failed +30m +HostNetwork: uses the network of its node$/m);
    match(text, /^2 of 3 pods secured\.$/m);
  });

  it('shows the pods of one namespace when asked to', () => {
    deepStrictEqual(
      statusReport(mesh, nodes, 'bank').pods.map(({ name }) => name),
      ['ledger'],
    );
  });

  it('R40 counts pods that opted out apart from those that are not secured, and names them', () => {
    const out = (namespace: string, name: string) =>
      pod(namespace, name, { state: 'OptedOut', captured: false, reason: 'PodLabel', message: 'labelled none' });
    const left = [...nodes, node('node-3', { agent, proxy, cni, pods: [out('shop', 'cart'), out('bank', 'audit')] })];
    const text = statusText(statusReport(mesh, left), now);
    match(text, /^shop +cart +node-3 +OptedOut +30m +PodLabel: labelled none$/m);
    match(text, /^2 of 3 pods secured\.$/m);
    match(text, /^2 opted out by their own label and are left in plaintext: bank\/audit, shop\/cart\.$/m);
    const bank = statusText(statusReport(mesh, left, 'bank'), now);
    match(bank, /^1 of 1 pods secured\.$/m);
    match(bank, /^1 opted out by its own label and is left in plaintext: bank\/audit\.$/m);
    deepStrictEqual(statusReport(mesh, left).counts, { secured: 2, pending: 0, failed: 1, optedOut: 2 });
    ok(!statusText(statusReport(mesh, nodes), now).includes('plaintext'));
  });

  it('says what to do when nothing is in the mesh', () => {
    match(statusText(statusReport(mesh, []), now), /kubectl label namespace <name> mesh\.tulle\.dev\/mode=ambient/);
  });

  it('says what keeps a node from securing its pods', () => {
    const problems: [MeshNode['status'], RegExp | undefined][] = [
      [undefined, /tulle-agent/],
      [{ agent }, /no proxy is connected/],
      [{ agent, proxy: { ...proxy, ready: false } }, /not ready/],
      [{ agent, proxy, cni: { ...cni, installed: false, message: 'read-only' } }, /read-only/],
      [{ agent, proxy, cni }, undefined],
    ];
    for (const [status, expected] of problems) {
      const problem = statusReport(mesh, [node('n', status)]).nodes[0]?.problem;
      if (expected === undefined) strictEqual(problem, undefined);
      else match(problem ?? '', expected);
    }
  });

  it('does not let a message steer the terminal', () => {
    const evil = pod('shop', 'web', { state: 'Failed', reason: 'X', message: '\u001b[2Jall is well\nshop ok \u202e' });
    const text = statusText(statusReport(mesh, [node('n', { agent, proxy, pods: [evil] })]), now);
    for (const character of ['\u001b', '\u202e']) ok(!text.includes(character));
    strictEqual(text.split('\n').filter((line) => line.includes('shop ok')).length, 1);
    match(text, /Failed.*all is well shop ok/);
  });

  it('tells ages in one unit', () => {
    const ago = (seconds: number) => age(new Date(now - seconds * 1000).toISOString(), now);
    deepStrictEqual([0, 119, 120, 7200, 172_800].map(ago), ['0s', '119s', '2m', '2h', '2d']);
    deepStrictEqual([age('2027-01-01T00:00:00Z', now), age('', now)], ['0s', '-']);
  });
});

describe('a table', () => {
  it('aligns its columns and leaves no blanks at the end', () => {
    strictEqual(
      table([
        ['A', 'LONG', ''],
        ['xyz', 'b', 'c'],
        ['', 'd', ''],
      ]),
      'A    LONG\nxyz  b     c\n     d\n',
    );
  });
});

describe('a failure', () => {
  const apiError = (status: number) => new ApiError({ status, reason: 'R', message: 'm', path: 'GET /x' });

  it('is told with its fix', () => {
    const error = new TulleError('MeshAbsent', 'There is none.', { fix: 'Make one.' });
    strictEqual(failureText(error), 'tulle: There is none.\n  Make one.\n');
    match(failureText(apiError(401)), /does not accept these credentials.*\n.*Log in/);
    match(failureText(apiError(403)), /You may not.*\n.*Ask for get and list/);
    match(failureText(apiError(500)), /^tulle: GET \/x: 500 R: m\n$/);
  });

  it('of the network says to look at the cluster', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' });
    for (const error of [refused, new Error('fetch failed', { cause: refused }), new AggregateError([refused], '')]) {
      match(failureText(error), /does not answer: .+\.\n.*kubectl cluster-info/);
    }
  });
});
