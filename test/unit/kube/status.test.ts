import assert from 'node:assert/strict';
import type { Mesh, MeshStatus } from '../../../src/api/mesh.ts';
import type { ApplyOptions } from '../../../src/kube/client/client.ts';
import type { KubeObject, Manifest } from '../../../src/kube/objects.ts';
import { applyStatus } from '../../../src/kube/status.ts';

describe('reporting a part of the status', () => {
  let applied: { object: Manifest; options: ApplyOptions }[];
  const client = {
    applyStatus: async <T extends KubeObject>(object: Manifest, options: ApplyOptions): Promise<T> => {
      applied.push({ object, options });
      return JSON.parse('{"metadata":{"name":"default"}}');
    },
  };
  const clock = { now: () => Date.UTC(2026, 5, 1) };
  const before = '2026-01-01T00:00:00Z';
  const ready = { type: 'Ready', status: 'True' as const, reason: 'Ready', message: 'all', observedGeneration: 3 };
  const foreign = { ...ready, type: 'Enrolled', lastTransitionTime: before };
  const mesh = (status: MeshStatus): Mesh => ({
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'Mesh',
    metadata: { name: 'default' },
    status,
  });
  const rollout = { control: { ready: 2, desired: 2 } };

  beforeEach(() => {
    applied = [];
  });

  it('writes nothing when it is so already, whatever others wrote beside it', async () => {
    const there = mesh({ conditions: [foreign, { ...ready, lastTransitionTime: before }], rollout });
    assert.equal(await applyStatus(client, clock, there, { conditions: [ready], rollout }, 'me'), false);
    assert.equal(applied.length, 0);
  });

  it('applies its own conditions and fields only', async () => {
    const there = mesh({ conditions: [foreign, { ...ready, status: 'False', lastTransitionTime: before }], rollout });
    assert.equal(await applyStatus(client, clock, there, { conditions: [ready], rollout }, 'me'), true);
    assert.deepEqual(applied[0]?.object.status, {
      rollout,
      conditions: [{ ...ready, lastTransitionTime: '2026-06-01T00:00:00Z' }],
    });
    assert.deepEqual(applied[0]?.options, { fieldManager: 'me', force: true });
  });

  it('applies when a number moved to zero', async () => {
    const there = mesh({ conditions: [{ ...ready, lastTransitionTime: before }], rollout });
    const none = { control: { ready: 0, desired: 2 } };
    assert.equal(await applyStatus(client, clock, there, { conditions: [ready], rollout: none }, 'me'), true);
  });
});
