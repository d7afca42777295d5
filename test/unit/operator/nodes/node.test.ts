import assert from 'node:assert/strict';
import { ApiError } from '../../../../src/kube/client/client.ts';
import type { EventNote } from '../../../../src/kube/events.ts';
import type { KubeObject, Node } from '../../../../src/kube/objects.ts';
import { markedNodes, nodePatch, patchNode } from '../../../../src/operator/nodes/node.ts';

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

  it('R30 says on the Node who refuses it, and nothing where somebody was quicker', async () => {
    const notes: (readonly [string, EventNote])[] = [];
    const events = { record: async (on: KubeObject, note: EventNote) => void notes.push([on.metadata.name, note]) };
    const answer = (status: number, message: string) => ({
      patch: () => Promise.reject(new ApiError({ status, reason: 'R', message, path: 'PATCH /api/v1/nodes/node-3' })),
    });
    const write = (status: number, message: string) =>
      patchNode({ client: answer(status, message), events }, node([ours]), {});
    await assert.rejects(write(409, 'modified'), { status: 409 });
    await assert.rejects(write(404, 'not found'), { status: 404 });
    assert.equal(notes.length, 0);
    await assert.rejects(write(403, 'policy keep-taints denied it'), { status: 403 });
    assert.deepEqual(
      notes.map(([on, { type, reason }]) => [on, type, reason]),
      [['node-3', 'Warning', 'NodeNotChanged']],
    );
    assert.match(notes[0]?.[1].note ?? '', /mesh\.tulle\.dev\/not-ready.* policy keep-taints denied it/);
  });

  it('R30 is found again on every Node that has any of it', () => {
    const prefers = { ...ours, effect: 'PreferNoSchedule' };
    const nodes = [node([gpu]), node([ours]), node([], served), node([], servedBefore), node([prefers])];
    assert.deepEqual(markedNodes(nodes), nodes.slice(1));
  });
});
