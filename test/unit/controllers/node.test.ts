import assert from 'node:assert/strict';
import { markedNodes, nodePatch } from '../../../src/controllers/node.ts';
import type { Node } from '../../../src/kube/objects.ts';

const gpu = { key: 'example.org/gpu', value: 'yes', effect: 'NoSchedule' };
const ours = { key: 'mesh.tulle.dev/not-ready', effect: 'NoSchedule' };
const served = { 'mesh.tulle.dev/served': 'one' };
const servedBefore = { 'mesh.tulle.dev/served': 'another' };

function node(taints: object[], annotations: Record<string, string> = {}): Node {
  const metadata = { name: 'node-3', uid: 'one', resourceVersion: '7', annotations };
  return JSON.parse(JSON.stringify({ metadata, spec: { taints } }));
}

const wait = { state: 'Waiting', reason: 'NoProxy', message: '' } as const;

describe('R36 what is written to a Node', () => {
  it('R36 is nothing where it is as it should be', () => {
    assert.equal(nodePatch(node([gpu, ours]), wait), undefined);
    assert.equal(nodePatch(node([gpu], served), { state: 'Served' }), undefined);
    assert.equal(nodePatch(node([gpu]), { state: 'Open' }), undefined);
  });

  it('R36 keeps the taints of others, and fails when anybody has changed them meanwhile', () => {
    const version = { uid: 'one', resourceVersion: '7' };
    assert.deepEqual(nodePatch(node([gpu]), wait), {
      metadata: { ...version, annotations: { 'mesh.tulle.dev/served': null } },
      spec: { taints: [gpu, ours] },
    });
    assert.deepEqual(nodePatch(node([ours, gpu]), { state: 'Served' }), {
      metadata: { ...version, annotations: served },
      spec: { taints: [gpu] },
    });
    assert.deepEqual(nodePatch(node([ours], served), { state: 'Open' }), {
      metadata: { ...version, annotations: { 'mesh.tulle.dev/served': null } },
      spec: { taints: [] },
    });
  });

  it('R36 replaces an annotation that is of another Node, and a taint of our key that keeps no pod away', () => {
    const prefers = { ...ours, effect: 'PreferNoSchedule' };
    for (const before of [node([ours], servedBefore), node([prefers]), node([prefers], servedBefore)]) {
      assert.deepEqual(nodePatch(before, wait), {
        metadata: { uid: 'one', resourceVersion: '7', annotations: { 'mesh.tulle.dev/served': null } },
        spec: { taints: [ours] },
      });
    }
  });

  it('R30 is found again on every Node that has any of it', () => {
    const prefers = { ...ours, effect: 'PreferNoSchedule' };
    const nodes = [node([gpu]), node([ours]), node([], served), node([], servedBefore), node([prefers])];
    assert.deepEqual(markedNodes(nodes), nodes.slice(1));
  });
});
