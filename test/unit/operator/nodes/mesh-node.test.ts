import { strictEqual } from 'node:assert/strict';
import type { MeshNode } from '../../../../src/api/mesh-node.ts';
import type { Pod } from '../../../../src/kube/objects.ts';
import { isCapturedLeft } from '../../../../src/operator/nodes/mesh-node.ts';

function said(...pods: readonly (readonly [uid: string, captured: boolean])[]): MeshNode {
  const more = { namespace: 'shop', name: 'web', serviceAccount: 'default', ips: [], reason: '', message: '' };
  const entries = pods.map(([uid, captured]) => ({
    ...more,
    uid,
    captured,
    state: 'Secured' as const,
    existingConnections: 0,
    since: '2026-01-01T00:00:00Z',
  }));
  return {
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'MeshNode',
    metadata: { name: 'a' },
    status: { pods: entries },
  };
}

const there = (uid: string, phase = 'Running'): Pod => ({ metadata: { name: uid, uid }, status: { phase } });

describe('R35 a MeshNode that is deleted', () => {
  it('stays while a pod is there that its node captured, whatever else has ended', () => {
    strictEqual(isCapturedLeft(said(['u1', true], ['u2', true]), [there('u2')]), true);
  });

  it('goes when there is none: let go, ended, finished, or never known', () => {
    strictEqual(isCapturedLeft(said(['u1', false]), [there('u1')]), false);
    strictEqual(isCapturedLeft(said(['u1', true]), [there('u2')]), false);
    strictEqual(
      isCapturedLeft(said(['u1', true], ['u2', true]), [there('u1', 'Succeeded'), there('u2', 'Failed')]),
      false,
    );
    const { status: _, ...silent } = said();
    strictEqual(isCapturedLeft(silent, [there('u1')]), false);
  });
});
