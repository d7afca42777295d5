import assert from 'node:assert/strict';
import type { MeshNode } from '../../../../src/api/mesh-node.ts';
import { awaitedNodes } from '../../../../src/operator/mesh/removal.ts';

const node = (name: string, status: MeshNode['status'] = {}): MeshNode => ({
  apiVersion: 'mesh.tulle.dev/v1alpha1',
  kind: 'MeshNode',
  metadata: { name },
  status,
});
const released = (status: 'True' | 'False'): MeshNode['status'] => ({
  agent: { version: '0.1.0' },
  conditions: [
    { type: 'Released', status, reason: 'Released', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' },
  ],
});

function awaited(meshNodes: MeshNode[], { nodes = ['a', 'b'], agents = true, os = 'linux' } = {}): string[] {
  const labels = { 'kubernetes.io/os': os };
  const daemonSet = agents ? { metadata: { name: 'tulle-agent' } } : undefined;
  const caches = {
    meshNodes: { store: { list: () => meshNodes } },
    nodes: { store: { get: (name: string) => (nodes.includes(name) ? { metadata: { name, labels } } : undefined) } },
    owned: { get: () => daemonSet },
  };
  return awaitedNodes(caches).map(({ metadata }) => metadata.name);
}

describe('nodes the removal of a Mesh waits for', () => {
  it('are those that have not said Released', () => {
    assert.deepEqual(awaited([node('a', released('True')), node('b', released('False'))]), ['b']);
    assert.deepEqual(awaited([node('a'), node('b', { agent: { version: '0.1.0' } })]), ['a', 'b']);
  });

  it('are not those whose Node is gone', () => {
    assert.deepEqual(awaited([node('a'), node('c', released('False'))]), ['a']);
  });

  it('are, where no agents are meant to run, only those that had one', () => {
    assert.deepEqual(awaited([node('a'), node('b', released('False'))], { os: 'windows' }), ['b']);
    assert.deepEqual(awaited([node('a'), node('b')], { os: 'windows' }), []);
  });

  it('are, without any agent, only those that had one: a Mesh that never took effect is removed at once', () => {
    assert.deepEqual(awaited([node('a'), node('b', released('False'))], { agents: false }), ['b']);
    assert.deepEqual(awaited([node('a'), node('b')], { agents: false }), []);
  });
});
